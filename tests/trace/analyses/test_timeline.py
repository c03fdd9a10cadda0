"""The timeline and the hierarchy, on handwritten traces with lanes, rows and sums that are easy to check."""

from __future__ import annotations

import kineto_files
import numpy as np
import pytest

from ttprof.trace.analyses import hierarchy, timeline
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations


def drawn(tmp_path, events, iteration: int) -> timeline.Timeline:
    trace = kineto.read(kineto_files.write(tmp_path / "t.json", events))
    return timeline.timeline(Attribution(trace), Iterations.of(trace), iteration)


def rows(result: timeline.Timeline) -> list[tuple]:
    """(lane, row, kind, name, start in µs) of each event."""
    e = result.events
    names, kinds = [result.names[i] for i in e.name], [timeline.KINDS[i] for i in e.kind]
    lanes = [result.lanes[i].name for i in e.lane]
    return list(zip(lanes, e.row.tolist(), kinds, names, (e.start // 1000).tolist(), strict=True))


def test_an_iteration_has_its_calls_and_the_work_they_launched(tmp_path):
    result = drawn(tmp_path, kineto_files.two_iterations(), 1)
    assert [lane.name for lane in result.lanes] == ["thread 1", "device 0 stream 7", "device 0 stream 8"]
    assert rows(result) == [
        ("thread 1", 0, "annotation", "ttprof.iteration#1", 0),
        ("thread 1", 1, "call", "cudaLaunchKernel", 1),
        ("thread 1", 1, "call", "cudaLaunchKernel", 3),
        ("thread 1", 1, "call", "cudaMemcpyAsync", 5),
        ("device 0 stream 7", 0, "kernel", "gemm", 10),
        ("device 0 stream 7", 0, "memcpy", "Memcpy DtoD", 41),
        ("device 0 stream 8", 0, "kernel", "softmax", 15),
    ]
    assert result.events.launch.tolist() == [-1, -1, -1, -1, 1, 3, 2]
    assert result.events.parent.tolist() == [-1, 0, 0, 0, -1, -1, -1]
    assert result.dur_ns == 90_000 and [lane.rows for lane in result.lanes] == [2, 1, 1]


def test_without_iterations_the_timeline_is_the_whole_trace(tmp_path):
    result = drawn(tmp_path, kineto_files.training_step(), -1)
    events = rows(result)
    assert ("thread 1", 0, "module", "Net_0", 0) in events and ("thread 1", 1, "module", "Net_0.Linear_0", 5) in events
    assert ("thread 1", 3, "op", "aten::addmm", 7) in events
    assert ("thread 2", 1, "backward op", "AddmmBackward0", 101) in events
    assert result.dur_ns == 240_000


def test_overlapping_work_on_a_stream_gets_several_rows(tmp_path):
    events = [kineto_files.kernel("a", 0, 10, 1), kineto_files.kernel("b", 2, 4, 2)]
    assert [row[:4] for row in rows(drawn(tmp_path, events, -1))] == [
        ("device 0 stream 7", 0, "kernel", "a"),
        ("device 0 stream 7", 1, "kernel", "b"),
    ]


def test_shortened_timelines_keep_their_references(tmp_path):
    result = timeline.longest(drawn(tmp_path, kineto_files.two_iterations(), 0), 3)
    assert [row[3] for row in rows(result)] == ["ttprof.iteration#0", "gemm", "softmax"]
    assert result.events.launch.tolist() == [-1, -1, -1] and len(result.names) == 3
    whole = drawn(tmp_path, kineto_files.two_iterations(), 0)
    assert timeline.longest(whole, 7) is whole


def test_the_typical_iteration_is_of_median_duration(tmp_path):
    events = [kineto_files.iteration(i, 100 * i, dur) for i, dur in enumerate((50, 20, 30))]
    trace = kineto.read(kineto_files.write(tmp_path / "t.json", events))
    assert timeline.typical(Iterations.of(trace)) == 2


def test_leaves_add_up_to_the_total_time(tmp_path):
    trace = kineto.read(kineto_files.write(tmp_path / "t.json", kineto_files.training_step()))
    result = {
        (leaf.phase, leaf.path, leaf.op, leaf.kernel): leaf.time_ns for leaf in hierarchy.leaves(Attribution(trace))
    }
    assert result == {
        ("forward", None, None, "early"): 50_000,
        ("backward", "Net_0.Linear_0", "aten::mm", "gemm_t"): 30_000,
        ("forward", "Net_0.Linear_0", "aten::addmm", "gemm"): 10_000,
        ("forward", None, "aten::zero_", "fill"): 5_000,
        ("forward", None, None, "fill"): 5_000,
    }


@pytest.mark.parametrize("name", ["h100_bert_small", "mi300_resnet_3steps", "v100_resnet50_w0_old", "mtia_inference"])
def test_invariants_on_recorded_traces(shared_traces, name):
    trace = kineto.read(shared_traces / "kineto" / f"{name}.json.gz")
    owners = Attribution(trace)
    lanes = timeline.timeline(owners, Iterations.of(trace), -1)
    events = lanes.events
    device = np.isin(events.kind, (timeline.KERNELS, timeline.MEMCPY, timeline.MEMSET))
    assert int(device.sum()) == len(trace.device_work)
    assert int((events.kind == timeline.CALLS).sum()) == len(trace.runtime)
    inside = events.parent >= 0
    assert (events.lane[events.parent[inside]] == events.lane[inside]).all()
    assert (events.row[events.parent[inside]] == events.row[inside] - 1).all()
    launched = events.launch >= 0
    assert (events.kind[events.launch[launched]] == timeline.CALLS).all()
    order = np.lexsort((events.start, events.row, events.lane))
    assert (order == np.arange(len(events))).all()
    total = trace.kernels.time_ns if len(trace.kernels) else int(owners.ops.self_ns.sum())
    assert sum(leaf.time_ns for leaf in hierarchy.leaves(owners)) == total
