"""The use of a device: busy and idle time, its gaps, its bound and communication."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.trace.analyses import device


def test_busy_idle_and_overlap_of_a_device_and_its_streams(attribute):
    (result,) = device.use(attribute(k.two_iterations()))
    # 10-20 and 15-35 µs overlap by 5; a copy 41-45; again 100 µs later: 29 busy each, 6 + 65 + 6 idle
    assert (result.span_ns, result.busy_ns, result.idle_ns, result.overlap_ns) == (135_000, 58_000, 77_000, 10_000)
    assert [(s.stream, s.count, s.busy_ns) for s in result.streams] == [(7, 4, 28_000), (8, 2, 40_000)]
    assert (result.idle.count, result.idle.time_ns) == (3, 77_000)
    assert result.idle.waiting_for_launch_ns == 65_000  # the next iteration was launched at 101 µs, after 45
    assert result.idle.launched_already_ns == 12_000


def test_the_longest_gap_lists_the_work_of_the_launching_thread(attribute):
    events = [k.launch(0, 1), k.kernel("a", 5, 5, 1), k.op("load", 10, 60), k.op("copy", 20, 10), k.launch(80, 2)]
    (result,) = device.use(attribute([*events, k.kernel("b", 90, 5, 2)]))
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
def test_the_bound_of_a_device(attribute, events, verdict):
    (result,) = device.use(attribute(events))
    bound = result.bound
    assert bound.verdict == verdict
    shares = (bound.compute, bound.communication_alone, bound.copies_alone, bound.waiting_for_launch, bound.other_idle)
    assert sum(shares) == pytest.approx(1)


def test_communication_that_overlaps_with_compute(attribute):
    events = [
        k.kernel("ncclDevKernel_AllReduce", 0, 20, 1, stream=9),
        k.kernel("gemm", 15, 10, 2),
        k.kernel("rcclKernel", 40, 10, 3, stream=9),
    ]
    result = device.communication(attribute(events).trace)
    assert (result.count, result.time_ns, result.union_ns, result.with_compute_ns, result.alone_ns) == (
        2,
        30_000,
        30_000,
        5_000,
        25_000,
    )
    assert device.communication(attribute([k.kernel("gemm", 0, 1, 1)]).trace) is None
