"""The work of profiler steps, by the launches within them and by their windows on the device."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import steps
from ttprof.trace.iterations import Iterations


def step(number, ts, dur):
    return k.span("user_annotation", f"ProfilerStep#{number}", ts, dur)


def test_overlapping_steps_keep_their_kernels(read):
    events = [
        step(1, 0, 100),
        step(2, 10, 20),
        k.launch(15, 1),
        k.launch(50, 2),
        k.kernel("a", 16, 5, 1),
        k.kernel("b", 60, 5, 2),
    ]
    iterations = Iterations.of(read(events))
    assert [row.kernel_count for row in steps.by_launch(iterations)] == [1, 1]
    assert [row.kernel_count for row in steps.by_window(iterations)] == [2, 1]


def test_a_repeated_step_name_is_another_step(read):
    events = [
        step(1, 0, 10),
        step(1, 50, 100),
        {**step(1, 0, 10), "cat": "cpu_op"},
        k.launch(60, 1),
        k.kernel("a", 70, 5, 1),
    ]
    assert [row.kernel_count for row in steps.by_launch(Iterations.of(read(events)))] == [0, 1]
