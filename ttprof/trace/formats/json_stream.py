"""Streams the events of a JSON trace, which may not fit in memory, as one list of decoded events per block.

The file is read block by block into one buffer and cut between two events; a cut is right if everything before it
decodes. The JSON around the events (before and after the array) is kept for the reader.
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
from ttprof.trace.formats.lenient_json import Bytes, is_sanitisable, sanitised
from ttprof.trace.formats.source import ByteSource, Damaged, open_source

BLOCK = 1 << 19
"""Bytes read at a time. With larger blocks the decoded objects no longer fit in the CPU cache, which is slower."""

NEAR_CUTS = 3
"""Boundaries tried from the end of a block backwards, in case the last event contains a list of objects.

After that, the block is bisected, because the damage may be far from its end.
"""

LAST_BRACES = 8
"""Closing braces tried at the end of a damaged file: its last event may contain objects, or a trailer may follow."""

_KEY = re.compile(rb'"traceEvents"\s*:\s*\[')
_BOUNDARY = re.compile(rb"\}\s*,\s*(?=\{)")
_BARE_LIST = re.compile(rb"\s*\[")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BYTE = re.compile(r"\(byte (\d+)\)$")  # where msgspec stopped: its exceptions state the position only in the message
_CUT_OFF = "truncated"  # how msgspec says that its input ends too early

_ANY_JSON = json.JSONDecoder(strict=False)
"""Finds the end of the array. In latin-1 a character is a byte, so its positions are byte offsets."""

Decode = Callable[[Bytes], list[Any]]


class _ReadBuffer:
    """The part of a file that was read but not yet decoded: ``data[start:end]``, in one reused buffer."""

    def __init__(self, source: ByteSource) -> None:
        self.data = bytearray(2 * BLOCK)
        self.start = self.end = 1  # one byte before the events is reserved for the bracket that opens an array
        self.at_end = False
        self._source = source

    def __len__(self) -> int:
        return self.end - self.start

    def more(self) -> None:
        """Read another block; ``at_end`` becomes true if there is none. Raises OSError and Damaged."""
        if self.start > 1:
            self.data[1 : 1 + len(self)] = self.data[self.start : self.end]
            self.start, self.end = 1, 1 + len(self)
        if len(self.data) - self.end < BLOCK:  # a new buffer, because decoded rows may still point into the old one
            self.data = self.data + bytearray(max(BLOCK, len(self.data)))
        count = self._source.readinto(memoryview(self.data)[self.end : self.end + BLOCK])
        self.end += count
        self.at_end = not count

    def text(self) -> bytes:
        """A copy of the content."""
        return bytes(memoryview(self.data)[self.start : self.end])

    def first_boundary(self, skipped: int) -> re.Match[bytes] | None:
        """The first ``}`` followed by a comma and another object, after the first *skipped* bytes."""
        return _BOUNDARY.search(self.data, self.start + max(0, skipped), self.end)

    def last_boundary(self, stop: int) -> re.Match[bytes] | None:
        """The last ``}`` before *stop* that is followed by a comma and another object."""
        while True:
            brace = self.data.rfind(b"}", self.start, stop)
            if brace < 0:
                return None
            if (boundary := _BOUNDARY.match(self.data, brace, self.end)) is not None:
                return boundary
            stop = brace

    def array(self, cut: int) -> memoryview:
        """The events up to *cut* in brackets, which overwrite the byte at *cut* and the one before the events."""
        self.data[self.start - 1] = ord("[")
        self.data[cut] = ord("]")
        return memoryview(self.data)[self.start - 1 : cut + 1]


@dataclass
class EventStream:
    """Iterates over the events of one file, one list per block. ``salvage`` accepts a damaged or truncated file.

    A piece of the file can be read on its own: from the first boundary between two objects at or after byte ``start``
    to the first at or after ``stop``. If all pieces of a file can be read, they contain exactly the events of the
    file: the first piece begins with the first event, so if it decodes it ends between two events, where the second
    piece begins, and so on. A piece that doesn't end between two events raises TraceError.

    ``decoders`` turn an array into events, from the fastest to the most general; the next one takes over when one
    rejects a block. After iterating, ``events`` is their number, ``header`` and ``trailer`` are the JSON around them
    as objects, and ``lost`` describes what could not be salvaged.

    Iterating raises TraceError if the file can't be read or is not a JSON trace.
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
    _array: Bytes = field(default=b"[]", repr=False)

    def __iter__(self) -> Iterator[list[Any]]:
        with open_source(self.path) as source:
            buffer = _ReadBuffer(source)
            if self.start:
                self._find_boundary(source, buffer)
            else:
                self._find_events(buffer)
            enough = 0
            while True:
                if self.stop is not None and self._offset + len(buffer) > self.stop:
                    if (boundary := buffer.first_boundary(self.stop - self._offset)) is not None:
                        yield self._counted(self._up_to(boundary, buffer))
                        return
                elif len(buffer) >= enough:
                    events = self._whole_events(buffer)
                    if events is not None:
                        yield self._counted(events)
                        enough = 0
                    else:  # the array has ended or is damaged: don't search again after every block
                        enough = 2 * len(buffer)
                self._more(buffer)
                if buffer.at_end:
                    break
            if self.stop is not None:
                raise self._no_cut()
            yield self._counted(self._end(buffer))

    def decode_again(self) -> list[Any]:
        """Decode the last list of events with the next decoder."""
        self.decoders = self.decoders[1:]
        return self.decoders[0](self._array)

    def _counted(self, events: list[Any]) -> list[Any]:
        self.events += len(events)
        return events

    def _more(self, buffer: _ReadBuffer) -> None:
        """Read on; when salvaging, the file ends where it can't be read."""
        try:
            buffer.more()
        except (OSError, Damaged) as error:
            if not self.salvage or not self._offset:
                raise
            self.lost, buffer.at_end = error.problem if isinstance(error, Damaged) else error.strerror, True

    def _find_events(self, buffer: _ReadBuffer) -> None:
        """Read up to the first event; the JSON before the array becomes the header."""
        while True:
            buffer.more()
            if buffer.at_end:
                raise self._no_events(buffer.text())
            text = buffer.text()
            head = text.removeprefix(_BYTE_ORDER_MARK)
            if (opening := _BARE_LIST.match(head)) is None and (opening := self._key(head)) is not None:
                self.header, self._bare = sanitised(head[: opening.start()] + b'"traceEvents":[]}'), False
            if opening is not None:
                self._offset = opening.end() + len(text) - len(head)
                buffer.start += self._offset
                return

    def _key(self, head: bytes) -> re.Match[bytes] | None:
        """The ``traceEvents`` key of the outermost object, not one inside a string or a nested object."""
        for key in _KEY.finditer(head):
            try:
                msgspec.json.decode(sanitised(head[: key.start()] + b'"traceEvents":[]}'))
            except (msgspec.DecodeError, RecursionError):
                continue
            return key
        return None

    def _find_boundary(self, source: ByteSource, buffer: _ReadBuffer) -> None:
        """Read up to the first event of a piece."""
        source.skip(self.start)
        self._offset = self.start
        while not buffer.at_end:
            buffer.more()
            if (boundary := buffer.first_boundary(0)) is not None:
                self._offset += boundary.end() - buffer.start
                buffer.start = boundary.end()
                return
        raise self._no_cut()

    def _up_to(self, boundary: re.Match[bytes], buffer: _ReadBuffer) -> list[Any]:
        """The last events of a piece."""
        try:
            return self._decoded(buffer.array(boundary.start() + 1))
        except _Malformed as problem:
            raise self._no_cut() from problem

    def _no_cut(self) -> TraceError:
        return TraceError(f"no cut at bytes {self.start} and {self.stop}", TraceErrorCode.CORRUPT, self.path)

    def _no_events(self, text: bytes) -> TraceError:
        """The error for a file without a list of events."""
        code, problem = TraceErrorCode.NOT_A_TRACE, "JSON, but not a trace: it has no list called traceEvents"
        if text.startswith(b"SQLite format 3"):
            problem = "an SQLite file, as Nsight Systems exports; torch.profiler writes JSON traces"
        elif text.lstrip()[:1] not in (b"{", b"["):
            problem = "not JSON, so not a trace of torch.profiler"
        else:
            try:
                value = msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                code, problem = _code(text), f"truncated or corrupt JSON, {len(text)} bytes read: {error}"
            else:
                if isinstance(value, dict) and {"cases", "run_dir"} <= value.keys():
                    problem = "a ttprof result, not a trace: ttprof report shows it"
        return TraceError(problem, code, self.path)

    def _whole_events(self, buffer: _ReadBuffer) -> list[Any] | None:
        """The events before a cut that decodes, after which the buffer starts; None without such a cut."""
        boundary = buffer.last_boundary(buffer.end)
        tried = 0
        while boundary is not None:
            cut = boundary.start() + 1
            overwritten = buffer.data[cut]
            try:
                events = self._decoded(buffer.array(cut))
            except _Malformed as problem:
                buffer.data[cut] = overwritten
                tried += 1
                boundary = self._earlier(buffer, boundary.start(), problem, tried)
                continue
            self._offset += boundary.end() - buffer.start
            buffer.start = boundary.end()
            return events
        return None

    def _earlier(self, buffer: _ReadBuffer, failed: int, problem: _Malformed, tried: int) -> re.Match[bytes] | None:
        """The boundary to try after the one at *failed*: before the problem, if its position is known."""
        if problem.byte is not None:
            return buffer.last_boundary(min(failed, buffer.start - 1 + problem.byte))
        if tried < NEAR_CUTS:
            return buffer.last_boundary(failed)
        half = buffer.last_boundary(buffer.start + (failed - buffer.start) // 2)
        first = half or buffer.first_boundary(0)
        return first if first is not None and first.start() < failed else None

    def _decoded(self, array: Bytes) -> list[Any]:
        """The events of an array, sanitised if they have to be. Raises _Malformed if it is not JSON."""
        try:
            try:
                return self._by_first_accepting(array)
            except msgspec.ValidationError:
                raise
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                byte = _position(error)
                if not (isinstance(error, UnicodeDecodeError) or is_sanitisable(array, byte)):
                    raise _Malformed(byte) from error
                return self._by_first_accepting(sanitised(bytes(array)))
        except msgspec.ValidationError as error:
            raise self._not_an_event(error) from error
        except msgspec.DecodeError as error:
            raise _Malformed(None) from error
        except RecursionError as error:
            text = f"an event near event {self.events} is nested too deeply to be read"
            raise TraceError(text, TraceErrorCode.UNSUPPORTED, self.path) from error

    def _by_first_accepting(self, array: Bytes) -> list[Any]:
        self._array = array
        while True:
            try:
                return self.decoders[0](array)
            except msgspec.ValidationError:
                if len(self.decoders) == 1:
                    raise
                self.decoders = self.decoders[1:]

    def _end(self, buffer: _ReadBuffer) -> list[Any]:
        """The last events; the JSON after them becomes the trailer."""
        text = buffer.text()
        try:
            if not (self._bare or text.rstrip().endswith(b"}")):
                raise ValueError("an object that is not closed")
            _, end = _ANY_JSON.raw_decode("[" + text.decode("latin-1"))
            trailer = sanitised(_as_object(text[end - 1 :]))
            msgspec.json.decode(trailer)
            events = self._decoded(b"[" + text[: end - 1])
        except (ValueError, RecursionError, _Malformed):
            return self._broken_off(buffer)
        self.trailer = trailer
        return events

    def _broken_off(self, buffer: _ReadBuffer) -> list[Any]:
        """The complete events at the end of a damaged file if it is salvaged; raises TraceError otherwise."""
        total = self._offset + len(buffer)
        code = _damage(buffer.text())
        events: list[Any] = []
        while (more := self._whole_events(buffer)) is not None:
            events += more
        events += self._last_whole(buffer)
        at = f"event {self.events + len(events)}, byte {min(self._offset, total)}"
        if not self.salvage:
            raise TraceError(
                f"truncated or corrupt JSON at {at} of {total}; record the trace again, or read the events before it "
                "with --salvage",
                code,
                self.path,
            )
        left = max(0, total - self._offset)
        why = f": {self.lost}" if self.lost else ""
        self.lost = f"everything from {at} on is lost ({left} bytes without a complete event){why}"
        return events

    def _last_whole(self, buffer: _ReadBuffer) -> list[Any]:
        """The complete events at the very end, with no other event after them."""
        text, brace = buffer.text(), len(buffer)
        for _ in range(LAST_BRACES):
            if (brace := text.rfind(b"}", 0, brace)) < 0:
                break
            try:
                events = self._decoded(b"[" + text[: brace + 1] + b"]")
            except _Malformed:
                continue
            self._offset += brace + 1
            return events
        return []

    def _not_an_event(self, error: msgspec.ValidationError) -> TraceError:
        # msgspec names the event by its index in the block
        text = re.sub(r"`\$\[(\d+)\](.*?)`$", lambda m: f"event {self.events + int(m[1])}{m[2]}", str(error))
        return TraceError(f"JSON, but not a trace: {text}", TraceErrorCode.NOT_A_TRACE, self.path)


class _Malformed(Exception):
    """An array that is not JSON, from *byte* on if that is known."""

    def __init__(self, byte: int | None) -> None:
        self.byte = byte


def _position(error: Exception) -> int | None:
    """The byte at which decoding stopped, if the error states it."""
    position = _BYTE.search(str(error))
    return int(position[1]) if position else None


def _damage(text: bytes) -> TraceErrorCode:
    """The code for damage at the end of a file, from the first event in *text* on."""
    try:
        _, end = _ANY_JSON.raw_decode("[" + text.decode("latin-1"))
    except (ValueError, RecursionError):
        return _code(b"[" + text)
    return _code(_as_object(text[end - 1 :]))


def _code(text: bytes) -> TraceErrorCode:
    """TRUNCATED for JSON that is valid as far as it goes, CORRUPT for any other that can't be decoded."""
    try:
        msgspec.json.decode(sanitised(text))
    except (msgspec.DecodeError, RecursionError) as error:
        words = str(error)  # msgspec has no error codes
        return TraceErrorCode.TRUNCATED if _CUT_OFF in words else TraceErrorCode.CORRUPT
    return TraceErrorCode.TRUNCATED  # the object around it is not closed


def _as_object(rest: bytes) -> bytes:
    """The JSON after the array as an object: ``, "a": 1}`` becomes ``{"a": 1}``."""
    rest = rest.strip()
    return b"{" + rest.removeprefix(b",") if rest else b"{}"
