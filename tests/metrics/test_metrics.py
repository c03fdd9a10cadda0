"""Every metric, on a handwritten trace with sums that are easy to check."""

from __future__ import annotations

import kineto_files as k
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof import metrics
from ttprof.errors import UnknownNameError
from ttprof.metrics.memory import LEAK_ITERATIONS
from ttprof.metrics.metric import growth
from ttprof.observation import NumericError, Observation, Timing
from ttprof.trace.formats import kineto


def timing(*ns: int) -> Timing:
    column = np.array(ns, dtype=np.int64)
    return Timing(column, column * 2, column * 3, warmup=1, threads=1)


@pytest.fixture
def observed(tmp_path):
    def observe(events, **parts):
        trace = kineto.read(k.write(tmp_path / "t.json", events))
        return Observation(**{"device": "cuda", "trace": trace, "recorded": 2, **parts})

    return observe


def value(name: str, observation: Observation) -> float | None:
    measurement = metrics.find(name).measure(observation)
    return None if measurement is None else measurement.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kernel_time_ms", 0.030),  # 10 + 20 µs, the overlap counted twice
        ("device_busy_ms", 0.029),  # 25 µs of kernels, 4 µs of copy
        ("device_idle_ms", 0.006),  # from 10 to 45 µs, less the busy time
        ("kernel_count", 2),
        ("launch_count", 2),
        ("memcpy_time_ms", 0.004),
        ("memory_mb", 4000 / 2**20),
        ("leak_mb", None),  # two iterations: only one after the first, too few to show growth
    ],
)
def test_device_metrics(observed, name, expected):
    assert value(name, observed(k.two_iterations())) == (None if expected is None else pytest.approx(expected))


DEVICE_METRICS = [
    "kernel_time_ms",
    "device_busy_ms",
    "device_idle_ms",
    "kernel_count",
    "launch_count",
    "memcpy_time_ms",
]


@pytest.mark.parametrize("name", DEVICE_METRICS)
def test_a_trace_with_a_lost_kernel_measures_no_device_metric(observed, name):
    assert value(name, observed(k.two_iterations(lose_kernel=True))) is None


@pytest.mark.parametrize("name", DEVICE_METRICS)
def test_a_trace_without_kernels_measures_no_device_time(observed, name):
    events = [e for e in k.two_iterations() if e.get("cat") not in ("kernel", "cuda_runtime")]
    assert value(name, observed(events)) is None
    assert value(name, observed(k.two_iterations(), device="cpu")) is None


def test_a_trace_with_a_missing_iteration_measures_nothing(observed):
    assert value("kernel_time_ms", observed(k.two_iterations(), recorded=3)) is None
    assert value("memory_mb", observed(k.two_iterations(), recorded=3)) is None


def test_memory_without_any_allocator_event_is_not_zero(observed):
    events = [e for e in k.two_iterations() if e["name"] != "[memory]"]
    assert value("memory_mb", observed(events)) is None


def test_a_leak_is_growth_in_every_iteration(observed):
    def events(growths):
        rows = []
        for i, size in enumerate(growths):
            rows += [
                k.iteration(i, 100 * i, 90),
                k.memory(100 * i + 1, 2**20 + size, 0),
                k.memory(100 * i + 2, -(2**20), 0),
            ]
        return rows

    def leak(*growths):
        return value("leak_mb", observed(events(growths), recorded=len(growths), device="cpu"))

    assert leak(0, 2**20, 2**20, 2**20) == 1
    assert leak(0, 2**20, 0, 0) == leak(0, 0, 0, 2**20) == leak(2**20, 0, 0, 0) == 0, "allocated once"
    assert leak(0, 2**20, -(2**20), 2**20) == 0, "freed again"
    assert leak(0, 2**20, 2**20) is None, "two iterations after the first show no repetition"


@pytest.mark.parametrize("count", [29, LEAK_ITERATIONS - 1, 60])  # 29: .profile(iterations=30)
@pytest.mark.parametrize("period", range(1, 11))
def test_a_leak_in_at_least_every_tenth_call_is_always_detected(period, count):
    for phase in range(period):
        live = np.cumsum([1000 * (i % period == phase) for i in range(count)])
        assert growth(live) > 0
        assert growth(live) == pytest.approx(1000 / period, rel=0.4)


@pytest.mark.parametrize("at", range(19))
def test_a_single_free_does_not_hide_a_leak_in_every_call(at):
    live = np.cumsum([1000] * 30)
    assert growth(live - 10**7 * (np.arange(30) >= at)) > 0


@given(st.integers(0, 29), st.integers(1, 10**9))
def test_growth_in_one_iteration_is_not_a_leak(at, size):
    assert growth(np.array([size * (i >= at) for i in range(30)])) == 0


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=10))
def test_periodic_allocations_are_not_a_leak(cycle):
    assert growth(np.array([cycle[i % len(cycle)] for i in range(30)])) == 0


