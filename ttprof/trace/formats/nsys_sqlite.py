"""Reads the SQLite files of Nsight Systems (``nsys export --type sqlite``) into the columns of every other trace.

NVTX ranges become annotations, and those of PyTorch's ``emit_nvtx`` become ops too. Schemas 2.9 to 3.25 have the same
tables and differ in their columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ttprof.codes import Note, NoteCode
from ttprof.trace.events import UNKNOWN, Int, KernelDetails, Links, Mask, MemoryEvents, OpDetails, Spans, Trace
from ttprof.trace.formats.devices import checked as devices_checked
from ttprof.trace.formats.nsys_local import Local
from ttprof.trace.formats.nsys_tables import (
    MAX_TIME_NS,
    PROCESS_BITS,
    Database,
    NameTable,
    TableSpec,
    TimeWindow,
    open_export,
    renumbered,
)
from ttprof.trace.possible import possible

FORMAT = "nsys"

OLDEST, NEWEST = (2, 9), (3, 25)
"""The oldest and the newest schema that ttprof knows."""

NO_ACTIVITY = Note(
    NoteCode.NO_DEVICE_ACTIVITY,
    "no CUDA activity recorded: the file has no kernel and no copy (nsys ran without --trace=cuda, or no GPU was used)",
)
NO_CALLS = Note(
    NoteCode.NO_CUDA_CALLS,
    "no CUDA API call recorded: no kernel has a launch, so none can be attributed to a range or a module",
)

_IS_RANGE = "eventType IN (59, 60)"
"""NVTX ranges: push/pop ranges, which nest on a thread, and start/end ranges."""

_CORRELATION = 32
"""The bits of a correlation id. Ids are counted per process, so the process number is put above them."""

_COPIES = ("", "HtoD", "DtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA", "DtoD", "HtoH", "PtoP", "HtoD", "DtoH", "DtoD")
"""By CUPTI's kind of copy (CUpti_ActivityMemcpyKind): H host, D device, A array, P peer; the last 3 unified memory."""

_CUDA = 1
"""The device type of CUDA in Kineto's memory events."""

_OP = re.compile(r"(?P<name>.+?)(?:, seq = (?P<sequence>\d{1,18}))?, op_id = \d+(?:,.*)?$", re.DOTALL)
"""The name of an op's range as ``torch.autograd.profiler.emit_nvtx`` makes it."""

_LOSS = re.compile(
    r"\b(dropped|discarded|lost|missed|not all)\b.*\b(events?|records?|buffers?|data)\b"
    r"|\b(events?|records?|buffers?)\b.*\b(dropped|discarded|lost|missed|missing)\b",
    re.IGNORECASE,
)
"""How nsys reports lost events, for which it has no field. The wording is from its documentation, not from a recorded
file."""

_ABOUT_GPU = re.compile(r"\b(CUDA|CUPTI|GPU|driver|permission|privilege)", re.IGNORECASE)
"""What nsys reports about the recording of a GPU."""

_WORK = ("start", "end", "deviceId", "streamId")
_KERNEL = TableSpec("CUPTI_ACTIVITY_KIND_KERNEL", _WORK, ("correlationId", "globalPid", "demangledName", "shortName"))
_MEMCPY = TableSpec("CUPTI_ACTIVITY_KIND_MEMCPY", _WORK, ("correlationId", "globalPid", "copyKind", "bytes"))
_MEMSET = TableSpec("CUPTI_ACTIVITY_KIND_MEMSET", _WORK, ("correlationId", "globalPid"))
_GRAPH = TableSpec("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", _WORK, ("correlationId", "globalPid", "graphId"))
_RUNTIME = TableSpec("CUPTI_ACTIVITY_KIND_RUNTIME", ("start", "end", "globalTid"), ("correlationId", "nameId"))
_OVERHEAD = TableSpec("CUPTI_ACTIVITY_KIND_OVERHEAD", ("start", "end"), ("globalTid", "nameId"))
_NVTX = TableSpec("NVTX_EVENTS", ("start", "end", "globalTid"), ("textId", "domainId"), may_never_end=True)
_MEMORY = TableSpec(
    "CUDA_GPU_MEMORY_USAGE_EVENTS",
    ("start", "bytes", "memoryOperationType"),
    ("address", "deviceId", "globalPid", "localMemoryPoolSize"),
)


