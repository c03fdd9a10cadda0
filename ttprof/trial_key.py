"""The key of a trial: its case, its sweep point, and its side of the comparison (module or reference)."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import msgspec


class Point(dict[str, int]):
    """The swept sizes of a trial by axis, in the order of the sweeps; empty without a sweep.

    Points are hashable and compare equal in any order of axes. Write a point as ``str(point)`` everywhere:
    ``seq_len=64,batch_size=2``.
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in self.items())

    def without(self, axis: str) -> Point:
        """Return the point without *axis*."""
        return Point({name: size for name, size in self.items() if name != axis})

    def at(self, axis: str, size: int) -> Point:
        """Return the point with *size* on *axis*."""
        return Point({**self, axis: size})


def as_point(kind: type, value: Any) -> Any:
    """Decode a Point; pass it as ``dec_hook`` to msgspec when decoding structs with points."""
    if kind is not Point:
        raise NotImplementedError(f"no decoder for {kind}")
    return Point(msgspec.convert(value, dict[str, int]))


class Side(str, enum.Enum):
    """The two sides of ``compare_with``."""

    MODULE = "module"
    REFERENCE = "reference"


class TrialKey(NamedTuple):
    """Identifies a trial within its suite. Recordings use ``str(key)`` as its name."""

    case: str
    point: Point
    side: Side = Side.MODULE

    def __str__(self) -> str:
        return f"{self.case}/{self.stem}"

    @property
    def stem(self) -> str:
        """The file name of its trace in the folder of its case, without the suffix."""
        return (str(self.point) or "trace") + (".reference" if self.side is Side.REFERENCE else "")