def test_hip_memory_counts_as_the_device(observed):
    events = [
        {**e, "args": {**e["args"], "Device Type": 6}} if e["name"] == "[memory]" else e for e in k.two_iterations()
    ]
    assert value("memory_mb", observed(events)) == pytest.approx(4000 / 2**20)


def test_timing_metrics():
    o = Observation("cpu", timing=timing(*range(1_000_000, 101_000_000, 1_000_000)))
    assert value("latency_ms", o) == 50.5
    assert value("host_latency_ms", o) == 101
    assert value("cpu_time_ms", o) == 151.5
    assert value("latency_p90_ms", o) == pytest.approx(90.1)
    assert value("latency_p99_ms", o) == pytest.approx(99.01)


def test_high_quantiles_need_enough_samples():
    assert value("latency_p99_ms", Observation("cpu", timing=timing(*[1] * 99))) is None
    assert value("latency_p90_ms", Observation("cpu", timing=timing(*[1] * 9))) is None


def test_ratios_to_the_reference(observed):
    reference = observed(k.two_iterations(), timing=timing(400, 900))
    o = observed(k.two_iterations(), timing=timing(200, 300), reference=reference)
    assert value("speedup", o) == 2.5
    assert value("memory_ratio", o) == 1
    assert value("speedup", observed(k.two_iterations(), timing=timing(1))) is None


def test_rate_and_overhead(observed):
    o = observed(k.two_iterations(), timing=timing(1_000_000), flops=2 * 10**9)
    assert value("flops", o) == 2e9
    assert value("tflops", o) == 2
    assert value("profiler_overhead", o) == pytest.approx(90_000 / 2_000_000)
    assert value("flops", observed(k.two_iterations(), flops=0)) is None


def test_infinite_and_undefined_values_are_not_measured():
    o = Observation("cpu", numerics=NumericError(rel=float("inf"), max=1.0, pcc=None, worst=None, reference=""))
    assert value("rel_error", o) is None
    assert value("pcc", o) is None
    assert value("max_error", o) == 1


def test_an_empty_observation_has_no_measurements():
    assert metrics.measure_all(Observation("cpu")) == []


def training(number: int, start: int) -> list[k.Event]:
    """An iteration with a kernel of 10 µs in the forward and one of 30 µs in the backward."""
    step = [{**e, "ts": e["ts"] + start} for e in k.training_step() if e["ts"] < 200 and e["name"] != "early"]
    for event in step:
        if "correlation" in event["args"]:
            event["args"] = {**event["args"], "correlation": 10 * number + event["args"]["correlation"]}
    return [k.iteration(number, start, 190), *step]


def test_kernel_time_is_split_into_forward_and_backward(observed):
    o = observed([*training(0, 0), *training(1, 1000)])
    assert value("forward_kernel_time_ms", o) == pytest.approx(0.010)
    assert value("backward_kernel_time_ms", o) == pytest.approx(0.030)
    assert value("kernel_time_ms", o) == pytest.approx(0.040)
    assert value("backward_share", o) == pytest.approx(0.75)
    forward_only = observed(k.two_iterations())
    assert value("backward_kernel_time_ms", forward_only) is None
    assert value("backward_share", forward_only) is None


def test_on_a_cpu_backward_share_is_of_the_self_time_of_ops(observed):
    events = [e for e in [*training(0, 0), *training(1, 1000)] if e["cat"] not in ("kernel", "cuda_runtime")]
    # forward 15 µs, backward 30 µs of self time
    assert value("backward_share", observed(events, device="cpu")) == pytest.approx(30 / 45)


def test_names_aliases_and_near_misses():
    assert metrics.find("cuda_time_ms").name == "kernel_time_ms"
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        metrics.find("latency")


def test_every_metric_has_help_a_label_and_needs():
    for row in metrics.REGISTRY.values():
        assert row.help.endswith(".") and row.label and row.needs, row.name
        assert row.name == row.compute.__name__


def test_synchronisations_count_within_the_module_only(observed):
    module = [k.span("user_annotation", "module: net", start, 40) for start in (0, 100)]
    calls = [
        k.launch(20, 51, name="cudaStreamSynchronize"),  # in the module
        k.launch(80, 52, name="cudaDeviceSynchronize"),  # in the iteration but after the module: by ttprof itself
        k.launch(95, 53, name="cudaStreamSynchronize"),  # between the iterations
    ]
    observation = observed([*k.two_iterations(), *module, *calls])
    assert metrics.find("sync_count").samples(observation).tolist() == [1, 0]
    assert value("sync_count", observed(k.two_iterations())) is None  # without the module's annotation