def read(path: str | Path, window: TimeWindow | None = None) -> Trace:
    """Read an export of Nsight Systems: all of it, or the rows that start within *window*.

    Raises:
        TraceError: the file is missing, empty, truncated, damaged, locked or not an export, or a table lacks a required
            column or has impossible values. The message names the file.
    """
    with open_export(Path(path), window) as database:
        return _Reading(database, Local(database)).trace()


def range_window(path: str | Path, name: str) -> TimeWindow | None:
    """The time and process of the first closed range of this name, or None. Raises TraceError as ``read`` does."""
    text = "IFNULL(text, (SELECT value FROM StringIds WHERE id = textId))"
    with open_export(Path(path)) as database:
        quoted = name.replace("'", "''")
        where = f"{_IS_RANGE} AND end IS NOT NULL AND {text} = '{quoted}'"
        rows = database.columns(_NVTX, where)
        ranges = zip(*(rows[column].tolist() for column in ("start", "end", "globalTid")), strict=True)
        start, end, thread = min(ranges, default=(None, None, None))
        return None if start is None else TimeWindow(start, end + 1, thread >> PROCESS_BITS)


def closed_ranges(path: str | Path) -> set[str]:
    """The names of all ranges that were closed. Raises TraceError as ``read`` does."""
    with open_export(Path(path)) as database:
        where = f"{_IS_RANGE} AND end IS NOT NULL"
        names = {str(text) for (text,) in database.rows(_NVTX.name, "text", where=where) if text is not None}
        ids = np.unique(database.columns(_NVTX, where)["textId"])
        return names | set(database.strings(ids[ids != UNKNOWN]).values())


