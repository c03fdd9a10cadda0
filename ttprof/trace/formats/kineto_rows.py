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

from ttprof.trace.events import UNKNOWN, Float, Int
from ttprof.trace.formats.copies import copied_bytes
from ttprof.trace.formats.growing import ArrayTable
from ttprof.trace.formats.numbers import durations_ns, fractions, times_ns, whole_numbers

DEFAULT_SHARED_BYTES = 48 * 1024
"""Shared memory of a block without opting in to more, on every CUDA device."""

OPS = "ops"
SESSIONS = "sessions"
MEMORY = "memory"
LINKS = "links"

UNREADABLE = "unreadable"
"""The table of rows with values that can't be read: how many of one table, the time of none, and the name of one."""

UNKNOWN_ROWS = "unknown rows"
"""The table of rows of categories that are not known: how many of one category and phase, and their time."""


class Args(msgspec.Struct, gc=False):
    """The fields that are read from ``args``, in the order in which traces write them; -1 if a row has none."""

    external: Any = msgspec.field(default=UNKNOWN, name="External id")
    device: Any = UNKNOWN
    stream: Any = UNKNOWN
    correlation: Any = UNKNOWN
    external_2021: Any = msgspec.field(default=UNKNOWN, name="external id")
    size: Any = msgspec.field(default=UNKNOWN, name="bytes")
    blocks_per_sm: Any = msgspec.field(default=None, name="blocks per SM")
    shared_memory: Any = msgspec.field(default=None, name="shared memory")
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
    "blocks_per_sm": lambda args: _positive(fractions([a.blocks_per_sm for a in args])),
    "occupancy": lambda args: _occupancy(args),
    "sequence": lambda args: whole_numbers([a.sequence for a in args]),
    "forward_thread": lambda args: whole_numbers([a.forward_thread for a in args]),
    "flops": lambda args: whole_numbers([a.flops for a in args]),
    "cut": lambda args: np.array([a.finished in (False, "false", "False") for a in args], dtype=np.int64),
}


@dataclass(frozen=True)
class EventKind:
    """The rows of some categories (in lower case), and what is read from their arguments."""

    name: str
    categories: tuple[str, ...]
    args: tuple[str, ...]


_DEVICE = ("correlation", "device", "stream")
EVENT_KINDS = (
    EventKind("kernels", ("kernel",), (*_DEVICE, "blocks_per_sm", "occupancy")),
    EventKind("memcpy", ("gpu_memcpy", "memcpy"), (*_DEVICE, "bytes")),
    EventKind("memset", ("gpu_memset", "memset"), (*_DEVICE, "bytes")),
    EventKind(
        "runtime",
        ("cuda_runtime", "cuda_driver", "runtime", "xpu_runtime", "xpu_driver", "privateuse1_runtime"),
        ("correlation", "external"),
    ),
    EventKind(OPS, ("cpu_op", "operator"), ("external", "sequence", "forward_thread", "flops")),
    EventKind("annotations", ("user_annotation",), ("cut",)),
    EventKind("device_annotations", ("gpu_user_annotation",), ()),
    EventKind("python", ("python_function",), ()),
    EventKind(SESSIONS, ("trace",), ()),
    EventKind("overhead", ("overhead",), ()),
)
_BY_CATEGORY = {category: kind for kind in EVENT_KINDS for category in kind.categories}
TABLE_NAMES = (*(kind.name for kind in EVENT_KINDS), MEMORY, LINKS)
"""The tables by number, as the table of unreadable rows has them."""

_LINKS = "fwdbwd"
_FLOWS = frozenset({"ac2g", "async_cpu_to_gpu", "async", "async_gpu", "async_npu", "async_task_queue"})
_MEMORY_NAME = "[memory]"
_NOT_READ = frozenset({"cpu_instant_event", "cuda_sync", "cuda_profiler_range", "gpu_pm_counter", "__metadata"})
"""Categories of torch.profiler that nothing here is computed from, for which no metric lacks anything."""

_METADATA = "M"
MARKS = ("Record Window End", "Iteration Start")
"""How the names of rows begin that torch.profiler writes without a category."""
_NO_ARGS = Args()
_UNREADABLE = (TypeError, ValueError, OverflowError, AttributeError)


