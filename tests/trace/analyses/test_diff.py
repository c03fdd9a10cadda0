"""Differences between two traces, per step."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.trace.analyses.diff import diff
from ttprof.trace.formats import kineto


@pytest.fixture
def compare(tmp_path):
    def compared(first, second):
        return diff(kineto.read(k.write(tmp_path / "a.json", first)), kineto.read(k.write(tmp_path / "b.json", second)))

    return compared


def step(number, start, *kernels):
    """A step of 100 µs that launches kernels, given as pairs of name and µs."""
    events = [k.iteration(number, start, 90), k.op("aten::mm", start + 1, 10 * len(kernels))]
    for i, (name, dur) in enumerate(kernels):
        correlation = 10 * number + i
        events += [k.launch(start + 2 + i, correlation), k.kernel(name, start + 20 * i + 5, dur, correlation)]
    return events


def test_changes_are_per_step_whatever_the_number_of_steps(compare):
    once = step(0, 0, ("gemm", 10), ("relu", 5))
    thrice = [event for i in range(3) for event in step(i, 100 * i, ("gemm", 10), ("relu", 5))]
    result = compare(once, thrice)
    assert (result.per, result.steps, result.launches, result.kernel_time_ns) == (
        "step",
        (1, 3),
        (2, 2),
        (15_000, 15_000),
    )
    assert {row.change for row in result.kernels + result.ops} == {"same"}


def test_added_removed_slower_and_faster(compare):
    before = step(0, 0, ("gemm", 10), ("relu", 5), ("old", 1))
    after = step(0, 0, ("gemm", 12), ("relu", 4), ("new", 9))
    result = compare(before, after)
    assert [(row.name, row.change, row.time_ns) for row in result.kernels] == [
        ("new", "added", (0, 9_000)),
        ("gemm", "slower", (10_000, 12_000)),
        ("old", "removed", (1_000, 0)),
        ("relu", "faster", (5_000, 4_000)),
    ]
    assert [row.ratio for row in result.kernels] == [None, 1.2, 0.0, 0.8]


def test_without_steps_the_whole_traces_are_compared(compare):
    result = compare([k.op("a", 0, 4)], [k.op("a", 0, 4), k.op("a", 10, 4)])
    assert (result.per, result.steps) == ("trace", (0, 0))
    assert [(row.name, row.change, row.count, row.ratio) for row in result.ops] == [("a", "slower", (1, 2), 2.0)]


def test_two_recorded_traces(shared_traces):
    first = kineto.read(shared_traces / "kineto" / "a100_rank0_5steps.json.gz")
    second = kineto.read(shared_traces / "kineto" / "a100_diff_control.json.gz")
    result = diff(first, second)
    assert result.kernel_count == (1075, 1428)  # per ../shared/traces/expected, in steps of equal counts
    assert sum(row.time_ns[1] for row in result.kernels) == pytest.approx(result.kernel_time_ns[1])
    same = diff(second, second)
    assert {row.change for row in same.kernels + same.ops} == {"same"}
