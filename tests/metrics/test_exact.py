"""Exact metrics, on handwritten traces whose counts are easy to check."""

from __future__ import annotations

import kineto_files as k
import numpy as np
import pytest

from ttprof import metrics
from ttprof.observation import Observation
from ttprof.trace.formats import kineto


@pytest.fixture
def observed(tmp_path):
    def observe(events, **parts):
        windows = [k.iteration(i, 100 * i, 90) for i in range(2)]
        trace = kineto.read(k.write(tmp_path / "t.json", [*windows, *events]))
        return Observation(**{"device": "cpu", "trace": trace, "recorded": 2, **parts})

    return observe


def samples(name: str, observation: Observation) -> list[float] | None:
    values = metrics.find(name).samples(observation)
    return None if values is None else values.tolist()


def copy(ts: float, dur: float, shape: list[int], dtype: str = "float") -> k.Event:
    return k.op("aten::copy_", ts, dur, **{"Input Dims": [shape, shape, []], "Input type": [dtype, "float", "Scalar"]})


def test_the_operators_that_are_called_count_and_nothing_around_or_inside_them(observed):
    ranges = [
        k.op(name, 100 + i, 0.5)
        for i, name in enumerate(
            [
                "autograd::engine::evaluate_function: MulBackward0",
                "AddmmBackward0",
                "torch::autograd::AccumulateGrad",
                "profiler::_record_function_enter_new",
                "Torch-Compiled Region: 0/0",
                "ProfilerStep#3",
            ]
        )
    ]
    annotations = [k.span("user_annotation", "module: net", 100, 50), k.span("python_function", "a::b", 100, 5)]
    inside = [k.op("aten::linear", 110, 9), k.op("aten::addmm", 111, 5), k.op("mine::op", 130, 1, tid=2)]
    backward = [k.op("AddmmBackward0", 140, 9, tid=2), k.op("aten::mm", 141, 5, tid=2)]
    between = [k.op("aten::ones", 95, 1), k.op("aten::ones", 195, 1)]
    observation = observed([k.op("aten::add", 5, 1), *ranges, *annotations, *inside, *backward, *between])
    assert samples("op_count", observation) == [3]  # linear, mine::op and mm


def test_an_only_iteration_counts_although_it_is_the_first(observed):
    alone = [k.op("aten::add", 10, 1), k.op("aten::ones", 95, 1)]
    assert samples("op_count", observed(alone)) == [0]
    events = [{**event, "ts": event["ts"] + 1000} for event in alone]
    events[0]["ts"] = 110
    assert samples("op_count", observed(events)) == [1]


def test_allocations_off_the_peak_count(observed):
    mb = 2**20
    first = [k.memory(1, 9 * mb, 0), k.memory(2, -9 * mb, 0)]
    second = [k.memory(101, 4 * mb, 0), k.memory(102, -4 * mb, 0), k.memory(103, mb, 0), k.memory(104, -mb, 0)]
    elsewhere = [k.memory(110, mb, 0, device_type=1, device=0), k.memory(95, mb, 0)]
    observation = observed([*first, *second, *elsewhere])
    assert samples("allocation_count", observation) == [2]
    assert metrics.find("allocated_mb").measure(observation).value == 5
    assert metrics.find("memory_mb").measure(observation).value == 4
    assert samples("allocated_mb", observed([*first, *second], allocations=False)) is None


def test_a_copy_counts_what_it_writes_once(observed):
    nested = [copy(110, 20, [4, 8], "c10::Half"), copy(112, 5, [4, 8])]
    observation = observed([copy(5, 1, [1000]), *nested, copy(140, 1, []), copy(150, 1, [3, 0]), copy(95, 1, [7])])
    assert samples("copied_mb", observation) == [4 * 8 * 2 + 4]


def test_a_copy_of_unknown_size_makes_the_metric_unknown(observed):
    for broken in (k.op("aten::copy_", 110, 1), copy(110, 1, [4], "Custom"), copy(110, 1, [-4])):
        assert samples("copied_mb", observed([broken])) is None
    assert samples("copied_mb", observed([k.op("aten::copy_", 95, 1), k.op("aten::add", 110, 1)])) == [0]


def test_a_memcpy_counts_unless_a_copy_made_it(observed):
    def memcpy(ts, correlation, size, name="Memcpy DtoD (Device -> Device)"):
        of_device = {"correlation": correlation, "device": 0, "stream": 7, "bytes": size}
        call = k.span("cuda_runtime", "cudaMemcpyAsync", ts, 1, correlation=correlation)
        return [call, k.span("gpu_memcpy", name, ts + 5, 4, **of_device)]

    events = [copy(110, 9, [25]), *memcpy(112, 1, 100), *memcpy(130, 2, 64), *memcpy(140, 3, 32, "Memcpy HtoD")]
    assert samples("copied_mb", observed(events, device="cuda")) == [100 + 64]


def region(ts: float, dur: float, tid: int = 1) -> k.Event:
    return k.op("Torch-Compiled Region: 0/0", ts, dur, tid=tid)


def call(ts: float, dur: float) -> k.Event:
    return k.span("user_annotation", "ttprof.compiled", ts, dur)


def test_graphs_beyond_one_for_each_call_of_compiled_code_are_breaks(observed):
    broken_in_three = [call(110, 30), region(111, 28), region(120, 15), region(125, 5)]
    called_within = [call(150, 20), region(151, 15), call(155, 5), region(156, 3)]
    outside = [call(191, 3), region(192, 1), region(195, 1)]
    whole = [call(10, 9), region(11, 5)]
    assert samples("graph_break_count", observed([*whole, *broken_in_three, *called_within, *outside])) == [2]


def test_a_call_without_graphs_and_graphs_without_a_call_are_not_counted(observed):
    known = [call(10, 9), region(11, 5), call(110, 9), region(111, 5)]
    assert samples("graph_break_count", observed(known)) == [0]
    for unknown in (call(150, 9), region(150, 9), region(112, 1, tid=2), call(113, 1)):
        assert samples("graph_break_count", observed([*known, unknown])) is None
    assert samples("graph_break_count", observed([k.op("aten::add", 110, 5)])) is None


def test_recompilations_and_instructions():
    observation = Observation("cpu", recompilations=0, instructions=np.array([5, 9, 7]))
    assert samples("recompile_count", observation) == [0]
    assert metrics.find("instructions").measure(observation).value == 7
    assert samples("recompile_count", Observation("cpu")) is None
