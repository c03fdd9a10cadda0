"""The identity of a trial: a case, at a point of its sweeps, on one side of its comparison."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import msgspec


class Point(dict[str, int]):
    """The sizes that a trial has by axis, in the order of the sweeps; empty where nothing is swept.

    Hashable, and equal whatever the order of its axes. ``str(point)`` is its one spelling: ``seq_len=64,batch_size=2``.
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in self.items())

    def without(self, axis: str) -> Point:
        """The point without one of its axes."""
        return Point({name: size for name, size in self.items() if name != axis})

    def at(self, axis: str, size: int) -> Point:
        """The point with another size on one axis."""
        return Point({**self, axis: size})


def as_point(kind: type, value: Any) -> Any:
    """Decode a Point: the ``dec_hook`` of msgspec for structs that hold one."""
    if kind is not Point:
        raise NotImplementedError(f"no decoder for {kind}")
    return Point(msgspec.convert(value, dict[str, int]))


class Side(str, enum.Enum):
    """Which of the two that ``compare_with`` runs."""

    MODULE = "module"
    REFERENCE = "reference"


class TrialKey(NamedTuple):
    """What one trial is told from every other of its suite by. ``str(key)`` names it in recordings."""

    case: str
    point: Point
    side: Side = Side.MODULE

    def __str__(self) -> str:
        return f"{self.case}/{self.stem}"

    @property
    def stem(self) -> str:
        """The name of its trace file in the folder of its case, without the suffix."""
        return (str(self.point) or "trace") + (".reference" if self.side is Side.REFERENCE else "")
