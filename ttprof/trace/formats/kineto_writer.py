"""Writes a ``Trace`` as gzipped Chrome-trace JSON, which every trace viewer opens and ``kineto.read`` reads.

It serves recordings of Nsight Systems and writes only the columns that these have.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.correlate import launch_index
from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.formats.kineto_notes import KEY, StoredNotes

GZIP_LEVEL = 3

BLOCK = 20_000
"""Number of rows in memory as Python objects at a time."""

JsonEvent = dict[str, Any]

_HOST = {"runtime": "cuda_runtime", "ops": "cpu_op", "annotations": "user_annotation", "overhead": "overhead"}
_DEVICE = {"kernels": "kernel", "memcpy": "gpu_memcpy", "memset": "gpu_memset"}


def write(trace: Trace, path: Path) -> None:
    """Write *trace* to *path* (.json.gz), completely or not at all. Raises TraceError if the file can't be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(part, "wb", compresslevel=GZIP_LEVEL) as file:
            file.write(msgspec.json.encode(_metadata(trace))[:-1] + b',"traceEvents":[\n')
            separator = b""
            for row in _rows(trace):
                file.write(separator + msgspec.json.encode(row))
                separator = b",\n"
            file.write(b"\n]}\n")
        part.replace(path)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}", TraceErrorCode.UNWRITABLE) from error
    finally:
        with suppress(OSError):  # it is gone if it was renamed, and may never have existed
            part.unlink()


def _metadata(trace: Trace) -> JsonEvent:
    """The JSON around the events: Holistic Trace Analysis needs the rank, viewers need the devices."""
    return {
        "schemaVersion": 1,
        "deviceProperties": [{"id": number, "name": name} for number, name in enumerate(trace.devices)],
        "distributedInfo": {"rank": trace.rank or 0, "world_size": 1, "backend": ""},
        "displayTimeUnit": "ms",
        KEY: StoredNotes.of(trace),
    }


def _rows(trace: Trace) -> Iterator[JsonEvent]:
    yield from _tracks(trace)
    for table, category in _HOST.items():
        yield from _host(trace, getattr(trace, table), category)
    for table, category in _DEVICE.items():
        yield from _device(trace, getattr(trace, table), category)
    yield from _arrows(trace)
    yield from _memory(trace)


def _tracks(trace: Trace) -> Iterator[JsonEvent]:
    """The names of processes and threads; as in Kineto, a device is a process and its streams are threads."""
    for pid in dict.fromkeys(pid for pid, _ in trace.threads):
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "ts": 0, "args": {"name": f"process {pid}"}}
    for pid, tid in trace.threads:
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "ts": 0, "args": {"name": f"thread {tid}"}}
    work = trace.device_work
    for device, stream in sorted(set(zip(work.device.tolist(), work.stream.tolist(), strict=True))):
        label = trace.devices[device] if 0 <= device < len(trace.devices) else "device"
        track = {"ph": "M", "pid": device, "tid": stream, "ts": 0}
        yield {**track, "name": "process_name", "args": {"name": f"GPU {device} ({label})"}}
        yield {**track, "name": "thread_name", "args": {"name": f"stream {stream}"}}


def _host(trace: Trace, spans: Spans, category: str) -> Iterator[JsonEvent]:
    sequence = trace.op_details.sequence if spans is trace.ops else None
    for rows in _blocks(len(spans)):
        columns = (spans.ts, spans.dur, spans.name, spans.thread, spans.correlation)
        for row, values in zip(rows.tolist(), _lists(columns, rows), strict=True):
            ts, dur, name, thread, correlation = values
            pid, tid = trace.threads[thread]
            args: JsonEvent = {} if correlation == UNKNOWN else {"correlation": correlation}
            if sequence is not None and sequence[row] != UNKNOWN:
                args["Sequence number"] = int(sequence[row])
            if spans is trace.annotations and trace.cut_annotations[row]:
                args["finished"] = False
            yield {**_span(category, trace.names[name], ts, dur), "pid": pid, "tid": tid, "args": args}


def _device(trace: Trace, spans: Spans, category: str) -> Iterator[JsonEvent]:
    for rows in _blocks(len(spans)):
        columns = (spans.ts, spans.dur, spans.name, spans.device, spans.stream, spans.correlation)
        for row, values in zip(rows.tolist(), _lists(columns, rows), strict=True):
            ts, dur, name, device, stream, correlation = values
            args: JsonEvent = {"device": device, "stream": stream}
            if correlation != UNKNOWN:
                args["correlation"] = correlation
            if spans is trace.memcpy and trace.copied_bytes[row] != UNKNOWN:
                args["bytes"] = int(trace.copied_bytes[row])
            yield {**_span(category, trace.names[name], ts, dur), "pid": device, "tid": stream, "args": args}


def _arrows(trace: Trace) -> Iterator[JsonEvent]:
    """The arrows that viewers draw from each launch to its device work."""
    work, calls = trace.device_work, trace.runtime
    launch = launch_index(work, trace)
    for rows in _blocks(len(work)):
        for row in rows[launch[rows] != UNKNOWN].tolist():
            call = int(launch[row])
            pid, tid = trace.threads[calls.thread[call]]
            ends = {"cat": "ac2g", "name": "ac2g", "id": row + 1}
            yield {**ends, "ph": "s", "ts": _us(int(calls.ts[call])), "pid": pid, "tid": tid}
            target = {"ts": _us(int(work.ts[row])), "pid": int(work.device[row]), "tid": int(work.stream[row])}
            yield {**ends, "ph": "f", "bp": "e", **target}


def _memory(trace: Trace) -> Iterator[JsonEvent]:
    events = trace.memory
    for rows in _blocks(len(events)):
        columns = (events.ts, events.bytes, events.address, events.device_type, events.device_index)
        for ts, size, address, kind, device in _lists(columns, rows):
            args = {"Bytes": size, "Addr": address, "Device Type": kind, "Device Id": device}
            instant = {"ph": "i", "s": "t", "cat": "cpu_instant_event", "name": "[memory]", "pid": device, "tid": 0}
            yield {**instant, "ts": _us(ts), "args": args}


def _span(category: str, name: str, ts: int, dur: int) -> JsonEvent:
    return {"ph": "X", "cat": category, "name": name, "ts": _us(ts), "dur": _us(dur)}


def _us(ns: int) -> msgspec.Raw:
    """Exact decimal microseconds."""
    return msgspec.Raw(f"{ns // 1000}.{ns % 1000:03d}".encode())


def _blocks(count: int) -> Iterator[Int]:
    for first in range(0, count, BLOCK):
        yield np.arange(first, min(first + BLOCK, count), dtype=np.int64)


def _lists(columns: tuple[Int, ...], rows: Int) -> Iterator[tuple[Any, ...]]:
    return zip(*(column[rows].tolist() for column in columns), strict=True)
