"""The columns that every reader fills and every analysis reads.

Times are int64 nanoseconds, names are indices into one table of interned strings, and a number that the
trace does not state is -1. Nothing here knows a file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

UNKNOWN = -1

_KERNEL_LAUNCH = re.compile(r"(cuda|cu|hip)\w*Launch\w*Kernel")


@dataclass(frozen=True)
class Spans:
    """Events of one kind that have a duration, in no particular order; all columns have the same length."""

    ts: Int
    dur: Int
    name: Int
    pid: Int
    tid: Int
    correlation: Int
    external: Int
    device: Int
    stream: Int

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, ...]]) -> Spans:
        """Columns from rows in the order of the fields."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, len(fields(cls)))
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def end(self) -> Int:
        """The end of each event."""
        return self.ts + self.dur

    @property
    def time_ns(self) -> int:
        """The sum of the durations; overlap counts twice."""
        return int(self.dur.sum())

    def where(self, rows: Mask | Int) -> Spans:
        """The events that a mask, or indices, select."""
        return Spans(*(getattr(self, f.name)[rows] for f in fields(self)))

    def shifted(self, ns: int) -> Spans:
        """The same events *ns* later."""
        return replace(self, ts=self.ts + ns)

    @staticmethod
    def concat(parts: Iterable[Spans]) -> Spans:
        """All events of several tables, one table after the other."""
        tables = list(parts)
        return Spans(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Spans)))


@dataclass(frozen=True)
class MemoryEvents:
    """Allocations (positive ``bytes``) and frees, in time order; totals are -1 where the trace does not state them."""

    ts: Int
    bytes: Int
    address: Int
    allocated: Int
    reserved: Int
    device_type: Int
    device_index: Int

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, ...]]) -> MemoryEvents:
        """Columns from rows in the order of the fields."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, len(fields(cls)))
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    @staticmethod
    def concat(parts: Iterable[MemoryEvents]) -> MemoryEvents:
        """All events of several tables, one table after the other."""
        tables = list(parts)
        return MemoryEvents(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(MemoryEvents)))

    def in_time_order(self, base_ns: int = 0) -> MemoryEvents:
        """The events by time, *base_ns* later; those of one time stay as they stood."""
        ordered = self.where(np.argsort(self.ts, kind="stable"))
        return replace(ordered, ts=ordered.ts + base_ns)

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, rows: Mask | Int) -> MemoryEvents:
        """The events that a mask, or indices, select."""
        return MemoryEvents(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Trace:
    """One trace file. ``events`` is the number of rows in the file; ``base_ns`` was added to every time.

    ``lost`` says what could not be read of a file that breaks off and was salvaged.
    """

    path: str
    format: str
    events: int
    devices: tuple[str, ...]
    names: tuple[str, ...]
    base_ns: int
    kernels: Spans
    memcpy: Spans
    memset: Spans
    runtime: Spans
    ops: Spans
    annotations: Spans
    device_annotations: Spans
    python: Spans
    memory: MemoryEvents
    lost: str | None = None

    def name_of(self, spans: Spans) -> list[str]:
        """The name of each event of one of this trace's tables."""
        return [self.names[i] for i in spans.name]

    def named(self, spans: Spans, pattern: re.Pattern[str]) -> Mask:
        """Which events of one of this trace's tables have a name that *pattern* matches from its start."""
        hits = np.array([pattern.match(name) is not None for name in self.names], dtype=np.bool_)
        return hits[spans.name] if len(spans) else np.zeros(0, dtype=np.bool_)

    @cached_property
    def launches(self) -> Spans:
        """The runtime and driver calls that start a kernel (graph launches start many and are not among them)."""
        return self.runtime.where(self.named(self.runtime, _KERNEL_LAUNCH))

    @cached_property
    def device_work(self) -> Spans:
        """Kernels, memcpys and memsets."""
        return Spans.concat((self.kernels, self.memcpy, self.memset))