class Numbering(dict[Any, int]):
    """Numbers its keys in the order in which they are first looked up."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


TablePart = tuple[str, list[Any], Callable[[list[Any]], ArrayTable]]
"""The name of a table, its rows, and the function that builds it."""


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
        tables: list[tuple[str, ArrayTable]] = []
        for category, group in by_category.items():
            for name, part, build in self._kinds(category, group):
                try:
                    tables.append((name, build(part)))
                except _UNREADABLE:
                    tables += self._readable(name, part, build)
        return tables

    def _readable(
        self, name: str, rows: list[Any], build: Callable[[list[Any]], ArrayTable]
    ) -> Iterator[tuple[str, ArrayTable]]:
        """The table of the rows that can be read, and the number of the others."""
        good, bad = [], []
        for row in rows:
            try:
                build([row])
            except _UNREADABLE:
                bad.append(row)
            else:
                good.append(row)
        if good:
            yield name, build(good)
        counts = {"ts": 0, "table": TABLE_NAMES.index(name), "count": len(bad), "name": self.names[str(bad[0].name)]}
        yield UNREADABLE, {key: np.array([value], dtype=np.int64) for key, value in counts.items()}

    def _kinds(self, category: str | None, group: list[Any]) -> Iterator[TablePart]:
        """The tables that the rows of a category become; none for a category that is not read."""
        kind = _BY_CATEGORY.get((category or "").lower())
        if kind is not None:
            if None in [row.dur for row in group]:  # only complete events have one
                complete = [row for row in group if row.ph == "X"]
                if kind.name != SESSIONS:
                    yield from self._unknown([row for row in group if row.ph != "X"])
                group = complete
            if group:
                yield kind.name, group, lambda rows: self._spans(kind, rows)
        elif category == _LINKS:
            yield LINKS, group, self._links
        elif category not in _FLOWS:
            memory = [row for row in group if row.name == _MEMORY_NAME]
            if memory:
                yield MEMORY, memory, self._memory_events
            if (category or "").lower() not in _NOT_READ:
                yield from self._unknown(group)

    def _unknown(self, group: list[Any]) -> Iterator[TablePart]:
        """The rows of a category that is not known, but for metadata, marks and memory."""
        by_phase: dict[str, list[Any]] = defaultdict(list)
        for row in group:
            if (
                row.ph != _METADATA
                and row.name != _MEMORY_NAME
                and not (row.cat is None and row.name.startswith(MARKS))
            ):
                by_phase[row.ph].append(row)
        for rows in by_phase.values():
            yield UNKNOWN_ROWS, rows, self._count

    def _spans(self, kind: EventKind, rows: list[Any]) -> ArrayTable:
        names = self.names
        table: ArrayTable = {
            "ts": times_ns([row.ts for row in rows], "ts"),
            "dur": durations_ns([row.dur for row in rows]),
            "name": whole_numbers([names[row.name] for row in rows]),
        }
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

    def _count(self, rows: list[Any]) -> ArrayTable:
        """The number of rows of one category and phase, and their time."""
        first = rows[0]
        category = UNKNOWN if first.cat is None else self.names[first.cat]
        values = {"ts": 0, "count": len(rows), "name": category, "phase": ord(first.ph[:1] or " ")}
        return {key: np.array([value], dtype=np.int64) for key, value in {**values, "dur": _total_ns(rows)}.items()}


def _total_ns(rows: list[Any]) -> int:
    """The sum of the durations that rows state; those that can't be read count as none."""
    try:
        return int(durations_ns([row.dur for row in rows if row.dur is not None]).sum())
    except _UNREADABLE:
        return sum(map(_total_ns, ([row] for row in rows))) if len(rows) > 1 else 0


def _track(value: Any) -> Any:
    """A process or thread; a decimal string becomes its number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _positive(values: Float) -> Float:
    """The values above 0; others are none that a kernel can have."""
    return np.where(values > 0, values, np.nan)


def _occupancy(args: list[Args]) -> Float:
    """The occupancy in percent; NaN where Kineto's 0 only means that it does not know.

    It computes the occupancy with the default limit of shared memory, so that a kernel which opts in to more than that
    gets 0 (libkineto/src/DeviceProperties.cpp). A few blocks on a large device do have less than 0.5 %.
    """
    occupancy = fractions([a.occupancy for a in args])
    blocks = fractions([a.blocks_per_sm for a in args])
    shared = fractions([a.shared_memory for a in args])
    unknown = (occupancy == 0) & ((blocks >= 1) | (shared > DEFAULT_SHARED_BYTES))
    return np.where(unknown | (occupancy < 0) | (occupancy > 100), np.nan, occupancy)


def _external_ids(args: list[Args]) -> Int:
    ids = whole_numbers([a.external for a in args])
    return ids if (ids != UNKNOWN).any() else whole_numbers([a.external_2021 for a in args])
