"""Reads Kineto traces: the Chrome-trace JSON, plain or gzipped, that torch.profiler writes.

Every time becomes an exact integer of nanoseconds: ``ts`` and ``dur`` are decimal microseconds, regardless
of ``displayTimeUnit``, and ``baseTimeNanoseconds`` is added to ``ts``. Rows are decoded block by block into columns,
and only the columns stay in memory.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ttprof.codes import Flaw, Note, NoteCode, TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.process import no_gc
from ttprof.trace.events import (
    UNKNOWN,
    KernelDetails,
    LeftOut,
    Links,
    MemoryEvents,
    OpDetails,
    Spans,
    Trace,
    UnknownRows,
)
from ttprof.trace.formats import foreign, merged_ranks
from ttprof.trace.formats.devices import checked as devices_checked
from ttprof.trace.formats.growing import ArrayTable
from ttprof.trace.formats.kineto_notes import KEY, StoredNotes
from ttprof.trace.formats.kineto_rows import EVENT_KINDS, LINKS, MEMORY, TABLE_NAMES, UNKNOWN_ROWS, UNREADABLE
from ttprof.trace.formats.numbers import MAX_TIME_US
from ttprof.trace.formats.parallel import TraceRows, read_rows
from ttprof.trace.possible import possible

_DROPPED = re.compile(r"\bdropped\b.*\brecords?\b|\brecords?\b.*\bdropped\b", re.IGNORECASE)
"""Kineto has no field for records that it dropped; it only logs them, in these words."""

MAX_RANK_DIGITS = 9


class _Metadata(msgspec.Struct):
    base_ns: int | float | None = msgspec.field(default=None, name="baseTimeNanoseconds")
    devices: list[Any] | None = msgspec.field(default=None, name="deviceProperties")
    distributed: Any = msgspec.field(default=None, name="distributedInfo")
    warnings: Any = msgspec.field(default=None, name="WARNING")
    errors: Any = msgspec.field(default=None, name="ERROR")
    stored: StoredNotes | None = msgspec.field(default=None, name=KEY)


def read(path: str | Path, salvage: bool = False, processes: int | None = None) -> Trace:
    """Read a Kineto trace (``.json`` or ``.json.gz``).

    Args:
        path: the file.
        salvage: read the complete events of a truncated or damaged file; ``Trace.lost`` says what is missing.
        processes: the most processes to read a large file with; None means one per core.

    Raises:
        TraceError: the file is missing, empty, truncated, or not a trace; names the file, and the byte or event.
    """
    rows = read_rows(Path(path), salvage, processes)
    if not rows.events:
        why = f"no complete event could be salvaged: {rows.lost}" if rows.lost else "nothing was recorded"
        raise TraceError(f"a trace without a single event; {why}", TraceErrorCode.NO_EVENTS, path)
    trace = _trace(str(path), rows)
    return replace(trace, notes=(*trace.notes, *_foreign(trace)))


def _foreign(trace: Trace) -> list[Note]:
    """A note on a file without known work of a device: that no row is one of torch.profiler, or what it looks like."""
    if not trace.unknown or len(trace.device_work):
        return []
    known = (trace.runtime, trace.ops, trace.annotations, trace.python, trace.memory)
    text = "no event is of a category of torch.profiler, so this is no trace of it, or of a version that is not known"
    texts = [] if any(map(len, known)) or trace.left_out else [text]
    found = foreign.guess_json(foreign.head_of(Path(trace.path)))
    texts += [foreign.sentence(found)] if found is not None else []
    return [Note(NoteCode.FOREIGN, "; ".join(texts))] if texts else []


def _trace(path: str, rows: TraceRows) -> Trace:
    """Build the trace from the rows of a file."""
    header, trailer = _metadata(rows.header, path), _metadata(rows.trailer, path)
    base = header.base_ns or trailer.base_ns or 0
    if not abs(base) < MAX_TIME_US * 1000:
        shown = max(min(base, 1e300), -1e300)  # an integer of any length may stand there
        text = f"baseTimeNanoseconds ({shown:.20g}) is not a time"
        raise TraceError(text, TraceErrorCode.IMPOSSIBLE_VALUES, path)
    base_ns = int(base)
    devices = header.devices or trailer.devices or []
    stored = header.stored or trailer.stored or StoredNotes()
    filled = {kind: table.finish() for kind, table in rows.tables.items()}
    names = tuple(rows.blocks.names)
    left_out = _unreadable(filled.pop(UNREADABLE, {}), filled, names)
    unknown = _unknown(filled.pop(UNKNOWN_ROWS, {}), names)
    for table in filled.values():
        table["ts"] += base_ns
    _without_ids_of_none(filled)
    ranks = merged_ranks.separate(filled, tuple(rows.blocks.threads))
    tables = {kind: filled.get(kind, {}) for kind in [*(k.name for k in EVENT_KINDS), MEMORY, LINKS]}
    trace = Trace(
        path=path,
        format="kineto",
        events=rows.events,
        devices=tuple(str(d.get("name") or "") if isinstance(d, dict) else str(d) for d in devices),
        names=names,
        threads=tuple(rows.blocks.threads),
        base_ns=base_ns,
        lost="; ".join(filter(None, (stored.lost, rows.lost))) or None,
        notes=tuple(note.restored() for note in stored.notes),
        ranks=ranks,
        rank=_rank(header.distributed or trailer.distributed),
        dropped=(*stored.dropped, *(line for text in (header, trailer) for line in _dropped(text))),
        memory=MemoryEvents.of(tables[MEMORY]).in_time_order(),
        links=Links.of(tables[LINKS]),
        kernel_details=KernelDetails.of(tables["kernels"]),
        op_details=OpDetails.of(tables["ops"]),
        copied_bytes=tables["memcpy"].get("bytes", np.zeros(0, dtype=np.int64)),
        cut_annotations=tables["annotations"].get("cut", np.zeros(0, dtype=np.int64)) != 0,
        left_out=(*stored.restored_left_out(), *left_out),
        left_out_ids=np.zeros(0, dtype=np.int64),
        unknown=(*stored.unknown, *unknown),
        **{kind.name: Spans.of(tables[kind.name]) for kind in EVENT_KINDS},
    )
    return devices_checked(possible(trace))


def _without_ids_of_none(tables: dict[str, ArrayTable]) -> None:
    """Replace ids of 0 that stand for none: an external id, and a correlation id that several calls have."""
    calls = tables.get("runtime", {})
    if "external" in calls:
        calls["external"][calls["external"] == 0] = UNKNOWN
    if calls and int((calls["correlation"] == 0).sum()) > 1:
        for table in tables.values():
            if "correlation" in table:
                table["correlation"][table["correlation"] == 0] = UNKNOWN


def _unreadable(table: ArrayTable, filled: dict[str, ArrayTable], names: tuple[str, ...]) -> tuple[LeftOut, ...]:
    """The rows with values that can't be read, by the table that they belong to."""
    left_out = []
    for number in np.unique(table["table"]).tolist() if table else ():
        rows = np.flatnonzero(table["table"] == number)
        count, what = int(table["count"][rows].sum()), TABLE_NAMES[number]
        readable = len(filled.get(what, {}).get("ts", ()))
        example = names[table["name"][rows[0]]]
        left_out.append(LeftOut(Flaw.UNREADABLE, what, count, count + readable, 0, example))
    return tuple(left_out)


