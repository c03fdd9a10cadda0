"""A JSON array of events that need not fit in memory: a path enters, lists of decoded events leave.

The file is read in blocks into one window and cut between two events, wherever that is: a cut is right when what
lies before it decodes. Everything around the array (the header and what follows the events) is kept for its reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.formats.source import Source, opened

BLOCK = 1 << 19
"""Bytes read at a time: with more, the decoded objects leave the processor's cache and reading is slower."""

NEAR_CUTS = 3
"""Boundaries that are tried from the end of a block backwards, where an event may hold a list of objects; then it is
halved, because something may be broken long before."""

LAST_BRACES = 8
"""Ends of objects that are tried where a file breaks off: its last event may hold others, or a trailer follow it."""

_KEY = re.compile(rb'"traceEvents"\s*:\s*\[')
_BOUNDARY = re.compile(rb"\}\s*,\s*(?=\{)")
_BARE_LIST = re.compile(rb"\s*\[")
_UNICODE_MARK = b"\xef\xbb\xbf"
_TEXT_OR_NOT_A_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity|nan|inf)\b', re.DOTALL)
_PAIR_OR_HALF = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
_NOT_A_NUMBER_NEAR = re.compile(rb"NaN|Inf|nan|inf")
HALF = len(rb"\ud800")
_BYTE = re.compile(r"\(byte (\d+)\)$")
_CONTROL = bytes(range(32))
_SPACES = bytes.maketrans(_CONTROL, b" " * 32)

_ANY_JSON = json.JSONDecoder(strict=False)
"""Finds where an array ends. Of text decoded as latin-1, in which a character is a byte, it tells the byte."""

Buffer = bytes | memoryview
Decode = Callable[[Buffer], list[Any]]


class _Window:
    """The part of a file that is in memory and not yet decoded: ``data[start:end]``, in one reused buffer."""

    def __init__(self, source: Source) -> None:
        self.data = bytearray(2 * BLOCK)
        self.start = self.end = 1  # a byte before the events is kept for the bracket that opens an array
        self.ended = False
        self._source = source

    def __len__(self) -> int:
        return self.end - self.start

    def more(self) -> None:
        """Read another block behind what is there; ``ended`` says that there is no more."""
        if self.start > 1:
            self.data[1 : 1 + len(self)] = self.data[self.start : self.end]
            self.start, self.end = 1, 1 + len(self)
        self._make_room(BLOCK)
        count = self._source.readinto(memoryview(self.data)[self.end : self.end + BLOCK])
        self.end += count
        self.ended = not count

    def append(self, text: bytes) -> None:
        """Add *text* behind what is there."""
        self._make_room(len(text))
        self.data[self.end : self.end + len(text)] = text
        self.end += len(text)

    def text(self) -> bytes:
        """All that is in the window."""
        return bytes(memoryview(self.data)[self.start : self.end])

    def _make_room(self, count: int) -> None:
        """Space for *count* bytes more; in a new buffer, because what was decoded may still look into the old one."""
        if len(self.data) - self.end < count:
            self.data = self.data + bytearray(max(count, len(self.data)))

    def first_boundary(self, skipped: int) -> re.Match[bytes] | None:
        """The first ``}`` that a comma and another object follow, but for the *skipped* first bytes of the window."""
        return _BOUNDARY.search(self.data, self.start + max(0, skipped), self.end)

    def last_boundary(self, stop: int) -> re.Match[bytes] | None:
        """The last ``}`` before *stop* that a comma and another object follow."""
        while True:
            brace = self.data.rfind(b"}", self.start, stop)
            if brace < 0:
                return None
            if (boundary := _BOUNDARY.match(self.data, brace, self.end)) is not None:
                return boundary
            stop = brace

    def array(self, cut: int) -> memoryview:
        """The events up to *cut* in brackets; the byte at *cut* and the one before the events are overwritten."""
        self.data[self.start - 1] = ord("[")
        self.data[cut] = ord("]")
        return memoryview(self.data)[self.start - 1 : cut + 1]