@dataclass
class _Reading:
    """Reads one file; names and threads are numbered across all its tables."""

    database: Database
    local: Local
    names: NameTable = field(default_factory=NameTable)
    threads: dict[int, int] = field(default_factory=dict)
    processes: dict[int, int] = field(default_factory=dict)
    renumbered: list[str] = field(default_factory=list)

    def trace(self) -> Trace:
        """Read all tables and resolve their names."""
        kernels, memcpy, memset, graphs, copied = self._device_work()
        ranges, unclosed = self._ranges(int(max((t.end.max() for t in (kernels, memcpy) if len(t)), default=0)))
        read_spans = {
            "kernels": Spans.concat((kernels, graphs)) if len(graphs) else kernels,
            "memcpy": memcpy,
            "memset": memset,
            "runtime": self._calls(_RUNTIME),
            "overhead": self._calls(_OVERHEAD),
            "annotations": ranges,
        }
        ops, details = self._ops(ranges)
        spans = {**read_spans, "ops": ops}
        texts, columns = self.names.resolved(self.database, [table.name for table in spans.values()])
        named = {key: replace(t, name=column) for (key, t), column in zip(spans.items(), columns, strict=True)}
        memory = self._memory()
        unstated = np.full(len(named["kernels"]), np.nan)
        trace = Trace(
            path=str(self.database.path),
            format=FORMAT,
            events=self.database.rows_read,
            devices=tuple(str(name) for (name,) in self.database.rows("TARGET_INFO_GPU", "name")),
            names=texts,
            threads=tuple((key >> PROCESS_BITS & 0xFFFFFF, key & 0xFFFFFF) for key in self.threads),
            base_ns=0,
            **named,
            device_annotations=Spans.of({}),
            python=Spans.of({}),
            sessions=self._sessions(),
            memory=memory,
            links=Links.of({}),
            kernel_details=KernelDetails(unstated, unstated),
            op_details=details,
            copied_bytes=copied,
            cut_annotations=unclosed,
            rank=None,
            ranks=(),
            lost=None,
            left_out=(),
            left_out_ids=np.zeros(0, dtype=np.int64),
            unknown=(),
            dropped=tuple(self._losses()),
            notes=tuple(self._notes(any(map(len, (kernels, memcpy, memset, graphs))), bool(len(named["runtime"])))),
        )
        return devices_checked(possible(trace))

    def _device_work(self) -> tuple[Spans, Spans, Spans, Spans, Int]:
        """Kernels, copies, memsets, graphs that were recorded as one piece, and the bytes of the copies."""
        tables = [self.database.columns(table) for table in (_KERNEL, _MEMCPY, _MEMSET, _GRAPH)]
        self.renumbered = self.local.place(tables)
        kernels, memcpy, memset, graphs = tables
        named = (
            np.where(kernels["demangledName"] == UNKNOWN, kernels["shortName"], kernels["demangledName"]),
            renumbered(memcpy["copyKind"], lambda kind: self.names.code(_copy_name(kind))),
            np.full(len(memset["start"]), self.names.code("Memset (Device)")),
            renumbered(graphs["graphId"], lambda number: self.names.code(f"CUDA graph {number} (whole)")),
        )
        spans = [self._work(table, name) for table, name in zip(tables, named, strict=True)]
        return spans[0], spans[1], spans[2], spans[3], memcpy["bytes"]

    def _work(self, table: dict[str, Int], name: Int) -> Spans:
        columns = {
            "ts": table["start"],
            "dur": table["end"] - table["start"],
            "name": name,
            "correlation": self._unique(table["correlationId"], table["globalPid"]),
            "device": table["deviceId"],
            "stream": table["streamId"],
        }
        return Spans.of(columns)

    def _calls(self, table: TableSpec) -> Spans:
        """The calls of host threads, with their correlation ids if the table has them."""
        rows = self.database.columns(table)
        columns = {
            "ts": rows["start"],
            "dur": rows["end"] - rows["start"],
            "name": rows["nameId"],
            "thread": self._thread(rows["globalTid"]),
        }
        if "correlationId" in rows:
            columns["correlation"] = self._unique(rows["correlationId"], rows["globalTid"])
        return Spans.of(columns)

    def _ranges(self, last: int) -> tuple[Spans, Mask]:
        """The NVTX ranges, and a mask of those never closed, which last until the end of the recording."""
        has_text = "text" in self.database.tables.get(_NVTX.name, ())
        rows = self.database.columns(_NVTX, f"{_IS_RANGE} AND text IS NULL" if has_text else _IS_RANGE)
        if has_text:
            with_text = f"{_IS_RANGE} AND text IS NOT NULL"
            texts = self.database.text_column(_NVTX.name, "text", with_text, self.names)
            more = {**self.database.columns(_NVTX, with_text), "textId": texts}
            rows = {name: np.concatenate((rows[name], more[name])) for name in rows}
        unclosed = rows["end"] == UNKNOWN
        end = np.where(
            unclosed, max(last, int(rows["end"].max(initial=0)), int(rows["start"].max(initial=0))), rows["end"]
        )
        thread = self._thread(rows["globalTid"])
        name = self.local.with_domains(self.names, rows["textId"], rows["domainId"], rows["globalTid"])
        ranges = Spans.of({"ts": rows["start"], "dur": end - rows["start"], "name": name, "thread": thread})
        return ranges, unclosed

    def _ops(self, ranges: Spans) -> tuple[Spans, OpDetails]:
        """The ranges that ``emit_nvtx`` made for PyTorch ops, under the op's name, with its sequence number."""
        texts = self.names.texts(self.database, np.unique(ranges.name))
        ops = {code: match for code, text in texts.items() if (match := _OP.fullmatch(text))}
        rows = np.flatnonzero(renumbered(ranges.name, lambda code: code in ops))
        spans = ranges.where(rows)
        sequence = renumbered(spans.name, lambda code: int(ops[code]["sequence"] or UNKNOWN))
        name = renumbered(spans.name, lambda code: self.names.code(ops[code]["name"]))
        return replace(spans, name=name), OpDetails.of({"sequence": sequence})

    def _memory(self) -> MemoryEvents:
        """Allocations and frees of the CUDA driver (cudaMalloc), not of torch's caching allocator."""
        rows = self.database.columns(_MEMORY)
        size = np.where(rows["memoryOperationType"] == 0, rows["bytes"], -rows["bytes"])
        columns = {
            "ts": rows["start"],
            "bytes": size,
            "address": rows["address"],
            "device_type": np.full(len(size), _CUDA),
            "device_index": self.local.gpus(rows["deviceId"], rows["globalPid"]),
        }
        return MemoryEvents.of(columns).in_time_order()

    def _sessions(self) -> Spans:
        """The time in which nsys recorded; times in the file count from its begin."""
        lengths = [length for (length,) in self.database.rows("ANALYSIS_DETAILS", "duration")]
        length = max((n for n in lengths if type(n) is int and 0 < n < MAX_TIME_NS), default=0)
        rows = {"ts": np.zeros(1, dtype=np.int64), "dur": np.array([length]), "name": np.array([UNKNOWN])}
        return Spans.of(rows) if length else Spans.of({})

    def _thread(self, keys: Int) -> Int:
        return renumbered(keys, lambda key: self.threads.setdefault(key, len(self.threads)))

    def _unique(self, ids: Int, keys: Int) -> Int:
        """Correlation ids with the process above them; unchanged if device work does not state its process."""
        if not self._work_states_its_process:
            return ids
        process = renumbered(keys >> PROCESS_BITS, lambda key: self.processes.setdefault(key, len(self.processes)))
        return np.where(ids == UNKNOWN, UNKNOWN, ids + (process << _CORRELATION))

    @property
    def _work_states_its_process(self) -> bool:
        in_file = self.database.tables
        tables = [in_file[table.name] for table in (_KERNEL, _MEMCPY, _MEMSET) if table.name in in_file]
        return all("globalPid" in columns for columns in tables)

    def _calls_without_work(self) -> Note:
        """A note that no work of the GPU was recorded although CUDA was called, with what nsys says about it."""
        said = [str(text) for (text,) in self.database.rows("DIAGNOSTIC_EVENT", "text")]
        about = "; ".join(dict.fromkeys(text.strip() for text in said if _ABOUT_GPU.search(text)))
        text = "CUDA API calls were recorded, but no work of the GPU"
        return Note(
            NoteCode.NO_DEVICE_ACTIVITY, f"{text}; nsys reports: {about}" if about else f"{text}, and no reason"
        )

    def _losses(self) -> list[str]:
        """The messages of nsys about events that it lost."""
        texts = (str(text) for (text,) in self.database.rows("DIAGNOSTIC_EVENT", "text"))
        return [text for text in texts if _LOSS.search(text)]

    def _notes(self, active: bool, calls: bool) -> list[Note]:
        """Notes on this file, given whether it has device work and calls."""
        notes = []
        if not active:
            notes.append(self._calls_without_work() if calls else NO_ACTIVITY)
        elif not calls:
            notes.append(NO_CALLS)
        notes += [Note(NoteCode.STREAMS_RENUMBERED, sentence) for sentence in self.renumbered]
        stated = self.database.metadata.get("EXPORT_SCHEMA_VERSION", "")
        version = tuple(int(part) for part in stated[:20].split(".")[:2] if part.isdecimal())
        if version and not OLDEST <= version <= NEWEST:
            age = "newer" if version > NEWEST else "older"
            supported = "{}.{} to {}.{}".format(*OLDEST, *NEWEST)
            text = (
                f"schema {stated} is {age} than those ttprof knows ({supported}): data under renamed columns is missing"
            )
            notes.append(Note(NoteCode.UNKNOWN_SCHEMA, text))
        return notes


def _copy_name(kind: int) -> str:
    """The name that Kineto gives to a copy of this kind."""
    return f"Memcpy {_COPIES[kind]}" if 0 < kind < len(_COPIES) else "Memcpy"
