"""The operators and kernels of one iteration by name, and how those of two runs differ. Must not import torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from ttprof.system.escape import make_visible

LEAST_SHARE = 0.2
"""The part of all that became slower from which an operator is named for its time alone."""

LEAST_GROWTH = 1.05
"""And its own growth from which it is."""

MAX_LINES = 3
"""The most lines that are named for one operator."""


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
        """What stays the same when lines above it change."""
        return self.place.rpartition(":")[0], self.digest


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

    ``count`` and ``time_ns`` are those of the baseline and of the run; ``places`` are the lines of the new calls.
    """

    name: str
    kind: Literal["operator", "kernel"]
    count: tuple[float, float]
    time_ns: tuple[float, float]
    places: list[str] = []

    def __post_init__(self) -> None:
        make_visible(self, "name", "places")


def changes(base: Sequence[OperatorUse], new: Sequence[OperatorUse], slower: bool) -> list[OperatorChange]:
    """What one iteration calls otherwise than in the baseline: new calls first, then lost ones, then slower ones.

    *slower*: whether the iteration became slower, without which the times of a few recorded calls say nothing. Empty if
    either side knows no operators.
    """
    if not base or not new:
        return []
    before, after = {(use.kind, use.name): use for use in base}, {(use.kind, use.name): use for use in new}
    rows = [_change(before.get(key), after.get(key)) for key in dict.fromkeys((*after, *before))]
    growth = sum(max(0.0, row.time_ns[1] - row.time_ns[0]) for row in rows)
    told = [row for row in rows if row.count[0] != row.count[1] or (slower and _is_slower(row, growth))]
    return sorted(told, key=_order)


def _change(old: OperatorUse | None, now: OperatorUse | None) -> OperatorChange:
    either = now or old
    assert either is not None
    return OperatorChange(
        name=either.name,
        kind=either.kind,
        count=(old.count if old else 0.0, now.count if now else 0.0),
        time_ns=(old.time_ns if old else 0.0, now.time_ns if now else 0.0),
        places=_places(old.lines if old else [], now.lines if now else []),
    )


def _is_slower(row: OperatorChange, growth: float) -> bool:
    """Whether its time is worth telling; *growth* is that of all that became slower."""
    old, now = row.time_ns
    return old > 0 and now > LEAST_GROWTH * old and now - old >= LEAST_SHARE * growth


def _places(old: Sequence[CallLine], new: Sequence[CallLine]) -> list[str]:
    """The lines that call more often than before; without any, all of them."""
    before = Counter({line.identity: line.count for line in old})
    more = [line.place for line in new if line.count > before[line.identity]]
    return (more or [line.place for line in new])[:MAX_LINES]


def _order(row: OperatorChange) -> tuple[int, float, str]:
    more = row.count[1] - row.count[0]
    rank = 0 if more > 0 else 1 if more < 0 else 2
    return rank, -(row.time_ns[1] - row.time_ns[0]), row.name
