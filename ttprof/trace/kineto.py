"""The reader of Kineto traces: the Chrome-trace JSON, plain or gzipped, that torch.profiler writes.

A path enters; a ``Trace`` leaves, with every time an exact integer of nanoseconds: ``ts`` and ``dur`` are
microseconds in decimal text, whatever ``displayTimeUnit`` says, and ``baseTimeNanoseconds`` is added to ``ts``.
Events are decoded block by block into columns: of a large trace only the columns stay in memory.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ttprof.errors import TraceError
from ttprof.process import no_gc
from ttprof.trace.events import UNKNOWN, Int, MemoryEvents, Spans, Trace
from ttprof.trace.stream import EventStream

EXACT_FLOAT_US = 2**43
"""Below this many microseconds a float64 lies within half a nanosecond of the decimal text it was parsed from."""

LARGEST_US = 2**52
"""Times from here on (142 years) are no times; below it, a time and the base fit in 64 bits of nanoseconds."""

_KINDS = {
    "kernel": "kernels",
    "gpu_memcpy": "memcpy",
    "memcpy": "memcpy",
    "gpu_memset": "memset",
    "memset": "memset",
    "cuda_runtime": "runtime",
    "cuda_driver": "runtime",
    "runtime": "runtime",
    "cpu_op": "ops",
    "operator": "ops",
    "user_annotation": "annotations",
    "gpu_user_annotation": "device_annotations",
    "python_function": "python",
}
_ON_DEVICE = ("kernels", "memcpy", "memset", "device_annotations")


class _Args(msgspec.Struct, gc=False):
    correlation: Any = None
    external: Any = msgspec.field(default=None, name="External id")
    external_2021: Any = msgspec.field(default=None, name="external id")
    device: Any = None
    stream: Any = None
    bytes: Any = msgspec.field(default=None, name="Bytes")
    address: Any = msgspec.field(default=None, name="Addr")
    allocated: Any = msgspec.field(default=None, name="Total Allocated")
    reserved: Any = msgspec.field(default=None, name="Total Reserved")
    device_type: Any = msgspec.field(default=None, name="Device Type")
    device_index: Any = msgspec.field(default=None, name="Device Id")


class _Row(msgspec.Struct, gc=False):
    ph: str = ""
    name: str = ""
    cat: str | None = None
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    args: _Args | None = None


class _Event(_Row, gc=False):
    """An event with its times as numbers: what is fast to decode."""

    ts: int | float | None = None
    dur: int | float | None = None


class _TextEvent(_Row, gc=False):
    """An event with its times as text, for timestamps that are too large to be exact in a float64."""

    ts: msgspec.Raw = msgspec.Raw()
    dur: msgspec.Raw = msgspec.Raw()


class _Surroundings(msgspec.Struct):
    base_ns: int | float | None = msgspec.field(default=None, name="baseTimeNanoseconds")
    devices: list[Any] | None = msgspec.field(default=None, name="deviceProperties")


_NO_ARGS = _Args()
_MEMORY = "[memory]"
_DECODE = msgspec.json.Decoder(list[_Event]).decode
_DECODE_TEXT = msgspec.json.Decoder(list[_TextEvent]).decode
_THREE_DECIMALS = re.compile(rb"(?:\d+\.\d{3}(?:\n|\Z))+")
_WHOLE = re.compile(rb"(?:\d+(?:\n|\Z))+")


def read(path: str | Path, salvage: bool = False) -> Trace:
    """Read a ``.json`` or ``.json.gz`` Kineto trace; *salvage* reads what is whole of one that breaks off.

    Raises TraceError, naming the file and the byte or event, when it is missing, empty, truncated, or no trace.
    """
    stream: EventStream[Any] = EventStream(Path(path), _DECODE, salvage)
    columns = _Columns(str(path))
    with no_gc():
        for events in stream:
            try:
                columns.add(events, stream.events - len(events))
            except _TooLargeForFloats:
                stream.decode = _DECODE_TEXT
                columns.add(stream.decoded_again(), stream.events - len(events))
    if not stream.events:
        raise TraceError(f"{path}: a trace without a single event; nothing was recorded")
    header, trailer = _surroundings(stream.header, path), _surroundings(stream.trailer, path)
    base_ns = int(header.base_ns or trailer.base_ns or 0)
    if not abs(base_ns) < LARGEST_US * 1000:
        raise TraceError(f"{path}: its baseTimeNanoseconds ({base_ns}) is no time")
    devices = header.devices or trailer.devices or []
    return Trace(
        path=str(path),
        format="kineto",
        events=stream.events,
        devices=tuple(str(d.get("name", "")) if isinstance(d, dict) else str(d) for d in devices),
        names=tuple(columns.names),
        base_ns=base_ns,
        lost=stream.lost,
        memory=columns.memory(base_ns),
        **{kind: columns.spans(kind, base_ns) for kind in dict.fromkeys(_KINDS.values())},
    )


class _TooLargeForFloats(Exception):
    """Timestamps that a float64 does not hold exactly: their text has to be read."""


def _surroundings(text: bytes, path: str | Path) -> _Surroundings:
    try:
        return msgspec.json.decode(text, type=_Surroundings)
    except msgspec.MsgspecError as error:
        raise TraceError(f"{path}: what stands around its events can't be read: {error}") from error


class _Numbers(dict[Any, int]):
    """Numbers its keys in the order in which they are first asked for."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


