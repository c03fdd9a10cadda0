"""Device types other than CPU and CUDA, driven through fakes of their torch modules."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import FakeClock
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity

from ttprof import TestSuite
from ttprof.errors import NsightError, SpecError
from ttprof.judge.output_leaves import OutputLeaf
from ttprof.plan.inputs import Inputs
from ttprof.plan.process_state import seeded
from ttprof.report import sentences
from ttprof.run import casts, devices, environment, iteration, nsys, timers
from ttprof.run.base import Workload
from ttprof.run.devices import driver
from ttprof.spec import SuiteSpec
from ttprof.system import device_types
from ttprof.system.device_lock import lock_path
from ttprof.trial_key import Point, TrialKey

MPS, XPU, MTIA = torch.device("mps"), torch.device("xpu:1"), torch.device("mtia")


class FakeEvent:
    """Records when the clock of its module stood still."""

    def __init__(self, module, enable_timing):
        assert enable_timing
        self.module, self.at_ns = module, 0

    def record(self, *stream):
        self.module.log.append(("record", *stream))
        self.at_ns = self.module.clock.now

    def elapsed_time(self, end):
        return (end.at_ns - self.at_ns) / 1e6


class FakeModule:
    """The functions that every device module has; logs its calls and each takes 1 µs of the host."""

    def __init__(self):
        self.log: list[tuple[Any, ...]] = []
        self.clock = FakeClock()

    def is_available(self):
        return True

    def device_count(self):
        return 2

    def synchronize(self, *device):
        self.log.append(("synchronize", *device))
        self.clock.now += 1000


class FakeXpu(FakeModule):
    """As ``torch.xpu``: with streams, events, an allocator with peaks, and properties."""

    allocated = 600

    def Event(self, enable_timing):
        return FakeEvent(self, enable_timing)

    def current_stream(self, device):
        return f"stream of {device}"

    def memory_allocated(self, device):
        return self.allocated

    def reset_peak_memory_stats(self, device):
        self.log.append(("reset", device))

    def max_memory_allocated(self, device):
        return 1000

    def max_memory_reserved(self, device):
        return 4096

    def mem_get_info(self, device):
        return 7000, 8000

    def get_device_name(self, device):
        return "a Max 1100"

    def get_device_properties(self, device):
        return SimpleNamespace(last_level_cache_size=2**20)


class FakeMps(FakeModule):
    """As ``torch.mps``: its functions take no device, and its allocator has no peaks."""

    def __init__(self):
        super().__init__()
        self.event = SimpleNamespace(Event=lambda enable_timing: FakeEvent(self, enable_timing))

    def synchronize(self):
        super().synchronize()

    def current_allocated_memory(self):
        return 100

    def driver_allocated_memory(self):
        return 300

    def recommended_max_memory(self):
        return 1000


@pytest.fixture
def modules(monkeypatch) -> dict[str, Any]:
    """The fake modules by device type, in the place of torch's."""
    fakes = {"xpu": FakeXpu(), "mps": FakeMps(), "mtia": FakeModule()}
    monkeypatch.setattr(torch, "get_device_module", fakes.__getitem__)
    return fakes


def measured(device: torch.device, module: FakeModule) -> tuple[list[tuple[Any, ...]], timers.Sample]:
    """The calls around a call of 5 µs, and its sample."""
    timer = timers.timer_for(device)
    timer.clock = module.clock

    def call():
        module.log.append(("call",))
        module.clock.now += 5000

    return module.log, timer.measure(call)


def test_events_of_the_current_stream_time_a_call_on_an_idle_device(modules):
    log, sample = measured(XPU, modules["xpu"])
    record = ("record", "stream of xpu:1")
    assert log == [("synchronize", XPU), record, ("call",), record, ("synchronize", XPU)]
    assert sample == (5000, 6000, 6000)  # to the end of the call, and to the end of the synchronisation


def test_events_of_mps_have_no_stream(modules):
    log, sample = measured(MPS, modules["mps"])
    assert log == [("synchronize",), ("record",), ("call",), ("record",), ("synchronize",)]
    assert sample.latency_ns == 5000


