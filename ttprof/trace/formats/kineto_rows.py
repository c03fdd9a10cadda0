"""Turns blocks of decoded Kineto rows into tables of int64 and float64 arrays, one table per kind of event.

Defines the categories of each kind, and the fields that are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.formats.copies import copied_bytes
from ttprof.trace.formats.growing import ArrayTable
from ttprof.trace.formats.numbers import durations_ns, fractions, times_ns, whole_numbers

OPS = "ops"
MEMORY = "memory"
LINKS = "links"


class Args(msgspec.Struct, gc=False):
    """The fields that are read from ``args``, in the order in which traces write them; -1 if a row has none."""

    external: Any = msgspec.field(default=UNKNOWN, name="External id")
    device: Any = UNKNOWN
    stream: Any = UNKNOWN
    correlation: Any = UNKNOWN
    external_2021: Any = msgspec.field(default=UNKNOWN, name="external id")
    size: Any = msgspec.field(default=UNKNOWN, name="bytes")
    blocks_per_sm: Any = msgspec.field(default=None, name="blocks per SM")
    occupancy: Any = msgspec.field(default=None, name="est. achieved occupancy %")
    forward_thread: Any = msgspec.field(default=UNKNOWN, name="Fwd thread id")
    sequence: Any = msgspec.field(default=UNKNOWN, name="Sequence number")
    flops: Any = UNKNOWN
    types: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="Input type")
    dims: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="Input Dims")
    finished: Any = True
    device_type: Any = msgspec.field(default=UNKNOWN, name="Device Type")
    device_index: Any = msgspec.field(default=UNKNOWN, name="Device Id")
    address: Any = msgspec.field(default=UNKNOWN, name="Addr")
    bytes: Any = msgspec.field(default=None, name="Bytes")
    allocated: Any = msgspec.field(default=UNKNOWN, name="Total Allocated")
    reserved: Any = msgspec.field(default=UNKNOWN, name="Total Reserved")


Time = TypeVar("Time")
Duration = TypeVar("Duration")


class EventRow(msgspec.Struct, Generic[Time, Duration], gc=False):
    """A row, with its fields in the order of the file, which decodes fastest. Times are microseconds."""

    ph: str = ""
    cat: str | None = None
    name: str = ""
    pid: Any = None
    tid: Any = None
    ts: Time | None = None
    dur: Duration | None = None
    args: Args | None = None
    id: Any = UNKNOWN


class TextEventRow(EventRow[Any, float], gc=False):
    """A row whose times count from the epoch and have decimals, which a float64 can't represent exactly."""

    ts: msgspec.Raw = msgspec.Raw()


DECODERS = (
    msgspec.json.Decoder(list[EventRow[int, int]]).decode,  # whole microseconds
    msgspec.json.Decoder(list[EventRow[float, float]]).decode,  # decimals, small enough to be exact as float64
    msgspec.json.Decoder(list[TextEventRow]).decode,  # decimals since the epoch, exact only as text
)
"""From the fastest to the most general; rows that one would read inexactly are left to the next."""

_COLUMNS: dict[str, Callable[[list[Args]], NDArray[Any]]] = {
    "correlation": lambda args: whole_numbers([a.correlation for a in args]),
    "external": lambda args: _external_ids(args),
    "device": lambda args: whole_numbers([a.device for a in args]),
    "stream": lambda args: whole_numbers([a.stream for a in args]),
    "bytes": lambda args: whole_numbers([a.size for a in args]),
    "blocks_per_sm": lambda args: fractions([a.blocks_per_sm for a in args]),
    "occupancy": lambda args: fractions([a.occupancy for a in args]),
    "sequence": lambda args: whole_numbers([a.sequence for a in args]),
    "forward_thread": lambda args: whole_numbers([a.forward_thread for a in args]),
    "flops": lambda args: whole_numbers([a.flops for a in args]),
    "cut": lambda args: np.array([a.finished in (False, "false", "False") for a in args], dtype=np.int64),
}


@dataclass(frozen=True)
class EventKind:
    """The rows of some categories (in lower case); *host* rows have a thread, device rows a device and a stream."""

    name: str
    categories: tuple[str, ...]
    host: bool
    args: tuple[str, ...]


_DEVICE = ("correlation", "device", "stream")
EVENT_KINDS = (
    EventKind("kernels", ("kernel",), False, (*_DEVICE, "blocks_per_sm", "occupancy")),
    EventKind("memcpy", ("gpu_memcpy", "memcpy"), False, (*_DEVICE, "bytes")),
    EventKind("memset", ("gpu_memset", "memset"), False, (*_DEVICE, "bytes")),
    EventKind(
        "runtime",
        ("cuda_runtime", "cuda_driver", "runtime", "xpu_runtime", "xpu_driver", "privateuse1_runtime"),
        True,
        ("correlation", "external"),
    ),
    EventKind(OPS, ("cpu_op", "operator"), True, ("external", "sequence", "forward_thread", "flops")),
    EventKind("annotations", ("user_annotation",), True, ("cut",)),
    EventKind("device_annotations", ("gpu_user_annotation",), True, ()),
    EventKind("python", ("python_function",), True, ()),
    EventKind("sessions", ("trace",), True, ()),
    EventKind("overhead", ("overhead",), True, ()),
)
_BY_CATEGORY = {category: kind for kind in EVENT_KINDS for category in kind.categories}
_LINKS = "fwdbwd"
_OTHER_FLOWS = frozenset({"ac2g", "async_cpu_to_gpu", "async"})
_MEMORY_NAME = "[memory]"
_NO_ARGS = Args()
_UNREADABLE = (TypeError, ValueError, OverflowError, AttributeError)


