"""The reader of Kineto traces: the Chrome-trace JSON, plain or gzipped, that torch.profiler writes.

A path enters; a ``Trace`` leaves, with every time an exact integer of nanoseconds: ``ts`` and ``dur`` are
microseconds in decimal text, whatever ``displayTimeUnit`` says, and ``baseTimeNanoseconds`` is added to ``ts``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ttprof.errors import TraceError
from ttprof.trace.events import UNKNOWN, MemoryEvents, Spans, Trace

EXACT_FLOAT_US = 2**43
"""Below this many microseconds a float64 lies within half a nanosecond of the decimal text it was parsed from."""

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


class _Event(msgspec.Struct, gc=False):
    ph: str
    name: str = ""
    cat: str | None = None
    ts: int | float | None = None
    dur: int | float | None = None
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    args: _Args | None = None


class _ExactEvent(msgspec.Struct, gc=False):
    ts: Decimal | None = None
    dur: Decimal | None = None


class _File(msgspec.Struct):
    events: list[_Event] = msgspec.field(name="traceEvents")
    base_ns: int = msgspec.field(default=0, name="baseTimeNanoseconds")
    devices: list[Any] = msgspec.field(default_factory=list, name="deviceProperties")


class _ExactFile(msgspec.Struct):
    events: list[_ExactEvent] = msgspec.field(name="traceEvents")


def read(path: str | Path) -> Trace:
    """Read a ``.json`` or ``.json.gz`` Kineto trace.

    Raises TraceError, naming the file and the byte or event, when it is missing, empty, truncated, or no trace.
    """
    data = _content(Path(path))
    file, times = _decode(data, Path(path))
    names: dict[str, int] = {}
    tracks: dict[Any, int] = {}
    rows: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    memory: list[tuple[int, ...]] = []
    for position, event in enumerate(file.events):
        kind = _KINDS.get((event.cat or "").lower()) if event.ph == "X" else None
        if kind is None and event.name != "[memory]":
            continue
        try:
            ts, dur = _times(times[position])
            if kind is None:
                memory.append(_memory_row(ts + file.base_ns, event))
            else:
                rows[kind].append(_span_row(ts + file.base_ns, dur, event, names, tracks))
        except (TypeError, ValueError) as error:
            raise TraceError(f"{path}: event {position} ({event.name!r}) is not a trace event: {error}") from error
    return Trace(
        path=str(path),
        format="kineto",
        events=len(file.events),
        devices=tuple(str(d.get("name", "")) if isinstance(d, dict) else str(d) for d in file.devices),
        names=tuple(names),
        base_ns=file.base_ns,
        memory=MemoryEvents.from_rows(memory),
        **{kind: Spans.from_rows(rows[kind]) for kind in sorted(set(_KINDS.values()))},
    )


def _content(path: Path) -> bytes:
    """The bytes of the JSON; a gzipped file is known by its first two bytes, not by its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    if not data:
        raise TraceError(f"{path}: the file is empty; the profiler was stopped before it wrote the trace")
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, OSError) as error:
        raise TraceError(f"{path}: truncated or corrupt gzip after {len(data)} bytes: {error}") from error


def _times(event: _Event | _ExactEvent) -> tuple[int, int]:
    """Start and duration in ns."""
    if event.ts is None:
        raise ValueError("it has no ts")
    return _ns(event.ts), _ns(event.dur or 0)


def _ns(us: float | Decimal) -> int:
    """Microseconds as whole nanoseconds; the fraction alone is scaled, so that a float loses nothing."""
    whole = int(us)
    return whole * 1000 + round((us - whole) * 1000)


def _decode(data: bytes, path: Path) -> tuple[_File, Sequence[_Event | _ExactEvent]]:
    """The file, and for each of its events what states its times exactly."""
    if data.lstrip()[:1] == b"[":
        data = b'{"traceEvents":' + data + b"}"
    try:
        file = msgspec.json.decode(data, type=_File)
        if any(isinstance(e.ts, float) and abs(e.ts) >= EXACT_FLOAT_US for e in file.events):
            return file, msgspec.json.decode(data, type=_ExactFile).events
    except msgspec.ValidationError as error:
        raise TraceError(f"{path}: JSON, but not a trace: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        file = _decode_lenient(data, path, error)
    return file, file.events


def _decode_lenient(data: bytes, path: Path, why: Exception) -> _File:
    """Traces with raw control characters or NaN, which strict JSON forbids; their times must still be exact."""
    try:
        plain = json.loads(data.decode(errors="replace"), strict=False)
    except ValueError as error:
        raise TraceError(
            f"{path}: truncated or corrupt JSON, {len(data)} bytes read: {error}; record the trace again"
        ) from why
    try:
        file = msgspec.convert(plain, type=_File)
    except msgspec.ValidationError as error:
        raise TraceError(f"{path}: JSON, but not a trace: {error}") from error
    if any(isinstance(e.ts, float) and not abs(e.ts) < EXACT_FLOAT_US for e in file.events):
        raise TraceError(f"{path}: not strict JSON ({why}), and its timestamps are too large to be read exactly")
    return file


def _span_row(ts: int, dur: int, event: _Event, names: dict[str, int], tracks: dict[Any, int]) -> tuple[int, ...]:
    args = event.args or _Args()
    if dur < 0:
        raise ValueError(f"its duration is negative ({event.dur})")
    return (
        ts,
        dur,
        names.setdefault(event.name, len(names)),
        tracks.setdefault(event.pid, len(tracks)),
        tracks.setdefault(event.tid, len(tracks)),
        _whole(args.correlation),
        _whole(args.external if args.external is not None else args.external_2021),
        _whole(args.device),
        _whole(args.stream),
    )


def _memory_row(ts: int, event: _Event) -> tuple[int, ...]:
    args = event.args or _Args()
    if args.bytes is None:
        raise ValueError("a memory event without Bytes")
    numbers: Iterable[Any] = (args.address, args.allocated, args.reserved, args.device_type, args.device_index)
    return (ts, int(args.bytes), *(_whole(n) for n in numbers))


def _whole(value: Any) -> int:
    """A number, or a number in decimal or hexadecimal text, as int; -1 where the trace states none."""
    if value is None or value == "":
        return UNKNOWN
    return int(value, 0) if isinstance(value, str) else int(value)
