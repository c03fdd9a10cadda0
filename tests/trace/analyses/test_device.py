"""The use of a device: busy and idle time, its gaps, its bound and communication."""

from __future__ import annotations

import re

import kineto_files as k
import pytest

from ttprof.trace.analyses import device


def used(attribution):
    return device.use(attribution, device.collectives(attribution.trace))


def communication(trace, pattern=None):
    return device.communication(trace, device.collectives(trace, pattern))


def test_busy_idle_and_overlap_of_a_device_and_its_streams(attribute):
    (result,) = used(attribute(k.two_iterations()))
    # 10-20 and 15-35 µs overlap by 5; a copy 41-45; again 100 µs later: 29 busy each, 6 + 65 + 6 idle
    assert (result.span_ns, result.busy_ns, result.idle_ns, result.overlap_ns) == (135_000, 58_000, 77_000, 10_000)
    assert [(s.stream, s.count, s.busy_ns) for s in result.streams] == [(7, 4, 28_000), (8, 2, 40_000)]
    assert (result.idle.count, result.idle.time_ns) == (3, 77_000)
    assert result.idle.waiting_for_launch_ns == 65_000  # the next iteration was launched at 101 µs, after 45
    assert result.idle.launched_already_ns == 12_000


def test_the_longest_gap_lists_the_work_of_the_launching_thread(attribute):
    events = [k.launch(0, 1), k.kernel("a", 5, 5, 1), k.op("load", 10, 60), k.op("copy", 20, 10), k.launch(80, 2)]
    (result,) = used(attribute([*events, k.kernel("b", 90, 5, 2)]))
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
    (result,) = used(attribute(events))
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
    result = communication(attribute(events).trace)
    assert (result.count, result.time_ns, result.union_ns, result.with_compute_ns, result.alone_ns) == (
        2,
        30_000,
        30_000,
        5_000,
        25_000,
    )
    assert communication(attribute([k.kernel("gemm", 0, 1, 1)]).trace) is None


@pytest.mark.parametrize(
    "name",
    [
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL",
        "void deep_ep::intranode::dispatch<8, 768>(int4*)",
        "void dpsk::ep::internode::dispatch_ll<true>()",
        "userbuffers_fp16_sum_inplace_gpu_rr_rs_oop<8>",
        "void rocshmem::put_signal()",
        "void multimem_one_shot_all_reduce_kernel<float>",
    ],
)
def test_kernels_that_move_data_between_devices_are_known_by_name(attribute, name):
    found = communication(attribute([k.kernel(name, 0, 1, 1), k.kernel("gemm", 5, 1, 2)]).trace)
    assert found.count == 1


@pytest.mark.parametrize(
    "name", ["dispatch_gemm", "ampere_sgemm", "vectorized_elementwise_kernel", "moe_combine", "depth"]
)
def test_other_kernels_compute_unless_a_pattern_names_them(attribute, name):
    trace = attribute([k.kernel(name, 0, 1, 1)]).trace
    assert communication(trace) is None
    assert communication(trace, re.compile(name[2:].upper(), re.IGNORECASE)).count == 1


def test_memsets_are_no_copies_and_unknown_launches_no_reason(attribute):
    memset = k.span("gpu_memset", "Memset (Device)", 0, 20, correlation=1, device=0, stream=7)
    assert used(attribute([memset]))[0].bound is None
    (device_,) = used(attribute([memset, k.kernel("a", 100, 10, 2)]))
    assert device_.bound.verdict == "idle-unknown" and device_.bound.unknown_idle == pytest.approx(80 / 110)
    assert device_.bound.memsets_alone == pytest.approx(20 / 110) and device_.bound.copies_alone == 0


def test_a_device_that_worked_too_little_has_shares_and_no_verdict(attribute):
    (device_,) = used(attribute([k.kernel("a", 0, 4, 1), k.kernel("nccl", 4, 4, 2)]))
    assert device_.bound.verdict is None and device_.bound.compute == device_.bound.communication_alone == 0.5