class _Columns:
    """Collects the columns of each kind of event, block by block."""

    def __init__(self, path: str) -> None:
        self.names = _Numbers()
        self._path = path
        self._tracks = _Numbers()
        self._parts: dict[str, list[Spans]] = defaultdict(list)
        self._memory: list[MemoryEvents] = []

    def add(self, events: Sequence[Any], first: int) -> None:
        """Add a block of events, before which *first* stand in the file; all of it or, when it raises, nothing."""
        by_category: dict[str | None, list[Any]] = defaultdict(list)
        for event in events:
            by_category[event.cat].append(event)
        found: list[tuple[str, Spans]] = []
        allocations = []
        for category, group in by_category.items():
            kind = _KINDS.get((category or "").lower())
            if kind is None:
                allocations += [e for e in group if e.name == _MEMORY]
                continue
            try:
                found.append((kind, self._spans(kind, [e for e in group if e.ph == "X"])))
            except (TypeError, ValueError, OverflowError) as error:
                raise self._bad_event(group, events, first, error) from error
        try:
            self._memory.append(_memory_events(allocations))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._bad_event(allocations, events, first, error) from error
        for kind, spans in found:
            self._parts[kind].append(spans)

    def spans(self, kind: str, base_ns: int) -> Spans:
        """All events of a kind, *base_ns* added to their times; their parts are given up, so ask once."""
        return Spans.concat([Spans.from_rows([]), *self._parts.pop(kind, [])]).shifted(base_ns)

    def memory(self, base_ns: int) -> MemoryEvents:
        """All allocator events in time order, *base_ns* added to their times."""
        return MemoryEvents.concat([MemoryEvents.from_rows([]), *self._memory]).in_time_order(base_ns)

    def _spans(self, kind: str, rows: list[Any]) -> Spans:
        args = [row.args or _NO_ARGS for row in rows]
        unknown = np.full(len(rows), UNKNOWN, dtype=np.int64)
        device = kind in _ON_DEVICE
        durations = _times_ns([row.dur for row in rows], "dur")
        if (durations < 0).any():
            raise ValueError("its duration is negative")
        return Spans(
            ts=_times_ns([row.ts for row in rows], "ts"),
            dur=durations,
            name=_array([self.names[row.name] for row in rows]),
            pid=_array([self._tracks[row.pid] for row in rows]),
            tid=_array([self._tracks[row.tid] for row in rows]),
            correlation=_whole_numbers([a.correlation for a in args]) if device or kind == "runtime" else unknown,
            external=unknown if kind == "python" else _external_ids(args),
            device=_whole_numbers([a.device for a in args]) if device else unknown,
            stream=_whole_numbers([a.stream for a in args]) if device else unknown,
        )

    def _bad_event(self, group: list[Any], events: Sequence[Any], first: int, error: Exception) -> TraceError:
        """The error of a block, told of the one event in it that causes it."""
        for event in group:
            try:
                self._spans("kernels", [event]) if event.name != _MEMORY else _memory_events([event])
            except (TypeError, ValueError, OverflowError) as cause:
                position = first + next(i for i, e in enumerate(events) if e is event)
                return TraceError(f"{self._path}: event {position} ({event.name!r}) is not a trace event: {cause}")
        return TraceError(f"{self._path}: events {first} … {first + len(events)} can't be read: {error}")


