"""The columns that every reader fills and every analysis reads.

Times are int64 nanoseconds, names are indices into one table of interned strings, and a number that the
trace does not state is -1. Nothing here knows a file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ttprof.codes import Note

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

UNKNOWN = -1

Table = TypeVar("Table", bound="Columns")

_KERNEL_LAUNCH = re.compile(r"(cuda|cu|hip)\w*Launch\w*Kernel|urEnqueueKernelLaunch|zeCommandListAppendLaunchKernel")


@dataclass(frozen=True)
class Columns:
    """A table: the fields are its columns, all of the same length."""

    @classmethod
    def of(cls: type[Table], table: Mapping[str, NDArray[Any]]) -> Table:
        """The columns that *table* holds; one that it does not hold is -1 everywhere, and takes no memory."""
        length = len(next(iter(table.values()), ()))
        unknown = np.broadcast_to(np.int64(UNKNOWN), length)
        return cls(**{f.name: table.get(f.name, unknown) for f in fields(cls)})

    @classmethod
    def from_rows(cls: type[Table], rows: Iterable[tuple[int, ...]]) -> Table:
        """Columns from rows in the order of the fields."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, len(fields(cls)))
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    @classmethod
    def concat(cls: type[Table], tables: Iterable[Table]) -> Table:
        """All rows of several tables, one table after the other."""
        parts = list(tables)
        return cls(*(np.concatenate([getattr(t, f.name) for t in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def where(self: Table, rows: Mask | Int) -> Table:
        """The rows that a mask, or indices, select."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Spans(Columns):
    """Events of one kind that have a duration, in no particular order.

    Host events stand on a thread (an index into ``Trace.threads``); device events on a ``stream`` of a ``device``.
    """

    ts: Int
    dur: Int
    name: Int
    thread: Int
    correlation: Int
    external: Int
    device: Int
    stream: Int

    @property
    def end(self) -> Int:
        """The end of each event."""
        return self.ts + self.dur

    @property
    def time_ns(self) -> int:
        """The sum of the durations; overlap counts twice."""
        return int(self.dur.sum())


@dataclass(frozen=True)
class KernelDetails(Columns):
    """What the profiler says of each kernel, row by row of ``Trace.kernels``; NaN (or -1) where it says nothing.

    ``occupancy`` is the estimated share of the warps of an SM that is active, in percent.
    """

    blocks_per_sm: Float
    occupancy: Float


@dataclass(frozen=True)
class OpDetails(Columns):
    """What the profiler says of each op, row by row of ``Trace.ops``.

    ``sequence`` numbers the nodes of autograd: a backward op has the number of its forward op, and a positive
    ``forward_thread``.
    """

    sequence: Int
    forward_thread: Int
    flops: Int


@dataclass(frozen=True)
class Links(Columns):
    """The ends of each arrow from a forward op (``ends`` 0) to its backward op (``ends`` 1): moments on a thread."""

    ts: Int
    id: Int
    ends: Int
    thread: Int


@dataclass(frozen=True)
class MemoryEvents(Columns):
    """Allocations (positive ``bytes``) and frees, in time order; totals are -1 where the trace does not state them."""

    ts: Int
    thread: Int
    bytes: Int
    address: Int
    allocated: Int
    reserved: Int
    device_type: Int
    device_index: Int

    def in_time_order(self) -> MemoryEvents:
        """The events by time; those of one time stay as they stood."""
        return self.where(np.argsort(self.ts, kind="stable"))


@dataclass(frozen=True)
class Trace:
    """One trace file. ``events`` is the number of rows in the file; ``base_ns`` was added to every time.

    ``names`` and ``threads`` (process, thread) are what the columns of that name point into.
    ``sessions`` are the spans in which each profiler recorded, ``overhead`` is what the profiler itself did meanwhile.
    ``cut_annotations`` marks the annotations that had not ended when recording did. ``lost`` says what could not be
    read of a file that breaks off and was salvaged; ``dropped`` are the profiler's own words on records it lost,
    ``notes`` what else a reader should know of the file.
    """

    path: str
    format: str
    events: int
    devices: tuple[str, ...]
    names: tuple[str, ...]
    threads: tuple[tuple[Any, Any], ...]
    base_ns: int
    kernels: Spans
    memcpy: Spans
    memset: Spans
    runtime: Spans
    ops: Spans
    annotations: Spans
    device_annotations: Spans
    python: Spans
    sessions: Spans
    overhead: Spans
    memory: MemoryEvents
    links: Links
    kernel_details: KernelDetails
    op_details: OpDetails
    copied_bytes: Int
    cut_annotations: Mask
    rank: int | None = None
    lost: str | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

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