@dataclass
class EventStream:
    """The events of one file, a list for each block. ``salvage`` accepts a file that breaks off.

    A piece of it can be read by itself: from the first boundary between two objects at or behind byte ``start`` to the
    first at or behind ``stop``. When all pieces of a file can be read, their events are those of the file: the first
    piece begins where the events do, so that where it can be decoded as whole events its end lies between two events,
    and so on. TraceError says that a piece does not end there.

    ``decoders`` turn an array into events, from the fastest to the one that takes most: the next one takes over where
    one refuses a block. After iterating, ``events`` is their number, ``header`` and ``trailer`` are what stands around
    them (JSON objects), and ``lost`` says what a salvaged file lost.
    """

    path: Path
    decoders: Sequence[Decode]
    salvage: bool = False
    start: int = 0
    stop: int | None = None
    header: bytes = b"{}"
    trailer: bytes = b"{}"
    events: int = 0
    lost: str | None = None
    _bare: bool = field(default=True, repr=False)
    _offset: int = field(default=0, repr=False)
    _array: Buffer = field(default=b"[]", repr=False)

    def __iter__(self) -> Iterator[list[Any]]:
        with opened(self.path) as source:
            window = _Window(source)
            if self.start:
                self._find_boundary(source, window)
            else:
                self._find_events(window)
            enough = 0
            while True:
                if self.stop is not None and self._offset + len(window) > self.stop:
                    if (boundary := window.first_boundary(self.stop - self._offset)) is not None:
                        yield self._counted(self._up_to(boundary, window))
                        return
                elif len(window) >= enough:
                    found = self._whole_events(window)
                    if found is not None:
                        yield self._counted(found)
                        enough = 0
                    else:  # the array has ended, or is broken: do not look again at every block
                        enough = 2 * len(window)
                self._more(window)
                if window.ended:
                    break
            if self.stop is not None:
                raise self._not_between()
            yield self._counted(self._end(window))

    def decoded_again(self) -> list[Any]:
        """The events of the last list, by the next decoder."""
        self.decoders = self.decoders[1:]
        return self.decoders[0](self._array)

    def _counted(self, events: list[Any]) -> list[Any]:
        self.events += len(events)
        return events

    def _more(self, window: _Window) -> None:
        """Read on; when salvaging, a place where the file can't be read is its end."""
        try:
            window.more()
        except TraceError as error:
            if not self.salvage or not self._offset:
                raise
            self.lost, window.ended = str(error).partition("; record")[0], True

    def _find_events(self, window: _Window) -> None:
        """Read up to the first event; what stands before the array becomes the header."""
        while True:
            window.more()
            if window.ended:
                raise self._no_events(window.text())
            text = window.text()
            head = text.removeprefix(_UNICODE_MARK)
            if (found := _BARE_LIST.match(head)) is None and (found := self._key(head)) is not None:
                self.header, self._bare = _harmless(head[: found.start()] + b'"traceEvents":[]}'), False
            if found is not None:
                self._offset = found.end() + len(text) - len(head)
                window.start += self._offset
                return

    def _key(self, head: bytes) -> re.Match[bytes] | None:
        """The key of the events: what stands before it must be the beginning of the outermost object."""
        for found in _KEY.finditer(head):
            try:
                msgspec.json.decode(_harmless(head[: found.start()] + b'"traceEvents":[]}'))
            except (msgspec.DecodeError, RecursionError):
                continue
            return found
        return None

    def _find_boundary(self, source: Source, window: _Window) -> None:
        """Read up to the first event of a piece."""
        source.skip(self.start)
        self._offset = self.start
        while not window.ended:
            window.more()
            if (boundary := window.first_boundary(0)) is not None:
                self._offset += boundary.end() - window.start
                window.start = boundary.end()
                return
        raise self._not_between()

    def _up_to(self, boundary: re.Match[bytes], window: _Window) -> list[Any]:
        """The last events of a piece."""
        try:
            return self._decoded(window.array(boundary.start() + 1))
        except _Malformed as problem:
            raise self._not_between() from problem

    def _not_between(self) -> TraceError:
        return TraceError(
            f"{self.path}: the file can't be cut at byte {self.start} and {self.stop}", TraceErrorCode.CORRUPT
        )

    def _no_events(self, text: bytes) -> TraceError:
        if text.startswith(b"SQLite format 3"):
            return TraceError(
                f"{self.path}: an SQLite file, as Nsight Systems exports; torch.profiler writes JSON traces",
                TraceErrorCode.NOT_A_TRACE,
            )
        if text.lstrip()[:1] not in (b"{", b"["):
            return TraceError(f"{self.path}: not JSON, so no trace of torch.profiler", TraceErrorCode.NOT_A_TRACE)
        try:
            found = msgspec.json.decode(text)
            if isinstance(found, dict) and {"cases", "run_dir"} <= found.keys():
                return TraceError(
                    f"{self.path}: a result of ttprof, not a trace: ttprof report shows it", TraceErrorCode.NOT_A_TRACE
                )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return TraceError(
                f"{self.path}: truncated or corrupt JSON, {len(text)} bytes read: {error}", TraceErrorCode.TRUNCATED
            )
        return TraceError(
            f"{self.path}: JSON, but not a trace: it has no list called traceEvents", TraceErrorCode.NOT_A_TRACE
        )

    def _whole_events(self, window: _Window) -> list[Any] | None:
        """The events before a cut that decodes; the window then starts at the event after it. None without one."""
        boundary = window.last_boundary(window.end)
        tried = 0
        while boundary is not None:
            cut = boundary.start() + 1
            overwritten = window.data[cut]
            try:
                events = self._decoded(window.array(cut))
            except _Malformed as problem:
                window.data[cut] = overwritten
                tried += 1
                boundary = self._earlier(window, boundary.start(), problem, tried)
                continue
            self._offset += boundary.end() - window.start
            window.start = boundary.end()
            return events
        return None

    def _earlier(self, window: _Window, failed: int, problem: _Malformed, tried: int) -> re.Match[bytes] | None:
        """The boundary to try after the one at *failed*: before the place of the problem, where that is known."""
        if problem.byte is not None:
            return window.last_boundary(min(failed, window.start - 1 + problem.byte))
        if tried < NEAR_CUTS:
            return window.last_boundary(failed)
        half = window.last_boundary(window.start + (failed - window.start) // 2)
        first = half or window.first_boundary(0)
        return first if first is not None and first.start() < failed else None

    def _decoded(self, array: Buffer) -> list[Any]:
        """The events of an array, control characters and NaN made harmless. Raises _Malformed where it is no JSON."""
        try:
            try:
                return self._by_first_willing(array)
            except msgspec.ValidationError:
                raise
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                byte = _place(error)
                if not (isinstance(error, UnicodeDecodeError) or _can_be_harmless(array, byte)):
                    raise _Malformed(byte) from error
                return self._by_first_willing(_harmless(bytes(array)))
        except msgspec.ValidationError as error:
            raise self._not_an_event(error) from error
        except msgspec.DecodeError as error:
            raise _Malformed(None) from error
        except RecursionError as error:
            raise TraceError(
                f"{self.path}: an event near event {self.events} is nested too deeply to be read",
                TraceErrorCode.UNSUPPORTED,
            ) from error

    def _by_first_willing(self, array: Buffer) -> list[Any]:
        self._array = array
        while True:
            try:
                return self.decoders[0](array)
            except msgspec.ValidationError:
                if len(self.decoders) == 1:
                    raise
                self.decoders = self.decoders[1:]

    def _end(self, window: _Window) -> list[Any]:
        """The last events, and what follows them as the trailer."""
        text = window.text()
        try:
            if not (self._bare or text.rstrip().endswith(b"}")):
                raise ValueError("an object that is not closed")
            _, end = _ANY_JSON.raw_decode("[" + text.decode("latin-1"))
            trailer = _harmless(_as_object(text[end - 1 :]))
            msgspec.json.decode(trailer)
            events = self._decoded(b"[" + text[: end - 1])
        except (ValueError, RecursionError, _Malformed):
            return self._broken_off(window)
        self.trailer = trailer
        return events

    def _broken_off(self, window: _Window) -> list[Any]:
        """What is whole of a file that breaks off, when salvaging; else its error."""
        total = self._offset + len(window)
        found: list[Any] = []
        while (more := self._whole_events(window)) is not None:
            found += more
        found += self._last_whole(window)
        at = f"event {self.events + len(found)}, byte {min(self._offset, total)}"
        if not self.salvage:
            raise TraceError(
                f"{self.path}: truncated or corrupt JSON at {at} of {total}; record the trace again, or read the "
                "events before it with --salvage",
                TraceErrorCode.TRUNCATED,
            )
        left = max(0, total - self._offset)
        why = f": {self.lost}" if self.lost else ""
        self.lost = f"everything from {at} on ({left} bytes that are no whole event){why}"
        return found

    def _last_whole(self, window: _Window) -> list[Any]:
        """What is whole of the last events, which no other event follows."""
        text, brace = window.text(), len(window)
        for _ in range(LAST_BRACES):
            brace = text.rfind(b"}", 0, brace)
            if brace < 0:
                break
            try:
                events = self._decoded(b"[" + text[: brace + 1] + b"]")
            except _Malformed:
                continue
            self._offset += brace + 1
            return events
        return []

    def _not_an_event(self, error: msgspec.ValidationError) -> TraceError:
        text = re.sub(r"`\$\[(\d+)\](.*?)`$", lambda m: f"event {self.events + int(m[1])}{m[2]}", str(error))
        return TraceError(f"{self.path}: JSON, but not a trace: {text}", TraceErrorCode.NOT_A_TRACE)


class _Malformed(Exception):
    """An array that is no JSON, from *byte* on where that is known."""

    def __init__(self, byte: int | None) -> None:
        self.byte = byte


def _place(error: Exception) -> int | None:
    """Where decoding stopped, where the error says it."""
    found = _BYTE.search(str(error))
    return int(found[1]) if found else None


def _can_be_harmless(text: Buffer, byte: int | None) -> bool:
    """Whether what stopped strict decoding at *byte* is a control character, a NaN or half a character."""
    if byte is None:
        return False
    around = bytes(text[max(0, byte - 16) : byte + 16])
    if any(len(found) == HALF for found in _PAIR_OR_HALF.findall(around)):
        return True
    return bytes(text[byte : byte + 1]) < b" " or _NOT_A_NUMBER_NEAR.search(around) is not None


def _as_object(rest: bytes) -> bytes:
    """What follows the array, as a JSON object of its own: ``, "a": 1}`` becomes ``{"a": 1}``."""
    rest = rest.strip()
    return b"{" + rest.removeprefix(b",") if rest else b"{}"


def _harmless(text: bytes) -> bytes:
    """JSON with control characters as spaces, NaN or Infinity as null, and half characters as unknown ones."""
    text = text.translate(_SPACES)
    if _NOT_A_NUMBER_NEAR.search(text):
        text = _TEXT_OR_NOT_A_NUMBER.sub(lambda found: found[0] if found[0][:1] == b'"' else b"null", text)
    text = _PAIR_OR_HALF.sub(lambda found: b"\\ufffd" if len(found[0]) == HALF else found[0], text)
    return text.decode(errors="replace").encode()