def test_without_events_the_host_times_until_the_device_has_finished(modules):
    log, sample = measured(MTIA, modules["mtia"])
    assert log == [("synchronize", MTIA), ("call",), ("synchronize", MTIA)]
    assert sample == (6000, 6000, 6000)


@pytest.mark.parametrize(
    ("device", "expected"),
    [(XPU, ([1000, 1000], [4096, 4096], [400, 400])), (MPS, (None, None, None)), (MTIA, (None, None, None))],
)
def test_recorded_iterations_have_peaks_where_the_allocator_reports_them(modules, monkeypatch, device, expected):
    monkeypatch.setattr(torch, "ones", lambda *size, device: None)
    log = modules[device.type].log
    workload = Workload(TrialKey("x", Point()), "x", lambda: log.append(("call",)), device)
    ranged: Any = pytest.MonkeyPatch.context
    peaks = [iteration.iterate(workload, number, lambda name: ranged()) for number in range(2)]
    assert tuple(None if column is None else column.tolist() for column in iteration.columns(peaks)) == expected
    assert [entry[0] for entry in log if entry[0] != "reset"] == ["call", "synchronize", "synchronize"] * 2


@pytest.mark.parametrize(
    ("device", "name", "memory", "cache"),
    [
        (XPU, "a Max 1100", (7000, 1000), 2**20),
        (MPS, "an Apple chip", (700, 300), None),
        (MTIA, "MTIA", (None, None), None),
    ],
)
def test_what_a_module_knows_of_its_device(modules, monkeypatch, device, name, memory, cache):
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "an Apple chip", raising=False)
    driven = driver(device)
    assert (driven.name(), driven.memory(), driven.cache_bytes()) == (name, memory, cache)


@pytest.mark.parametrize(
    ("device", "supported", "activities"),
    [
        (XPU, {ProfilerActivity.CPU}, ["CPU"]),
        (XPU, {ProfilerActivity.CPU, ProfilerActivity.XPU}, ["CPU", "XPU"]),
        (MPS, {ProfilerActivity.CPU, ProfilerActivity.XPU}, ["CPU"]),
        (MTIA, {ProfilerActivity.CPU, ProfilerActivity.MTIA}, ["CPU", "MTIA"]),
    ],
)
def test_the_profiler_records_the_device_where_this_torch_can(modules, monkeypatch, device, supported, activities):
    monkeypatch.setattr(devices, "supported_activities", lambda: supported)
    assert driver(device).activities() == [getattr(ProfilerActivity, name) for name in activities]


def test_a_registered_type_is_usable_if_it_is_the_accelerator(monkeypatch):
    module = FakeModule()
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    npu = torch.device("privateuseone:1")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("privateuseone"))
    assert devices.unusable(npu) is None
    assert driver(npu).row == replace(device_types.OTHER, name="privateuseone", label="privateuseone")
    beyond = devices.unusable(torch.device("privateuseone:2"))
    assert beyond == "torch finds 2 privateuseone devices, counted from 0"
    module.is_available = lambda: False
    assert devices.unusable(npu) == "torch finds no privateuseone device on this machine"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert "is none of them" in str(devices.unusable(npu))


def test_a_device_without_a_random_state_is_not_seeded(monkeypatch):
    module = SimpleNamespace(manual_seed=lambda seed: pytest.fail("its state could not be restored"))
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    with seeded(3, MTIA):
        assert torch.initial_seed() == 3


class Weighted(nn.Module):
    """A module on a device that this machine lacks; made under FakeTensorMode."""

    def __init__(self, device):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 3, device=device))


def on(device: str, module: nn.Module, inputs: Inputs) -> set[tuple[str, torch.dtype]]:
    tensors = [*module.parameters(), *inputs.tensors()]
    assert all(tensor.device.type == device for tensor in tensors)
    return {tensor.dtype for tensor in tensors}