class Numbering(dict[Any, int]):
    """Numbers its keys in the order in which they are first looked up."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


class Blocks:
    """Turns blocks of rows into tables; names and threads are numbered across all blocks of a file."""

    def __init__(self, path: str) -> None:
        self.names = Numbering()
        self.threads = Numbering()
        self._path = path

    def tables(self, rows: Sequence[Any], first: int) -> list[tuple[str, ArrayTable]]:
        """The tables of a block, whose first row is row *first* of the file.

        Raises:
            TraceError: a row has an impossible value.
            TooLargeForFloats: the block has to be decoded again, by the next decoder.
        """
        by_category: dict[str | None, list[Any]] = defaultdict(list)
        for row in rows:
            by_category[row.cat].append(row)
        tables = []
        for category, group in by_category.items():
            for name, part, build in self._kinds(category, group):
                try:
                    tables.append((name, build(part)))
                except _UNREADABLE as error:
                    raise self._bad_row(part, build, rows, first) from error
        return tables

    def _kinds(
        self, category: str | None, group: list[Any]
    ) -> Iterator[tuple[str, list[Any], Callable[[list[Any]], ArrayTable]]]:
        """The table's name, its rows, and the function that builds it; nothing for a category that is not read."""
        kind = _BY_CATEGORY.get((category or "").lower())
        if kind is not None:
            yield kind.name, group, lambda rows: self._spans(kind, rows)
        elif category == _LINKS:
            yield LINKS, group, self._links
        elif category not in _OTHER_FLOWS and (memory := [row for row in group if row.name == _MEMORY_NAME]):
            yield MEMORY, memory, self._memory_events

    def _spans(self, kind: EventKind, rows: list[Any]) -> ArrayTable:
        durations = [row.dur for row in rows]
        if None in durations:  # only complete events have one; others of this category are instants
            rows = [row for row in rows if row.ph == "X"]
            durations = [row.dur for row in rows]
        names = self.names
        table: ArrayTable = {
            "ts": times_ns([row.ts for row in rows], "ts"),
            "dur": durations_ns(durations),
            "name": whole_numbers([names[row.name] for row in rows]),
        }
        if kind.host:
            table["thread"] = self._threads(rows)
        if kind.args:
            args = [row.args for row in rows]
            if None in args:
                args = [a or _NO_ARGS for a in args]
            table |= {name: _COLUMNS[name](args) for name in kind.args}
        if kind.name == OPS:
            table["copied"] = copied_bytes(rows)
        return table

    def _threads(self, rows: list[Any]) -> Int:
        """The thread number of each row; consecutive rows are mostly of the same thread."""
        pids, tids = [row.pid for row in rows], [row.tid for row in rows]
        try:
            pid, tid = np.fromiter(pids, np.int64, len(rows)), np.fromiter(tids, np.int64, len(rows))
        except (TypeError, ValueError):  # some ids are strings
            pairs = zip(map(_track, pids), map(_track, tids), strict=True)
            return whole_numbers([self.threads[pair] for pair in pairs])
        first = np.flatnonzero((pid[1:] != pid[:-1]) | (tid[1:] != tid[:-1])) + 1
        starts = np.concatenate(([0], first)) if len(rows) else first
        heads = zip(pid[starts].tolist(), tid[starts].tolist(), strict=True)
        return np.repeat(whole_numbers([self.threads[pair] for pair in heads]), np.diff(starts, append=len(rows)))

    def _links(self, rows: list[Any]) -> ArrayTable:
        return {
            "ts": times_ns([row.ts for row in rows], "ts"),
            "id": whole_numbers([row.id for row in rows]),
            "ends": np.array([row.ph == "f" for row in rows], dtype=np.int64),
            "thread": self._threads(rows),
        }

    def _memory_events(self, rows: list[Any]) -> ArrayTable:
        args = [row.args or _NO_ARGS for row in rows]
        sizes = [a.bytes for a in args]
        if None in sizes:
            raise ValueError("a memory event without Bytes")
        return {
            "ts": times_ns([row.ts for row in rows], "ts"),
            "thread": self._threads(rows),
            "bytes": whole_numbers(sizes),
            "address": whole_numbers([a.address for a in args]),
            "allocated": whole_numbers([a.allocated for a in args]),
            "reserved": whole_numbers([a.reserved for a in args]),
            "device_type": whole_numbers([a.device_type for a in args]),
            "device_index": whole_numbers([a.device_index for a in args]),
        }

    def _bad_row(
        self, part: list[Any], build: Callable[[list[Any]], ArrayTable], rows: Sequence[Any], first: int
    ) -> TraceError:
        """The error for a table that can't be built, naming the first row that causes it."""
        for row in part:
            try:
                build([row])
            except _UNREADABLE as cause:
                position = first + next(i for i, candidate in enumerate(rows) if candidate is row)
                text = f"event {position} ({row.name!r}) can't be read: {cause}"
                return TraceError(text, TraceErrorCode.IMPOSSIBLE_VALUES, self._path)
        text = f"events {first} to {first + len(rows) - 1} can't be read"
        return TraceError(text, TraceErrorCode.IMPOSSIBLE_VALUES, self._path)


def _track(value: Any) -> Any:
    """A process or thread; a decimal string becomes its number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _external_ids(args: list[Args]) -> Int:
    ids = whole_numbers([a.external for a in args])
    return ids if (ids != UNKNOWN).any() else whole_numbers([a.external_2021 for a in args])
