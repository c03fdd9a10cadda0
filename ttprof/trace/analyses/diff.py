"""What changed between two traces: kernels and ops that were added, removed, or became slower or faster.

Two traces enter; a row for each name leaves. Where both have steps the numbers are per step, and only what belongs to
steps counts, so that traces of different length can be compared; else they are those of the whole trace.
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
from ttprof.trace.iterations import STEP, Iterations
from ttprof.trace.nesting import Nesting

VERSION = 2
"""Version of the JSON of ``ttprof analyze --diff``. History: 1, the first; 2, ``incomplete`` holds notes with codes."""

CHANGED = 0.05
"""A time that changed by less than this share is called the same."""

Pair = tuple[float, float]


class Change(msgspec.Struct, frozen=True):
    """A name, with its numbers in the first and in the second trace.

    ``change`` is one of added, removed, slower, faster, same, by the time in all; ``ratio`` is the second time over the
    first, null where there is no first.
    """

    name: str
    change: str
    count: Pair
    time_ns: Pair
    ratio: float | None


class Diff(msgspec.Struct, frozen=True):
    """The changes, the largest difference in time first; ``per`` is "step" or "trace".

    ``incomplete`` says what either trace has lost; ``kernels_left_out`` counts those that belong to no step.
    ``step_time_ns`` is the mean on the host, ``busy_share`` that of the span of device work; null without any.
    ``launches`` are kernel launch calls. Op times are self times on the host.
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
    kernels: list[Change]
    ops: list[Change]


@dataclass(frozen=True)
class _Side:
    """What is compared of one trace; numbers are to be divided by ``scale``."""

    scale: int
    launches: int
    kernels: list[Named]
    ops: list[Named]

    @property
    def kernel_count(self) -> int:
        """The number of kernels that are compared."""
        return sum(row.count for row in self.kernels)


def diff(first: Trace, second: Trace) -> Diff:
    """The changes from *first* to *second*."""
    one, two = Iterations.of(first), Iterations.of(second)
    per_step = bool(len(one) and len(two))
    a, b = _side(one, per_step), _side(two, per_step)
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
        kernel_count=_totals(a, b, "count"),
        kernel_time_ns=_totals(a, b, "time_ns"),
        kernels=_changes(a.kernels, b.kernels, (a.scale, b.scale)),
        ops=_changes(a.ops, b.ops, (a.scale, b.scale)),
    )


def _side(found: Iterations, per_step: bool) -> _Side:
    trace = found.trace
    own = Nesting(trace.ops).self_ns
    if not per_step:
        return _Side(1, len(trace.launches), by_name(trace, trace.kernels), by_name(trace, trace.ops, own))
    is_step = trace.named(trace.ops, STEP)  # has a name of its own each time
    inside = (found.of_moments(trace.ops.ts) != UNKNOWN) & ~is_step
    return _Side(
        scale=len(found),
        launches=int((found.of_moments(trace.launches.ts) != UNKNOWN).sum()),
        kernels=by_name(trace, trace.kernels.where(found.of_kernels != UNKNOWN)),
        ops=by_name(trace, trace.ops.where(inside), own[inside]),
    )


def _mean_step(found: Iterations) -> float | None:
    return float(found.windows.dur.mean()) if len(found) else None


def _busy(trace: Trace) -> float | None:
    work = trace.device_work
    span = int(work.end.max() - work.ts.min()) if len(work) else 0
    return union_ns(work.ts, work.end) / span if span else None


def _totals(a: _Side, b: _Side, what: str) -> Pair:
    first, second = (sum(getattr(row, what) for row in side.kernels) / side.scale for side in (a, b))
    return first, second


def _changes(first: list[Named], second: list[Named], scale: tuple[int, int]) -> list[Change]:
    before, after = {row.name: row for row in first}, {row.name: row for row in second}
    nothing = Named("", 0, 0)
    rows = []
    for name in before | after:
        a, b = before.get(name, nothing), after.get(name, nothing)
        times = (a.time_ns / scale[0], b.time_ns / scale[1])
        ratio = times[1] / times[0] if times[0] else None
        rows.append(Change(name, _change(a, b, ratio), (a.count / scale[0], b.count / scale[1]), times, ratio))
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
