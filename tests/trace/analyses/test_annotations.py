"""Kernel time, count and host time of annotations."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import nvtx


def launched(name: str, at: float, length: float, number: int, thread: int = 1) -> list[k.Event]:
    call = {**k.launch(at, number), "tid": thread}
    return [call, k.kernel(name, 1000 + 100 * number, length, number)]


def annotation(name: str, ts: float, dur: float, thread: int = 1, category: str = "user_annotation") -> k.Event:
    return {**k.span(category, name, ts, dur), "tid": thread}


def rows(found: nvtx.Ranges) -> dict[str, tuple[int, int]]:
    return {row.name: (row.count, row.time_ns) for row in found.kernel_time_by_range}


def test_nested_annotations_of_two_threads(attribute):
    events = [
        annotation("step", 0, 100),
        annotation("forward", 0, 50),
        annotation("backward", 50, 50),
        annotation("backward", 0, 80, thread=2),
        *launched("a", 10, 30, 1),
        *launched("b", 60, 40, 2),
        *launched("c", 60, 50, 3, thread=2),
        *launched("d", 200, 60, 4),
        annotation("forward", 1100, 30, category="gpu_user_annotation"),  # the device's copy counts nowhere
    ]
    found = nvtx.annotated(attribute(events))
    assert rows(found) == {"step": (2, 70_000), "forward": (1, 30_000), "backward": (2, 90_000)}
    assert found.kernels_in_no_range == (1, 60_000) and found.ranges == 4
    host = {row.name: (row.count, row.time_ns) for row in found.time_by_range}
    assert host == {"step": (1, 100_000), "forward": (1, 50_000), "backward": (2, 130_000)}


def test_an_annotation_inside_of_its_own_name_counts_once(attribute):
    outer, inner = annotation("block", 0, 100), annotation("inner", 5, 90)
    events = [outer, inner, annotation("block", 10, 50), *launched("a", 20, 30, 1)]
    found = nvtx.annotated(attribute(events))
    assert rows(found) == {"block": (1, 30_000), "inner": (1, 30_000)} and found.ranges == 2
    assert {row.name: row.time_ns for row in found.time_by_range} == {"block": 100_000, "inner": 90_000}


def test_steps_iterations_and_modules_are_shown_elsewhere(attribute):
    names = ("ProfilerStep#3", "ttprof.iteration#1", "module: ffn")
    assert nvtx.annotated(attribute([annotation(name, 0, 10) for name in names])) is None
    assert nvtx.annotated(attribute(k.two_iterations())) is None