def _memory_events(rows: list[Any]) -> MemoryEvents:
    args = [row.args or _NO_ARGS for row in rows]
    if any(a.bytes is None for a in args):
        raise ValueError("a memory event without Bytes")
    names = ("bytes", "address", "allocated", "reserved", "device_type", "device_index")
    return MemoryEvents(
        _times_ns([row.ts for row in rows], "ts"), *(_whole_numbers([getattr(a, n) for a in args]) for n in names)
    )


def _external_ids(args: list[_Args]) -> Int:
    return _whole_numbers([a.external if a.external is not None else a.external_2021 for a in args])


def _array(values: list[int]) -> Int:
    return np.array(values, dtype=np.int64)


def _whole_numbers(values: list[Any]) -> Int:
    """Numbers, or numbers in decimal or hexadecimal text, as int64; -1 where the trace states none."""
    try:
        return np.fromiter(values, dtype=np.int64, count=len(values))
    except (TypeError, ValueError, OverflowError):
        return _array([_whole(value) for value in values])


def _whole(value: Any) -> int:
    """One number; ids and addresses of 64 unsigned bits keep their bits."""
    if value is None or value == "":
        return UNKNOWN
    number = int(value, 0) if isinstance(value, str) else int(value)
    return number - 2**64 if 2**63 <= number < 2**64 else number


def _times_ns(values: list[Any], what: str) -> Int:
    """Microseconds, as numbers or as text, in exact nanoseconds."""
    if values and isinstance(values[0], msgspec.Raw):
        return _text_ns(values, what)
    numbers = np.array(values) if values else np.zeros(0, dtype=np.int64)
    if numbers.dtype.kind not in "if" or not (np.abs(numbers) < LARGEST_US).all():
        raise ValueError(f"it has no {what}, or one that is no time")
    if numbers.dtype.kind == "i":
        return np.asarray(numbers, dtype=np.int64) * 1000
    if (np.abs(numbers) >= EXACT_FLOAT_US).any():
        raise _TooLargeForFloats
    whole = np.floor(numbers)
    fraction = np.rint((numbers - whole) * 1000)
    return np.asarray(whole, dtype=np.int64) * 1000 + np.asarray(fraction, dtype=np.int64)


def _text_ns(values: list[msgspec.Raw], what: str) -> Int:
    text = b"\n".join(map(bytes, values))
    if _THREE_DECIMALS.fullmatch(text):
        found = list(map(int, text.replace(b".", b"").split(b"\n")))
    elif _WHOLE.fullmatch(text):
        found = [1000 * us for us in map(int, text.split(b"\n"))]
    else:
        found = [_decimal_ns(line, what) for line in text.split(b"\n")]
    if max(found, default=0) >= LARGEST_US * 1000:
        raise ValueError(f"it has no {what}, or one that is no time")
    return _array(found)


def _decimal_ns(text: bytes, what: str) -> int:
    try:
        us = Decimal(text.decode())
    except ArithmeticError:
        us = Decimal("NaN")
    if not abs(us) < LARGEST_US:
        raise ValueError(f"it has no {what}, or one that is no time")
    return int((us * 1000).to_integral_value())
