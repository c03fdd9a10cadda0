"""A JSON array of events that need not fit in memory: a path enters, lists of decoded events leave.

The file is read in blocks and cut between two events, wherever that is: a cut is right when what lies before it
decodes. Everything around the array (the header and what follows the events) is kept for its reader.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from isal import isal_zlib

from ttprof.errors import TraceError

BLOCK = 1 << 20
"""Bytes read at a time: at 4 MiB the decoded objects leave the cache and reading is slower."""

CUTS = 8
"""Places that are tried in a block: more than one is needed only where events hold lists of objects."""

_KEY = re.compile(rb'"traceEvents"\s*:\s*\[')
_BOUNDARY = re.compile(rb"\}(?=\s*,\s*\{)")
_COMMA = re.compile(rb"\s*,\s*")
_BARE_LIST = re.compile(rb"\s*\[")
_UNICODE_MARK = b"\xef\xbb\xbf"
_NOT_A_NUMBER = re.compile(rb"(?<=[\s:,\[])-?(?:NaN|Infinity|nan|inf)(?=[\s,\]}])")
_CONTROL = bytes(range(32))
_SPACES = bytes.maketrans(_CONTROL, b" " * 32)

_ANY_JSON = json.JSONDecoder(strict=False)
"""Finds where an array ends. Of text decoded as latin-1, in which a character is a byte, it tells the byte."""

Event = TypeVar("Event")
Decode = Callable[[bytes], list[Event]]


def blocks(path: Path) -> Iterator[bytes]:
    """The content of a file, gunzipped when its first two bytes say so.

    Raises TraceError when the file can't be read, is empty, or its compressed data are cut or corrupt.
    """
    try:
        with path.open("rb") as file:
            first = file.read(BLOCK)
            if not first:
                raise TraceError(f"{path}: the file is empty; the profiler was stopped before it wrote the trace")
            packed = _rest(first, lambda: file.read(BLOCK))
            yield from _gunzipped(packed, path) if first[:2] == b"\x1f\x8b" else packed
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


def _rest(first: bytes, more: Callable[[], bytes]) -> Iterator[bytes]:
    while first:
        yield first
        first = more()


def _gunzipped(packed: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """The unpacked data, at most a block at a time; several gzip members may follow each other."""
    unpack = isal_zlib.decompressobj(wbits=31)
    read = 0
    try:
        for block in packed:
            read += len(block)
            while block:
                yield unpack.decompress(block, BLOCK)
                block = unpack.unconsumed_tail
                if unpack.eof and unpack.unused_data.strip(b"\0"):
                    block, unpack = unpack.unused_data, isal_zlib.decompressobj(wbits=31)
    except (isal_zlib.IsalError, zlib.error) as error:  # type: ignore[misc]
        raise TraceError(f"{path}: corrupt gzip data before byte {read}: {error}") from error
    if not unpack.eof:
        raise TraceError(f"{path}: truncated or corrupt gzip after {read} bytes: it has no end")


@dataclass
class EventStream(Generic[Event]):
    """The events of one file, a list for each block. ``salvage`` accepts a file that breaks off.

    After iterating, ``events`` is their number, ``header`` and ``trailer`` are what stands around them (JSON
    objects), and ``lost`` says what a salvaged file lost.
    """

    path: Path
    decode: Decode[Event]
    salvage: bool = False
    header: bytes = b"{}"
    trailer: bytes = b"{}"
    events: int = 0
    lost: str | None = None
    _offset: int = field(default=0, repr=False)
    _array: bytes = field(default=b"[]", repr=False)

    def __iter__(self) -> Iterator[list[Event]]:
        source = self._blocks()
        buffer = self._start(source)
        enough = 0
        for block in source:
            buffer += block
            if len(buffer) < enough:
                continue
            found, used = self._whole_events(buffer)
            if found is None:  # the array has ended, or is broken: do not look again at every block
                enough = 2 * len(buffer)
                continue
            self.events += len(found)
            self._offset += used
            buffer = buffer[used:]
            yield found
        last = self._end(buffer)
        self.events += len(last)
        yield last

    def decoded_again(self) -> list[Event]:
        """The events of the last list, by what is now ``decode``."""
        return self.decode(self._array)

    def _blocks(self) -> Iterator[bytes]:
        """The file's blocks; when salvaging, those before the place where it can't be read on."""
        try:
            yield from blocks(self.path)
        except TraceError as error:
            if not self.salvage or not self._offset:
                raise
            self.lost = str(error)

    def _start(self, source: Iterator[bytes]) -> bytes:
        """Read up to the first event; what stands before the array becomes the header."""
        buffer = b""
        for block in source:
            buffer += block
            if (bare := _BARE_LIST.match(buffer.removeprefix(_UNICODE_MARK))) is not None:
                self._offset = bare.end()
                return buffer.removeprefix(_UNICODE_MARK)[bare.end() :]
            if (key := _KEY.search(buffer)) is not None:
                self.header = _harmless(buffer[: key.start()].removeprefix(_UNICODE_MARK) + b'"traceEvents":[]}')
                self._offset = key.end()
                return buffer[key.end() :]
        raise self._no_events(buffer)

    def _no_events(self, buffer: bytes) -> TraceError:
        try:
            msgspec.json.decode(buffer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return TraceError(f"{self.path}: truncated or corrupt JSON, {len(buffer)} bytes read: {error}")
        return TraceError(f"{self.path}: JSON, but not a trace: it has no list called traceEvents")

    def _whole_events(self, buffer: bytes) -> tuple[list[Event] | None, int]:
        """The events before the last cut that decodes, and the bytes up to the event after it."""
        stop = len(buffer)
        for _ in range(CUTS):
            cut = _last_boundary(buffer, stop)
            if cut < 0:
                return None, 0
            try:
                events = self._decoded(b"[" + buffer[: cut + 1] + b"]")
            except msgspec.ValidationError as error:
                raise self._not_an_event(error) from error
            except (msgspec.DecodeError, UnicodeDecodeError):
                stop = cut
                continue
            comma = _COMMA.match(buffer, cut + 1)
            return events, comma.end() if comma else cut + 1
        return None, 0

    def _decoded(self, array: bytes) -> list[Event]:
        """The events of an array; where strict JSON fails, with control characters and NaN made harmless."""
        try:
            events = self.decode(array)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            array = _harmless(array)
            events = self.decode(array)
        self._array = array
        return events

    def _end(self, buffer: bytes) -> list[Event]:
        """The last events, and what follows them as the trailer."""
        try:
            _, end = _ANY_JSON.raw_decode("[" + buffer.decode("latin-1"))
            trailer = _harmless(_as_object(buffer[end - 1 :]))
            msgspec.json.decode(trailer)
            events = self._decoded(b"[" + buffer[: end - 1])
        except msgspec.ValidationError as error:
            raise self._not_an_event(error) from error
        except (ValueError, RecursionError):
            return self._broken_off(buffer)
        self.trailer = trailer
        return events

    def _broken_off(self, buffer: bytes) -> list[Event]:
        """What is whole of a file that breaks off, when salvaging; else its error."""
        found, used = self._whole_events(buffer + b",{")
        found = found or []
        total = self._offset + len(buffer)
        at = f"event {self.events + len(found)}, byte {self._offset + used}"
        if not self.salvage:
            raise TraceError(
                f"{self.path}: truncated or corrupt JSON at {at} of {total}; record the trace again, or read the "
                "events before it with --salvage"
            )
        self.lost = self.lost or f"everything from {at} on ({len(buffer) - used} bytes that are no whole event)"
        return found

    def _not_an_event(self, error: msgspec.ValidationError) -> TraceError:
        text = re.sub(r"`\$\[(\d+)\](.*?)`$", lambda m: f"event {self.events + int(m[1])}{m[2]}", str(error))
        return TraceError(f"{self.path}: JSON, but not a trace: {text}")


def _last_boundary(buffer: bytes, stop: int) -> int:
    """The last ``}`` before *stop* that a comma and another object follow, or -1."""
    while True:
        cut = buffer.rfind(b"}", 0, stop)
        if cut < 0 or _BOUNDARY.match(buffer, cut):
            return cut
        stop = cut


def _as_object(rest: bytes) -> bytes:
    """What follows the array, as a JSON object of its own: ``, "a": 1}`` becomes ``{"a": 1}``."""
    rest = rest.strip()
    return b"{" + rest.removeprefix(b",") if rest else b"{}"


def _harmless(text: bytes) -> bytes:
    """JSON with raw control characters as spaces and NaN or Infinity as null; for text that strict JSON refuses."""
    return _NOT_A_NUMBER.sub(b"null", text.translate(_SPACES)).decode(errors="replace").encode()
