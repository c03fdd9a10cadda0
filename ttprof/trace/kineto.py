"""The reader of Kineto traces: the Chrome-trace JSON, plain or gzipped, that torch.profiler writes.

A path enters; a ``Trace`` leaves, with every time an exact integer of nanoseconds: ``ts`` and ``dur`` are
microseconds in decimal text, whatever ``displayTimeUnit`` says, and ``baseTimeNanoseconds`` is added to ``ts``.
Rows are decoded block by block into columns: of a large trace only the columns stay in memory.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ttprof.errors import TraceError
from ttprof.process import no_gc
from ttprof.trace.events import KernelDetails, Links, MemoryEvents, OpDetails, Spans, Trace
from ttprof.trace.kineto_rows import DECODERS, KINDS, LINKS, MEMORY, Blocks, Table
from ttprof.trace.numbers import LARGEST_US, TooLargeForFloats
from ttprof.trace.stream import EventStream

_DROPPED = re.compile(r"\bdropped\b.*\brecords?\b|\brecords?\b.*\bdropped\b", re.IGNORECASE)


class _Surroundings(msgspec.Struct):
    base_ns: int | float | None = msgspec.field(default=None, name="baseTimeNanoseconds")
    devices: list[Any] | None = msgspec.field(default=None, name="deviceProperties")
    distributed: Any = msgspec.field(default=None, name="distributedInfo")
    warnings: Any = msgspec.field(default=None, name="WARNING")
    errors: Any = msgspec.field(default=None, name="ERROR")


def read(path: str | Path, salvage: bool = False) -> Trace:
    """Read a ``.json`` or ``.json.gz`` Kineto trace; *salvage* reads what is whole of one that breaks off.

    Raises TraceError, naming the file and the byte or event, when it is missing, empty, truncated, or no trace.
    """
    stream = EventStream(Path(path), DECODERS, salvage)
    blocks = Blocks(str(path))
    parts: dict[str, list[Table]] = defaultdict(list)
    with no_gc():
        for rows in stream:
            first = stream.events - len(rows)
            try:
                tables = blocks.tables(rows, first)
            except TooLargeForFloats:
                tables = blocks.tables(stream.decoded_again(), first)
            for kind, table in tables:
                parts[kind].append(table)
    if not stream.events:
        raise TraceError(f"{path}: a trace without a single event; nothing was recorded")
    return _trace(stream, parts, blocks)


def _trace(stream: EventStream, parts: dict[str, list[Table]], blocks: Blocks) -> Trace:
    """The trace of what was read; *parts* are used up, so that no column is in memory twice."""
    header, trailer = _surroundings(stream.header, stream.path), _surroundings(stream.trailer, stream.path)
    base_ns = int(header.base_ns or trailer.base_ns or 0)
    if not abs(base_ns) < LARGEST_US * 1000:
        raise TraceError(f"{stream.path}: its baseTimeNanoseconds ({base_ns}) is no time")
    devices = header.devices or trailer.devices or []
    tables = {kind: _joined(parts.pop(kind, []), base_ns) for kind in [*(k.name for k in KINDS), MEMORY, LINKS]}
    return Trace(
        path=str(stream.path),
        format="kineto",
        events=stream.events,
        devices=tuple(str(d.get("name", "")) if isinstance(d, dict) else str(d) for d in devices),
        names=tuple(blocks.names),
        threads=tuple(blocks.threads),
        base_ns=base_ns,
        lost=stream.lost,
        rank=_rank(header.distributed or trailer.distributed),
        dropped=tuple(line for text in (header, trailer) for line in _messages(text) if _DROPPED.search(line)),
        memory=MemoryEvents.of(tables[MEMORY]).in_time_order(),
        links=Links.of(tables[LINKS]),
        kernel_details=KernelDetails.of(tables["kernels"]),
        op_details=OpDetails.of(tables["ops"]),
        copied_bytes=tables["memcpy"].get("bytes", np.zeros(0, dtype=np.int64)),
        cut_annotations=tables["annotations"].get("cut", np.zeros(0, dtype=np.int64)) != 0,
        **{kind.name: Spans.of(tables[kind.name]) for kind in KINDS},
    )


def _joined(parts: list[Table], base_ns: int) -> Table:
    """The tables of all blocks as one, *base_ns* added to their times."""
    if not parts:
        return {}
    columns = list(parts[0])
    table = {name: np.concatenate([part.pop(name) for part in parts]) for name in columns}
    table["ts"] += base_ns
    return table


def _surroundings(text: bytes, path: Path) -> _Surroundings:
    try:
        return msgspec.json.decode(text, type=_Surroundings)
    except msgspec.MsgspecError as error:
        raise TraceError(f"{path}: what stands around its events can't be read: {error}") from error


def _rank(distributed: Any) -> int | None:
    rank = distributed.get("rank") if isinstance(distributed, dict) else None
    return rank if isinstance(rank, int) else None


def _messages(text: _Surroundings) -> list[str]:
    """What the profiler itself warned of while it recorded."""
    found = []
    for lines in (text.warnings, text.errors):
        found += [str(line) for line in lines] if isinstance(lines, list) else []
    return found
