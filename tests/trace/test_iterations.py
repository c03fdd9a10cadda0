"""Work and memory by iteration, and launches without a kernel."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.trace.analyses import integrity, memory, tables
from ttprof.trace.correlate import launch_index, lost_kernels
from ttprof.trace.iterations import Iterations, steps


def test_kernels_belong_to_the_iteration_that_launched_them(read):
    events = [
        k.iteration(0, 0, 10),
        k.iteration(1, 10, 10),
        k.launch(1, 1),
        k.launch(11, 2),
        k.kernel("a", 12, 3, 1),
        k.kernel("b", 15, 4, 2),
    ]
    iterations = Iterations.of(read(events))
    assert iterations.of_kernels.tolist() == [0, 1]
    assert iterations.sums(iterations.of_kernels, iterations.trace.kernels.dur).tolist() == [3000, 4000]


def test_a_kernel_without_a_launch_belongs_to_no_iteration(read):
    trace = read([k.iteration(0, 0, 100), k.launch(1, 1), k.kernel("a", 2, 3, 1), k.kernel("stray", 5, 3, 99)])
    assert launch_index(trace.kernels, trace).tolist() == [0, -1]
    assert Iterations.of(trace).of_kernels.tolist() == [0, -1]


def test_one_graph_launch_owns_many_kernels(read):
    trace = read(
        [k.iteration(0, 0, 9), k.launch(1, 5, "cudaGraphLaunch"), *(k.kernel("g", 10 + i, 1, 5) for i in range(3))]
    )
    assert Iterations.of(trace).of_kernels.tolist() == [0, 0, 0]
    assert (len(trace.launches), lost_kernels(trace)) == (0, 0)


def test_a_launch_without_its_kernel_is_counted(read):
    assert lost_kernels(read(k.two_iterations())) == 0
    assert lost_kernels(read(k.two_iterations(lose_kernel=True))) == 1


@pytest.mark.parametrize(
    "name",
    [
        "cudaLaunchKernelExC",
        "cuLaunchKernel",
        "cuLaunchKernelEx",
        "hipLaunchKernel",
        "hipExtModuleLaunchKernel",
        "cudaLaunchCooperativeKernel",
    ],
)
def test_every_launch_function_counts_as_a_launch(read, name):
    assert lost_kernels(read([k.launch(1, 1, name)])) == 1


def test_steps_are_unique_and_in_time_order(read):
    step = lambda n, ts, cat="user_annotation": k.span(cat, f"ProfilerStep#{n}", ts, 10)  # noqa: E731
    result = steps(read([step(2, 20), step(1, 0), step(1, 3, "gpu_user_annotation"), step(1, 5)]))
    assert result.names == ["ProfilerStep#1", "ProfilerStep#2"]
    assert result.windows.ts.tolist() == [0, 20_000]


def test_memory_of_an_iteration_is_the_peak_of_its_running_sum(read):
    first, second = Iterations.of(read(k.two_iterations())).memory(1)
    assert memory.peak_of_running_sum(first) == memory.peak_of_running_sum(second) == 4000
    assert memory.net_bytes(first) == 0


def test_without_totals_there_are_no_device_peaks(read):
    event = k.memory(1, 64, 64)
    del event["args"]["Total Allocated"]
    (row,) = memory.by_device(read([event, k.memory(2, 64, 128)]).memory)
    assert (row.events, row.peak_allocated_bytes, row.peak_reserved_bytes, row.net_bytes) == (2, None, 256, 128)


def test_only_kernels_of_iterations_can_be_dominant(read):
    op = lambda name, ts, dur: k.span("cpu_op", name, ts, dur)  # noqa: E731
    rows = [op("setup", 0, 50), k.iteration(0, 60, 20), op("addmm", 61, 6), op("relu", 70, 3), op("canary", 90, 40)]
    assert tables.dominant(Iterations.of(read(rows))) == [("addmm", 2 / 3), ("relu", 1 / 3)]
    kernels = [*rows, k.launch(62, 1), k.kernel("gemm", 100, 4, 1), k.launch(91, 2), k.kernel("fill", 110, 9, 2)]
    assert tables.dominant(Iterations.of(read(kernels))) == [("gemm", 1.0)]


def test_launches_during_graph_capture_are_not_lost_kernels(read):
    events = [
        k.launch(0, 1, name="cudaStreamBeginCapture_v10000"),
        k.launch(5, 2),
        k.launch(10, 3, name="cudaStreamEndCapture"),
        k.launch(20, 4, name="cudaGraphLaunch"),
        k.kernel("a", 30, 5, 4),
    ]
    trace = read(events)
    assert integrity.check(trace, Iterations.of(trace)).complete
    lost = read([*events, k.launch(40, 5)])
    assert integrity.check(lost, Iterations.of(lost)).launches_without_kernel == 1


def test_launches_on_intel_gpus_count(read):
    trace = read([{**k.launch(0, 1, name="urEnqueueKernelLaunch"), "cat": "xpu_runtime"}])
    assert len(trace.launches) == 1
