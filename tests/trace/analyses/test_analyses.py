"""The analyses, on hand-written traces whose sums can be checked by hand."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.codes import Note, NoteCode
from ttprof.trace.analyses import critical_chain, device, efficiency, integrity, launches, memory, modules, tables
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations


@pytest.fixture
def owners(tmp_path):
    return lambda events, **top: Attribution(kineto.read(k.write(tmp_path / "t.json", events, **top)))


def test_busy_idle_and_overlap_of_a_device_and_its_streams(owners):
    (result,) = device.use(owners(k.two_iterations()))
    # 10-20 and 15-35 µs overlap by 5; a copy 41-45; again 100 µs later: 29 busy each, 6 + 65 + 6 idle
    assert (result.span_ns, result.busy_ns, result.idle_ns, result.overlap_ns) == (135_000, 58_000, 77_000, 10_000)
    assert [(s.stream, s.count, s.busy_ns) for s in result.streams] == [(7, 4, 28_000), (8, 2, 40_000)]
    assert (result.idle.count, result.idle.time_ns) == (3, 77_000)
    assert result.idle.waiting_for_launch_ns == 65_000  # the next iteration was launched at 101 µs, after 45
    assert result.idle.launched_already_ns == 12_000


def test_the_longest_gap_lists_the_work_of_the_launching_thread(owners):
    events = [k.launch(0, 1), k.kernel("a", 5, 5, 1), k.op("load", 10, 60), k.op("copy", 20, 10), k.launch(80, 2)]
    (result,) = device.use(owners([*events, k.kernel("b", 90, 5, 2)]))
    (gap,) = result.idle.longest
    assert (gap.start_ns, gap.time_ns, gap.after, gap.before, gap.launched_late) == (5_000, 80_000, "a", "b", True)
    assert [(row.name, row.time_ns) for row in gap.host] == [
        ("load", 50_000),
        ("copy", 10_000),
        ("cudaLaunchKernel", 1_000),
    ]


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([k.launch(0, 1), k.kernel("gemm", 1, 90, 1), k.launch(50, 2), k.kernel("gemm", 95, 5, 2)], "compute-bound"),
        ([k.launch(0, 1), k.kernel("gemm", 1, 5, 1), k.launch(50, 2), k.kernel("gemm", 55, 5, 2)], "launch-bound"),
        ([k.kernel("ncclDevKernel_AllReduce", 0, 90, 1), k.kernel("gemm", 80, 15, 2)], "communication-bound"),
        (
            [k.span("gpu_memcpy", "Memcpy HtoD", 0, 90, correlation=1, device=0, stream=7), k.kernel("gemm", 90, 5, 2)],
            "memory-copy-bound",
        ),
        ([k.launch(0, 1), k.launch(1, 2), k.kernel("gemm", 2, 5, 1), k.kernel("gemm", 90, 5, 2)], "idle"),
    ],
)
def test_the_bound_of_a_device(owners, events, verdict):
    (result,) = device.use(owners(events))
    bound = result.bound
    assert bound.verdict == verdict
    shares = (bound.compute, bound.communication_alone, bound.copies_alone, bound.waiting_for_launch, bound.other_idle)
    assert sum(shares) == pytest.approx(1)


def test_communication_that_overlaps_with_compute(owners):
    events = [
        k.kernel("ncclDevKernel_AllReduce", 0, 20, 1, stream=9),
        k.kernel("gemm", 15, 10, 2),
        k.kernel("rcclKernel", 40, 10, 3, stream=9),
    ]
    result = device.communication(owners(events).trace)
    assert (result.count, result.time_ns, result.union_ns, result.with_compute_ns, result.alone_ns) == (
        2,
        30_000,
        30_000,
        5_000,
        25_000,
    )
    assert device.communication(owners([k.kernel("gemm", 0, 1, 1)]).trace) is None


def test_launch_delay_and_queue_depth(owners):
    events = [k.launch(10 * i, i) for i in range(3)] + [k.kernel("a", 25 + 10 * i, 10, i) for i in range(3)]
    result = launches.launches(owners(events))
    assert (result.count, result.delay.min_ns, result.delay.max_ns) == (3, 25_000, 25_000)
    assert result.max_queue_depth == 3  # at 20 µs, three are launched and none has begun
    assert launches.launches(owners([k.op("x", 0, 1)])).delay is None


def copy(name, ts, dur, size=None):
    size = {} if size is None else {"bytes": size}
    return k.span("gpu_memcpy", name, ts, dur, correlation=ts, device=0, stream=7, **size)


def test_copies_by_direction(owners):
    rows = [copy("Memcpy HtoD (Pinned -> Device)", 0, 2, 4000), copy("Memcpy HtoD (Pageable -> Device)", 5, 6, 4000)]
    result = launches.copies(owners([*rows, copy("Memcpy DtoD (Device -> Device)", 20, 1)]).trace)
    assert [(c.direction, c.count, c.time_ns, c.bytes) for c in result] == [
        ("HtoD", 2, 8_000, 8000),
        ("DtoD", 1, 1_000, None),
    ]
    assert result[0].bytes_per_s == 1e9


def test_synchronising_calls_and_the_ops_that_made_them(owners):
    names = ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemcpy", "hipDeviceSynchronize", "cuCtxSynchronize"]
    calls = [k.launch(1 + i, i, name=name) for i, name in enumerate(names)]
    result = launches.synchronisations(owners([k.op("aten::item", 0, 3), *calls]))
    assert (result.count, result.time_ns) == (4, 4_000)
    assert {row.name for row in result.by_call} == set(names) - {"cudaMemcpyAsync"}
    assert [(row.name, row.count) for row in result.by_op] == [("(no op)", 3), ("aten::item", 1)]


def detailed(name, ts, dur, blocks, occupancy):
    event = k.kernel(name, ts, dur, ts)
    event["args"] |= {"blocks per SM": blocks, "est. achieved occupancy %": occupancy}
    return event


def test_efficiency_is_weighted_by_time(owners):
    rows = [detailed("sm80_xmma_gemm", 0, 30, 4.0, 50), detailed("copy", 40, 10, 0.5, 10), k.kernel("bare", 60, 10, 3)]
    result = efficiency.efficiency(owners(rows).trace)
    assert (result.occupancy_percent, result.sm_efficiency_percent) == (40.0, 87.5)
    assert (result.stated_share, result.tensor_core_ns, result.tensor_core_share) == (0.8, 30_000, 0.6)


def test_tables_have_totals_self_times_quantiles_and_launched_kernels(owners):
    attribution = owners(k.training_step())
    early, _, fill, _ = tables.kernels(attribution.trace)
    assert (early.name, early.time_ns) == ("early", 50_000)
    assert (fill.count, fill.mean_ns, fill.spread.median_ns, fill.spread.max_ns) == (2, 5_000, 5_000, 5_000)
    rows = {row.name: row for row in tables.ops(attribution)}
    linear, addmm = rows["aten::linear"], rows["aten::addmm"]
    assert (linear.time_ns, linear.self_ns, linear.kernel_count) == (15_000, 5_000, 0)
    assert (addmm.self_ns, addmm.kernel_count, addmm.kernel_ns, addmm.flops) == (10_000, 1, 10_000, None)
    stated = owners([k.op("aten::mm", 0, 1, flops=100), k.op("aten::mm", 2, 1, flops=20), k.op("aten::add", 4, 1)])
    assert {row.name: row.flops for row in tables.ops(stated)} == {"aten::mm": 120, "aten::add": None}


def allocation(ts, size, total, address):
    event = k.memory(ts, size, total, device_type=1, device=0)
    return {**event, "args": {**event["args"], "Addr": address}}


def test_live_allocations_at_the_peak_and_their_owners(owners):
    events = [
        k.span("user_annotation", "module: mlp", 0, 10),
        k.op("aten::mm", 1, 3),
        k.op("aten::add", 5, 3),
        allocation(2, 1000, 11_000, 1),  # freed before the peak
        allocation(3, 400, 11_400, 2),
        allocation(4, -1000, 10_400, 1),
        allocation(6, 3000, 13_400, 1),  # the same address again
        allocation(20, -400, 13_000, 2),
        allocation(30, 50, 13_050, 5),  # in no op
    ]
    (result,) = memory.allocations(owners(events))
    assert (result.allocations, result.allocated_bytes, result.frees, result.freed_bytes) == (4, 4450, 2, 1400)
    peak = result.peak
    assert (peak.at_ns, peak.allocated_bytes, peak.before_trace_bytes) == (4_000, 13_400, 10_000)
    assert [(h.name, h.count, h.bytes) for h in peak.by_op] == [("aten::add", 1, 3000), ("aten::mm", 1, 400)]
    assert [(h.name, h.bytes) for h in peak.by_module] == [("mlp", 3400)]
    assert [(h.name, h.bytes) for h in result.by_op][-1] == (memory.UNATTRIBUTED, 50)
    assert result.curve[0] == (0, 11_000, 22_000)
    assert result.curve[-1] == (28_000, 13_050, 26_100)


def test_without_totals_there_is_no_peak_and_no_curve(owners):
    event = k.memory(1, 64, 64)
    del event["args"]["Total Allocated"], event["args"]["Total Reserved"]
    (result,) = memory.allocations(owners([event]))
    assert (result.allocated_bytes, result.peak, result.curve) == (64, None, None)


def test_a_long_curve_keeps_its_highest_point(owners):
    events = [k.memory(i, 1, 5000 if i == 777 else i) for i in range(2000)]
    (result,) = memory.allocations(owners(events))
    assert len(result.curve) <= memory.CURVE_POINTS + 1
    assert max(point[1] for point in result.curve) == 5000


def test_the_critical_chain_adds_up_to_the_span(owners):
    events = [
        k.iteration(0, 0, 200),
        k.launch(1, 1),
        k.kernel("a", 10, 20, 1),
        k.launch(2, 2),
        k.kernel("b", 12, 5, 2, stream=8),  # ends before a does: not on the chain
        k.launch(3, 3),
        k.kernel("c", 32, 8, 3),  # was launched before a ended: waits for it, 2 µs of latency
        k.launch(60, 4),
        k.kernel("d", 70, 10, 4),  # was launched 20 µs after c ended: waits for the host
    ]
    attribution = owners(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert [row.name for row in only.by_name] == ["a", "d", "c"]
    assert (only.span_ns, only.length, only.work_ns) == (70_000, 3, 38_000)
    assert (only.latency_ns, only.waiting_for_launch_ns) == (2_000, 30_000)


def test_work_of_other_iterations_is_not_waiting(owners):
    events = [
        k.iteration(0, 0, 50),
        k.launch(1, 1),
        k.kernel("a", 10, 10, 1),
        k.kernel("of the last iteration", 20, 30, 99),
        k.launch(40, 2),
        k.kernel("b", 60, 10, 2),
    ]
    attribution = owners(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert (only.span_ns, only.work_ns, only.other_work_ns) == (60_000, 20_000, 30_000)
    assert (only.waiting_for_launch_ns, only.latency_ns) == (10_000, 0)


def test_without_kernels_module_times_are_self_times_of_ops(owners):
    attribution = owners(
        [k.span("user_annotation", "module: net.0", 0, 10), k.op("mm", 1, 6), k.op("copy", 2, 2), k.op("x", 20, 8)]
    )
    (row,) = modules.tree(attribution)
    assert (row.forward_ns, row.kernel_count) == (6_000, 0)
    rest = modules.unattributed(attribution)
    assert (rest.measured, rest.time_ns, rest.without_module_ns) == ("ops", 8_000, 8_000)


def test_modules_by_class(owners):
    rows = [
        k.span("python_function", f"nn.Module: {name}", ts, 10)
        for name, ts in (("Lin_0", 0), ("Lin_1", 20), ("Act_0", 40))
    ]
    attribution = owners([*rows, k.op("mm", 1, 5), k.op("mm", 21, 6), k.op("relu", 41, 2)])
    classes = modules.by_class(modules.tree(attribution))
    assert [(c.name, c.modules, c.self_forward_ns) for c in classes] == [("Lin", 2, 11_000), ("Act", 1, 2_000)]


def test_an_index_is_not_a_module_class(owners):
    paths = ("enc.layers.0", "enc.layers.0.up", "1.0", "net.v2.12")
    rows = [k.span("user_annotation", f"module: {path}", 20 * i, 10) for i, path in enumerate(paths)]
    attribution = owners([*rows, k.op("mm", 1, 5)])
    assert {c.name for c in modules.by_class(modules.tree(attribution))} == {"layers.0", "up", "1.0", "v2.12"}


def test_the_chain_ends_with_empty_kernels_too(owners):
    events = [
        k.iteration(0, 0, 90),
        *[k.launch(i, i) for i in (1, 2, 3)],
        *[k.kernel("e", 10, 0, i) for i in (1, 2, 3)],
    ]
    attribution = owners(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert (only.length, only.span_ns) == (3, 0)


def check(result):
    return integrity.check(result.trace, Iterations.of(result.trace))


def test_a_whole_trace_is_complete(owners):
    result = check(owners(k.two_iterations()))
    assert (result.complete, result.reasons) == (True, [])


def unfinished(event):
    return {**event, "args": {"finished": False}}


@pytest.mark.parametrize(
    ("events", "top", "code", "text"),
    [
        (
            k.two_iterations(lose_kernel=True),
            {},
            NoteCode.LAUNCHES_WITHOUT_KERNEL,
            "1 of 4 kernel launches have no kernel",
        ),
        (
            [k.launch(0, 1, name="cudaGraphLaunch"), k.iteration(0, 0, 9)],
            {},
            NoteCode.GRAPH_LAUNCHES_WITHOUT_WORK,
            "1 CUDA graph launches have no device work",
        ),
        (
            [unfinished(k.iteration(3, 0, 9))],
            {},
            NoteCode.STEPS_CUT,
            "recording began or ended within ttprof.iteration#3",
        ),
        (
            [k.iteration(3, 0, 9), {**k.span("Trace", "PyTorch Profiler (0)", 1, 20), "pid": "Spans"}],
            {},
            NoteCode.STEPS_CUT,
            "recording began or ended within ttprof.iteration#3",
        ),
        (
            [k.iteration(0, 0, 9)],
            {"WARNING": ["WARNING:x] Dropped 12 activity records", "another warning"]},
            NoteCode.RECORDS_DROPPED,
            "the profiler reported: WARNING:x] Dropped 12 activity records",
        ),
    ],
)
def test_what_makes_a_trace_incomplete(owners, events, top, code, text):
    result = check(owners(events, **top))
    assert not result.complete
    assert result.reasons == [Note(code, text)]


def test_a_salvaged_trace_is_incomplete(tmp_path):
    path = k.write(tmp_path / "t.json", k.two_iterations())
    path.write_bytes(path.read_bytes()[:-40])
    trace = kineto.read(path, salvage=True)
    result = integrity.check(trace, Iterations.of(trace))
    assert NoteCode.PARTLY_UNREADABLE in {reason.code for reason in result.reasons}


def test_kernels_without_a_launch_are_counted_but_not_a_loss(owners):
    result = check(owners([k.kernel("early", 0, 5, 1)]))
    assert (result.complete, result.kernels_without_launch) == (True, 1)
