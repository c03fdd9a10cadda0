"""The columns that every reader fills and every analysis reads.

Times are int64 nanoseconds, names are indices into one table of interned strings, and -1 means that the trace doesn't
state the number. This file must not know any file format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof.codes import Flaw, Note

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

UNKNOWN = -1

UNREADABLE_NS = -(2**62)
"""The duration of a row whose times can't be read: ``possible`` leaves it out."""

AnyColumns = TypeVar("AnyColumns", bound="Columns")

_KERNEL_LAUNCH = re.compile(r"(cuda|cu|hip)\w*Launch\w*Kernel|urEnqueueKernelLaunch|zeCommandListAppendLaunchKernel")


@dataclass(frozen=True)
class Columns:
    """A table whose fields are its columns, arrays of the same length."""

    @classmethod
    def of(cls: type[AnyColumns], table: Mapping[str, NDArray[Any]]) -> AnyColumns:
        """Build the table from named columns; a missing column is -1 everywhere and takes no memory."""
        length = len(next(iter(table.values()), ()))
        unknown = np.broadcast_to(np.int64(UNKNOWN), length)
        return cls(**{f.name: table.get(f.name, unknown) for f in fields(cls)})

    @classmethod
    def from_rows(cls: type[AnyColumns], rows: Iterable[tuple[int, ...]]) -> AnyColumns:
        """Build the table from rows, whose values are in the order of the fields."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, len(fields(cls)))
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    @classmethod
    def concat(cls: type[AnyColumns], tables: Iterable[AnyColumns]) -> AnyColumns:
        """Concatenate the rows of several tables."""
        parts = list(tables)
        return cls(*(np.concatenate([getattr(t, f.name) for t in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def where(self: AnyColumns, rows: Mask | Int) -> AnyColumns:
        """Select rows by a mask or by indices."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Spans(Columns):
    """Events of one kind with a duration, in no particular order; ``ts`` and ``dur`` are ns.

    Host events have a ``thread`` (an index into ``Trace.threads``), device events a ``device`` and a ``stream``; those
    of Kineto also the track that they are drawn on as ``thread``.
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
        """The end of each event, in ns."""
        return self.ts + self.dur

    @property
    def time_ns(self) -> int:
        """The sum of the durations in ns; overlap counts twice."""
        return int(self.dur.sum())


@dataclass(frozen=True)
class KernelDetails(Columns):
    """Launch statistics of each row of ``Trace.kernels``; NaN or -1 if the profiler does not state them.

    ``occupancy`` is the estimated percentage of an SM's warps that are active.
    """

    blocks_per_sm: Float
    occupancy: Float


@dataclass(frozen=True)
class OpDetails(Columns):
    """Details of each row of ``Trace.ops``.

    ``sequence`` is the number of the autograd node: a backward op has the number of its forward op, and a positive
    ``forward_thread``. ``copied`` are the bytes that an ``aten::copy_`` writes, by the recorded shape of its target.
    """

    sequence: Int
    forward_thread: Int
    flops: Int
    copied: Int


@dataclass(frozen=True)
class Links(Columns):
    """The two ends of each arrow from a forward op (``ends`` 0) to its backward op (``ends`` 1): times on a thread."""

    ts: Int
    id: Int
    ends: Int
    thread: Int


@dataclass(frozen=True)
class MemoryEvents(Columns):
    """Allocations (positive ``bytes``) and frees in time order; totals are -1 if the trace does not state them."""

    ts: Int
    thread: Int
    bytes: Int
    address: Int
    allocated: Int
    reserved: Int
    device_type: Int
    device_index: Int

    def in_time_order(self) -> MemoryEvents:
        """Sort the events by time; events of the same time keep their order."""
        return self.where(np.argsort(self.ts, kind="stable"))


class LeftOut(msgspec.Struct, frozen=True):
    """Records that can't be true, of one table and for one reason; they are in no table and no total.

    ``of`` is the number of records of that table, these included, and ``time_ns`` the sum of the durations that they
    state. ``example`` is the name of the longest.
    """

    flaw: Flaw
    table: str
    count: int
    of: int
    time_ns: int
    example: str


class UnknownRows(msgspec.Struct, frozen=True):
    """Rows of a category that ttprof does not know (null: they have none), and of one phase.

    ``time_ns`` is the sum of the durations that they state.
    """

    category: str | None
    phase: str
    count: int
    time_ns: int


@dataclass(frozen=True)
class Trace:
    """One trace file. ``events`` is the number of rows in the file; ``base_ns`` was added to every time.

    Columns called ``name`` and ``thread`` are indices into ``names`` and ``threads`` (pairs of process and thread).
    ``rank`` is that which recorded the file, ``ranks`` the names of those that a merged file is of. ``sessions`` are
    the spans in which each profiler recorded, ``overhead`` the profiler's own work during them.
    ``cut_annotations`` marks the annotations that were still open when recording ended. ``lost`` describes the part of
    a salvaged file that could not be read, ``dropped`` are the profiler's own messages about records that it dropped,
    and ``notes`` is anything else worth knowing about the file. ``left_out`` are records that can't be true, with the
    correlation ids of those of the device in ``left_out_ids``; ``unknown`` are rows that ttprof does not know.
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
    ranks: tuple[str, ...] = ()
    lost: str | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_ids: Int = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unknown: tuple[UnknownRows, ...] = ()

    def name_of(self, spans: Spans) -> list[str]:
        """The name of each event of one of this trace's tables."""
        return [self.names[i] for i in spans.name]

    def named(self, spans: Spans, pattern: re.Pattern[str]) -> Mask:
        """Mask of the events of one of this trace's tables whose name *pattern* matches at its start."""
        matches = np.array([pattern.match(name) is not None for name in self.names], dtype=np.bool_)
        return matches[spans.name] if len(spans) else np.zeros(0, dtype=np.bool_)

    @cached_property
    def launches(self) -> Spans:
        """The runtime and driver calls that launch one kernel each; graph launches are not included."""
        return self.runtime.where(self.named(self.runtime, _KERNEL_LAUNCH))

    @cached_property
    def device_work(self) -> Spans:
        """Kernels, memcpys and memsets."""
        return Spans.concat((self.kernels, self.memcpy, self.memset))
