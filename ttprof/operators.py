"""The operators and kernels of one iteration by name, and how those of two runs differ. Must not import torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from ttprof.system.escape import make_visible

LEAST_SHARE = 0.2
"""The part of the growth of an iteration from which an operator is named for its time alone."""

LEAST_GROWTH = 1.05
"""And its own growth from which it is."""

OUTSIDE_SHARE = 0.5
"""The part of the growth of an iteration that no operator explains from which that is said."""

OUTSIDE = "time outside operators"
"""The name of the row for it: Python code, waiting for locks and files, sleeping."""


class CallLine(msgspec.Struct, frozen=True):
    """A line of Python from which an operator is called.

    ``place`` is its file and line, as ``model/ffn.py:41``; ``digest`` tells its text from that of other lines, so that
    it is known again after lines above it have changed; ``count`` are the calls of one iteration.
    """

    place: str
    digest: str
    count: int

    def __post_init__(self) -> None:
        make_visible(self, "place")

    @property
    def identity(self) -> tuple[str, str]:
        """What stays the same when lines above it change, or a run starts in another folder."""
        return PurePosixPath(self.place.rpartition(":")[0]).name, self.digest


class OperatorUse(msgspec.Struct, frozen=True, kw_only=True):
    """An operator or a kernel in one iteration.

    ``count`` are its calls, ``time_ns`` the time of all of them in the median iteration, 0 if it was not recorded: that
    of a kernel on the device, that of an operator on the host with all that it calls.
    """

    name: str
    kind: Literal["operator", "kernel"]
    count: float
    time_ns: float = 0.0
    lines: list[CallLine] = []

    def __post_init__(self) -> None:
        make_visible(self, "name")


class OperatorChange(msgspec.Struct, frozen=True, kw_only=True):
    """An operator or a kernel that is called more or less often than in the baseline, or takes longer.

    ``count`` and ``time_ns`` are those of the baseline and of the run. ``places`` are the lines that call it more
    often, of one that is called less often those of the baseline that did. ``host`` is the time outside all operators,
    of which only the growth is known.
    """

    name: str
    kind: Literal["operator", "kernel", "host"]
    count: tuple[float, float]
    time_ns: tuple[float, float]
    places: list[str] = []

    def __post_init__(self) -> None:
        make_visible(self, "name", "places")

    @property
    def growth_ns(self) -> float:
        """By how much its time has grown."""
        return self.time_ns[1] - self.time_ns[0]


def changes(base: Sequence[OperatorUse], new: Sequence[OperatorUse], growth_ns: float) -> list[OperatorChange]:
    """What one iteration calls otherwise than in the baseline: new calls first, then lost ones, then slower ones.

    *growth_ns* is by how much the iteration became slower; if it is 0, the times of a few recorded calls say nothing.
    Empty if either side knows no operators.
    """
    if not base or not new:
        return []
    before, after = {(use.kind, use.name): use for use in base}, {(use.kind, use.name): use for use in new}
    rows = [_change(before.get(key), after.get(key)) for key in dict.fromkeys((*after, *before))]
    named = [row for row in rows if row.count[0] != row.count[1] or _is_slower(row, growth_ns)]
    return sorted([*named, *_outside(rows, growth_ns)], key=_order)


def _change(old: OperatorUse | None, now: OperatorUse | None) -> OperatorChange:
    either = now or old
    assert either is not None
    counts = old.count if old else 0.0, now.count if now else 0.0
    lines = old.lines if old else [], now.lines if now else []
    return OperatorChange(
        name=either.name,
        kind=either.kind,
        count=counts,
        time_ns=(old.time_ns if old else 0.0, now.time_ns if now else 0.0),
        places=_rising(lines[1], lines[0]) if counts[1] < counts[0] else _rising(*lines),
    )


def _is_slower(row: OperatorChange, growth_ns: float) -> bool:
    """Whether its time is worth naming; *growth_ns* is that of the iteration."""
    old, now = row.time_ns
    return growth_ns > 0 and old > 0 and now > LEAST_GROWTH * old and row.growth_ns >= LEAST_SHARE * growth_ns


def _outside(rows: Sequence[OperatorChange], growth_ns: float) -> Iterator[OperatorChange]:
    """The growth that no operator explains, if it is most; unknown with kernels, which run while the host goes on."""
    recorded = any(row.time_ns[0] for row in rows) and any(row.time_ns[1] for row in rows)
    if growth_ns > 0 and recorded and all(row.kind == "operator" for row in rows):
        left = growth_ns - max(0.0, sum(row.growth_ns for row in rows))
        if left >= OUTSIDE_SHARE * growth_ns:
            yield OperatorChange(name=OUTSIDE, kind="host", count=(0.0, 0.0), time_ns=(0.0, left))


def _rising(before: Sequence[CallLine], after: Sequence[CallLine]) -> list[str]:
    """The lines of *after* that call more often than before; without any, all of them.

    Lines of the same text can't be told apart, so they count together.
    """
    counts = _by_identity(before)
    more = {identity for identity, count in _by_identity(after).items() if count > counts[identity]}
    return [line.place for line in after if not more or line.identity in more]


def _by_identity(lines: Sequence[CallLine]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        counts[line.identity] += line.count
    return counts


def _order(row: OperatorChange) -> tuple[int, float, str]:
    more = row.count[1] - row.count[0]
    rank = 0 if more > 0 else 1 if more < 0 else 2
    return rank, -row.growth_ns, row.name