def test_a_float64_reference_of_a_device_without_float64_is_on_the_cpu():
    with FakeTensorMode():
        module = Weighted("mps")
        inputs = Inputs("given", (torch.ones(2, 3, device="mps"), torch.arange(2, device="mps")))
        exact = casts.cast_reference(module, inputs, torch.float64)
        assert on("cpu", *exact) == {torch.float64, torch.int64}
        _, rounded = casts.cast_reference(lambda x: x, inputs, torch.float64, change=lambda t: t + 1)
        assert [t.device.type for t in rounded.tensors()] == ["cpu", "cpu"]
        narrow = casts.cast_reference(module, inputs, torch.bfloat16)
        assert on("mps", *narrow) == {torch.bfloat16, torch.int64}
        on_gpu = Inputs("given", (torch.ones(2, device="cuda"),))
        assert casts.cast_reference(lambda x: x, on_gpu, torch.float64)[1].tensors()[0].device.type == "cuda"
        assert OutputLeaf("", inputs.args[0]).tensor().device.type == "cpu"


def test_nsys_records_no_other_devices():
    spec = SuiteSpec(name="x", model=nn.Identity(), batch_size=1, seq_len=8, device=XPU, cases=())
    with pytest.raises(NsightError, match="records CPUs and NVIDIA devices, and this suite runs on xpu:1"):
        nsys.ready(spec)


def test_every_device_has_a_lock_of_its_own():
    assert lock_path("mps", {}) == lock_path("mps:0", {}) != lock_path("xpu:0", {})
    assert lock_path("xpu:0", {"ZE_AFFINITY_MASK": "3"}) == lock_path("xpu:3", {})


def test_the_environment_says_that_a_device_type_is_experimental(modules):
    described = environment.describe(XPU)
    assert described.device_name == "a Max 1100"
    assert described.experimental.startswith("experimental: on XPU devices")
    assert environment.describe.__module__ and device_types.caveat("cuda") == device_types.caveat("cpu") == ""


@pytest.fixture
def experimental_cpu(monkeypatch):
    """Gives the CPU the row of MPS, under its own name: a device that runs everything and reports little."""
    row = replace(device_types.DEVICE_TYPES["mps"], name="cpu", float64=True)
    monkeypatch.setitem(device_types.DEVICE_TYPES, "cpu", row)


def test_what_an_experimental_device_does_not_measure_is_an_error(experimental_cpu, model):
    with TestSuite(model, batch_size=2, seq_len=16, quiet=True, on_failure="report", seconds_per_case=0.2) as suite:
        suite.test(model.norm).tolerance(1e-3).expect(latency_ms=5000).profile(2, 4)
        limits = {"kernel_time_ms": 5, "memory_mb": 5, "leak_mb": 0, "peak_allocated_mb": 5, "kernel_count": 3}
        suite.test(model.norm, name="unmeasured").expect(**limits).profile(2, 4)
        suite.test(model.norm, name="kernels").expect_kernel("*gemm*", count=1).profile(2, 4)
    measured, unmeasured, kernels = suite.result
    assert measured.status == "PASS"
    assert unmeasured.metrics.keys().isdisjoint(limits)
    assert len(unmeasured.errors) == len(limits) and all("it needs" in error for error in unmeasured.errors)
    assert kernels.status == "ERROR"
    assert sentences.machine(suite.result).count("experimental") == 1


def test_growth_is_judged_by_latency_where_kernels_are_not_recorded(experimental_cpu, model):
    with TestSuite(model, batch_size=2, quiet=True, on_failure="report", seconds_per_case=0.2) as suite:
        suite.test(model.norm).with_seq_lengths([8, 32, 128]).expect_scaling("linear").profile(1, 5)
    assert suite.result[0].scaling.metric == "latency_ms"


def test_a_model_on_a_device_that_is_not_there_is_an_error_at_its_line(monkeypatch):
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with FakeTensorMode():
        model = Weighted("xpu")
    with pytest.raises(SpecError, match="device='xpu:0': torch finds no XPU device on this machine"):
        TestSuite(model)