def _unknown(table: ArrayTable, names: tuple[str, ...]) -> tuple[UnknownRows, ...]:
    """The rows of categories that are not known, by category and phase."""
    totals: dict[tuple[int, int], tuple[int, int]] = {}
    columns = [table[key].tolist() for key in ("name", "phase", "count", "dur")] if table else []
    for name, phase, count, time_ns in zip(*columns, strict=True):
        rows, total = totals.get((name, phase), (0, 0))
        totals[name, phase] = rows + count, total + time_ns
    found = [
        UnknownRows(None if name == UNKNOWN else names[name], chr(phase), *total)
        for (name, phase), total in totals.items()
    ]
    return tuple(sorted(found, key=lambda rows: (-rows.count, rows.category or "", rows.phase)))


def _metadata(text: bytes, path: str) -> _Metadata:
    try:
        with no_gc():  # a hostile file may have millions of values, which it would visit over and over
            return msgspec.json.decode(text, type=_Metadata)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise TraceError(
            f"the JSON around its events can't be read: {error}", TraceErrorCode.NOT_A_TRACE, path
        ) from error


def _rank(distributed: Any) -> int | None:
    rank = str(distributed.get("rank")) if isinstance(distributed, dict) else ""
    return int(rank) if rank.isdecimal() and len(rank) <= MAX_RANK_DIGITS else None


def _dropped(text: _Metadata) -> list[str]:
    """The profiler's own warnings and errors about records that it dropped."""
    logs = [log for log in (text.warnings, text.errors) if isinstance(log, list)]
    return [str(line) for log in logs for line in log if _DROPPED.search(str(line))]
