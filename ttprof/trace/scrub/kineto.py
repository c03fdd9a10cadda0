"""Scrubs a Kineto trace: copies it row by row, with the metadata that ttprof reads and nothing else around them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec

from ttprof.codes import NoteCode, TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.process import no_gc
from ttprof.trace.formats.json_stream import EventStream
from ttprof.trace.formats.kineto_notes import KEY, StoredNote, StoredNotes
from ttprof.trace.scrub.kineto_rows import Row, RowScrubber
from ttprof.trace.scrub.names import Names
from ttprof.trace.scrub.tally import Tally

GZIP_LEVEL = 6

_NUMBERS = frozenset(
    [
        "schemaVersion",
        "baseTimeNanoseconds",
        "record_shapes",
        "with_stack",
        "with_flops",
        "with_modules",
        "profile_memory",
        "cupti_version",
        "cuda_runtime_version",
        "cuda_driver_version",
        "roctracer_version",
        "rocprofiler_version",
        "hip_runtime_version",
        "hip_driver_version",
    ]
)
_DEVICE_NUMBERS = frozenset(
    [
        "id",
        "totalGlobalMem",
        "computeMajor",
        "computeMinor",
        "maxThreadsPerBlock",
        "maxThreadsPerMultiprocessor",
        "regsPerBlock",
        "regsPerMultiprocessor",
        "warpSize",
        "sharedMemPerBlock",
        "sharedMemPerMultiprocessor",
        "numSms",
        "sharedMemPerBlockOptin",
    ]
)
_RANK_NUMBERS = frozenset(["rank", "world_size", "pg_count", "nccl_version", "pg_name", "pg_size", "ranks"])
_BACKENDS = frozenset({"", "nccl", "rccl", "gloo", "mpi", "ucc", "xccl", "hccl"})
_WHO = ("host_name", "hostname", "host", "username", "user_name", "user", "tw_user", "tw_job", "tw_task_id")
"""Keys of the metadata whose values are hidden in names too."""

_VERSION = re.compile(r"\d[\d.]{0,20}")


def copy(source: Path, target: IO[bytes], packed: bool, salvage: bool, names: Names) -> Tally:
    """Write the scrubbed copy of *source* to *target*, gzipped if *packed*.

    Raises:
        TraceError: the file can't be read, as for ``formats.kineto.read``; or it has no event.
        OSError: the copy can't be written.
    """
    if not packed:
        return _write(source, target, salvage, names)
    # without the name of the file and the time, which gzip would store
    with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=target, mtime=0) as file:
        return _write(source, file, salvage, names)


def _write(source: Path, file: Any, salvage: bool, names: Names) -> Tally:
    tally = Tally()
    stream = EventStream(source, (msgspec.json.Decoder(list[Row]).decode,), salvage)
    rows = RowScrubber(names, tally)
    encode = msgspec.json.Encoder().encode
    separator = b""
    with no_gc():
        for block in stream:
            if not tally.rows and not separator:
                header = _object(stream.header, source)
                names.hide(_who(header))
                file.write(b"{" + _members(header, names, tally) + b'"traceEvents":[\n')
                separator = b"\n"
            for row in block:
                file.write(separator + encode(rows.copy(row)))
                separator = b",\n"
    if not tally.rows:
        raise TraceError("a trace without a single event: there is nothing to copy", TraceErrorCode.NO_EVENTS, source)
    trailer = _object(stream.trailer, source)
    stored = _stored(header.get(KEY) or trailer.get(KEY) or {}, source)
    notes = {KEY: _notes(stored, stream.lost, names)}
    file.write(b"\n]," + _members(trailer, names, tally) + encode(notes)[1:] + b"\n")
    return tally


def _object(text: bytes, path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise TraceError(
            f"the JSON around its events can't be read: {error}", TraceErrorCode.NOT_A_TRACE, path
        ) from error


def _who(metadata: dict[str, Any]) -> Iterable[str]:
    return [value for key in _WHO if isinstance(value := metadata.get(key), str)]


def _members(metadata: dict[str, Any], names: Names, tally: Tally) -> bytes:
    """The members of the metadata that stay, as JSON, each with a comma behind it."""
    kept = {key: value for key, value in metadata.items() if key not in ("traceEvents", KEY)}
    count = len(kept)
    kept = {key: copied for key, value in kept.items() if (copied := _member(key, value, names)) is not None}
    tally.removed["entry of the metadata"] += count - len(kept)
    return b"".join(msgspec.json.encode({key: value})[1:-1] + b"," for key, value in kept.items())


def _member(key: str, value: Any, names: Names) -> Any:
    """The copy of an entry of the metadata; None if it is left out."""
    if key in _NUMBERS:
        return value if _is_number(value) else None
    if key == "displayTimeUnit":
        return value if value in ("ms", "us", "ns") else None
    if key == "deviceProperties" and isinstance(value, list):
        return [_device(device, names) for device in value]
    if key == "distributedInfo" and isinstance(value, dict):
        return _ranks(value)
    if key in ("WARNING", "ERROR") and isinstance(value, list):
        lines = [str(line) for line in value]
        return [names.text(line) for line in lines if "dropped" in line.lower() and "record" in line.lower()]
    return None


def _device(device: Any, names: Names) -> Any:
    if not isinstance(device, dict):
        return names.text(str(device))
    numbers = {key: value for key, value in device.items() if key in _DEVICE_NUMBERS and _is_number(value)}
    return numbers | ({"name": names.text(str(device["name"]))} if "name" in device else {})


def _ranks(information: dict[str, Any]) -> dict[str, Any]:
    """Ranks and process groups, as numbers."""
    kept = {key: value for key, value in information.items() if key in _RANK_NUMBERS and _are_numbers(value)}
    if information.get("backend") in _BACKENDS:
        kept["backend"] = information["backend"]
    if isinstance(groups := information.get("pg_config"), list):
        kept["pg_config"] = [_ranks(group) for group in groups if isinstance(group, dict)]
    return kept


def _stored(notes: Any, path: Path) -> StoredNotes:
    try:
        return msgspec.convert(notes, StoredNotes)
    except msgspec.ValidationError as error:
        raise TraceError(f"ttprof's notes in it can't be read: {error}", TraceErrorCode.NOT_A_TRACE, path) from error


def _notes(stored: StoredNotes, lost: str | None, names: Names) -> StoredNotes:
    """Ttprof's own notes, cleaned, and what could not be salvaged."""
    known = {code.value for code in NoteCode}
    notes = [
        StoredNote(n.code if n.code in known else NoteCode.UNSTATED.value, names.text(n.text)) for n in stored.notes
    ]
    losses = [names.text(text) for text in (stored.lost, lost) if text]
    return StoredNotes(
        notes=notes,
        dropped=[names.text(line) for line in stored.dropped],
        lost="; ".join(losses) or None,
        left_out=[msgspec.structs.replace(row, example=names.clean(row.example)) for row in stored.left_out],
        unknown=[msgspec.structs.replace(row, category="other") for row in stored.unknown],
    )


def _are_numbers(value: Any) -> bool:
    return all(map(_are_numbers, value)) if isinstance(value, list) else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and _VERSION.fullmatch(value) is not None)
