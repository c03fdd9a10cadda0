"""Compares two traces: kernels and ops that were added, removed, or became slower or faster.

If both traces have steps, numbers are per step and only work within steps counts, which makes traces of different
length comparable; otherwise numbers are totals.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ttprof.codes import Note
from ttprof.errors import printable
from ttprof.trace.analyses.integrity import check
from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.events import UNKNOWN, Trace
from ttprof.trace.intervals import union_ns
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting
from ttprof.trace.step_names import STEP

VERSION = 2
"""Version of the JSON of ``ttprof analyze --diff``. History: 1, the first; 2, ``incomplete`` has notes with codes."""

CHANGED = 0.05
"""The relative change of a time up to which it counts as the same."""

Pair = tuple[float, float]


class NameChange(msgspec.Struct, frozen=True):
    """All events of one name, with its numbers in the first and in the second trace.

    ``change`` is added, removed, slower, faster or same, judged by total time; ``ratio`` is the second time over the
    first, null if the first is 0.
    """

    name: str
    change: str
    count: Pair
    time_ns: Pair
    ratio: float | None


class Diff(msgspec.Struct, frozen=True):
    """The changes, the largest difference in time first; ``per`` is "step" or "trace".

    ``incomplete`` are the reasons why either trace is incomplete; ``kernels_left_out`` counts kernels outside any step.
    ``step_time_ns`` is the mean on the host, null without steps; ``busy_share`` is of the span of device work, null
    without any. ``launches`` are kernel launch calls. Op times are self times on the host.
    """

    version: int
    paths: tuple[str, str]
    incomplete: tuple[list[Note], list[Note]]
    kernels_left_out: tuple[int, int]
    devices: tuple[list[str], list[str]]
    per: str
    steps: tuple[int, int]
    step_time_ns: tuple[float | None, float | None]
    busy_share: tuple[float | None, float | None]
    launches: Pair
    kernel_count: Pair
    kernel_time_ns: Pair
    kernels: list[NameChange]
    ops: list[NameChange]


@dataclass(frozen=True)
class _ComparedTrace:
    """The compared part of one trace; its numbers are not yet divided by ``scale``."""

    scale: int
    launches: int
    kernels: list[Named]
    ops: list[Named]

    @property
    def kernel_count(self) -> int:
        """The number of compared kernels."""
        return sum(row.count for row in self.kernels)

    @property
    def kernel_time_ns(self) -> int:
        """The sum of the durations of the compared kernels, in ns."""
        return sum(row.time_ns for row in self.kernels)


def diff(first: Trace, second: Trace, steps_glob: str | None = None) -> Diff:
    """Compare *second* with *first*; times in ns. *steps_glob* names the annotations that are steps."""
    one, two = (Iterations.of(trace, steps_glob) for trace in (first, second))
    per_step = bool(len(one) and len(two))
    a, b = _compared(one, per_step), _compared(two, per_step)
    return Diff(
        version=VERSION,
        paths=(printable(first.path), printable(second.path)),
        incomplete=(check(first, one).reasons, check(second, two).reasons),
        kernels_left_out=(len(first.kernels) - a.kernel_count, len(second.kernels) - b.kernel_count),
        devices=(list(first.devices), list(second.devices)),
        per="step" if per_step else "trace",
        steps=(len(one), len(two)),
        step_time_ns=(_mean_step(one), _mean_step(two)),
        busy_share=(_busy(first), _busy(second)),
        launches=(a.launches / a.scale, b.launches / b.scale),
        kernel_count=(a.kernel_count / a.scale, b.kernel_count / b.scale),
        kernel_time_ns=(a.kernel_time_ns / a.scale, b.kernel_time_ns / b.scale),
        kernels=_changes(a.kernels, b.kernels, (a.scale, b.scale)),
        ops=_changes(a.ops, b.ops, (a.scale, b.scale)),
    )


class Growth(msgspec.Struct, frozen=True):
    """A total that grew: ``ratio`` is the second value over the first, null if that is 0."""

    what: str
    time_ns: Pair
    ratio: float | None


def grown(diff: Diff, share: float) -> list[Growth]:
    """The totals that grew by more than *share* (0.05 for 5 %): the step on the host, and the time of the kernels.

    Without kernels, it is the time of the operators.
    """
    kernels = any(diff.kernel_count)
    ops = (sum(row.time_ns[0] for row in diff.ops), sum(row.time_ns[1] for row in diff.ops))
    totals: list[tuple[str, float | None, float | None]] = [
        ("step on the host", *diff.step_time_ns),
        ("kernel time", *diff.kernel_time_ns) if kernels else ("operator time", *ops),
    ]
    found = []
    for what, before, after in totals:
        if before is not None and after is not None and after > (1 + share) * before:
            found.append(Growth(what, (before, after), after / before if before else None))
    return found


def causes(diff: Diff) -> list[NameChange]:
    """The kernels (without kernels, the ops) that grew, the most first."""
    rows = diff.kernels if any(diff.kernel_count) else diff.ops
    return sorted((row for row in rows if _growth(row) > 0), key=_growth, reverse=True)


def _growth(row: NameChange) -> float:
    return row.time_ns[1] - row.time_ns[0]


def _compared(iterations: Iterations, per_step: bool) -> _ComparedTrace:
    trace = iterations.trace
    self_ns = Nesting(trace.ops).self_ns
    if not per_step:
        return _ComparedTrace(1, len(trace.launches), by_name(trace, trace.kernels), by_name(trace, trace.ops, self_ns))
    is_step = trace.named(trace.ops, STEP)  # each has a different name
    inside = (iterations.of_moments(trace.ops.ts) != UNKNOWN) & ~is_step
    return _ComparedTrace(
        scale=len(iterations),
        launches=int((iterations.of_moments(trace.launches.ts) != UNKNOWN).sum()),
        kernels=by_name(trace, trace.kernels.where(iterations.of_kernels != UNKNOWN)),
        ops=by_name(trace, trace.ops.where(inside), self_ns[inside]),
    )


def _mean_step(iterations: Iterations) -> float | None:
    return float(iterations.windows.dur.mean()) if len(iterations) else None


def _busy(trace: Trace) -> float | None:
    work = trace.device_work
    span = int(work.end.max() - work.ts.min()) if len(work) else 0
    return union_ns(work.ts, work.end) / span if span else None


def _changes(first: list[Named], second: list[Named], scale: tuple[int, int]) -> list[NameChange]:
    before, after = {row.name: row for row in first}, {row.name: row for row in second}
    nothing = Named("", 0, 0)
    rows = []
    for name in before | after:
        a, b = before.get(name, nothing), after.get(name, nothing)
        times = (a.time_ns / scale[0], b.time_ns / scale[1])
        ratio = times[1] / times[0] if times[0] else None
        rows.append(NameChange(name, _change(a, b, ratio), (a.count / scale[0], b.count / scale[1]), times, ratio))
    return sorted(rows, key=lambda row: (-abs(row.time_ns[1] - row.time_ns[0]), row.name))


def _change(before: Named, after: Named, ratio: float | None) -> str:
    if not before.count:
        return "added"
    if not after.count:
        return "removed"
    if ratio is None:
        return "slower" if after.time_ns else "same"
    if ratio > 1 + CHANGED:
        return "slower"
    return "faster" if ratio < 1 - CHANGED else "same"
