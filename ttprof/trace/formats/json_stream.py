"""Streams the events of a JSON trace, which may not fit in memory, as one list of decoded events per block.

The file is read block by block into one buffer and cut between two events; a cut is right if everything before it
decodes. Reading stops at the first event that can't be decoded, and never holds more than ``PART_BYTES`` without a
complete event. The JSON around the events (before and after the array) is kept for the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import OverBudget
from ttprof.trace.formats import foreign
from ttprof.trace.formats.json_structure import depth_at_end, object_ends
from ttprof.trace.formats.json_syntax import Ending, as_object, damage, is_json, parse_array, position
from ttprof.trace.formats.lenient_json import Bytes, is_sanitisable, sanitised
from ttprof.trace.formats.read_buffer import ReadBuffer
from ttprof.trace.formats.source import ByteSource, Damaged, open_source

MAX_CUTS = 4
"""Cuts tried in one block: at the last boundary, then before what the decoder objected to."""

MAX_KEYS = 1000
"""Nested keys called ``traceEvents`` that are passed over."""

_KEY = re.compile(rb'"traceEvents"\s*:\s*\[')
_BARE_LIST = re.compile(rb"\s*\[")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Decode = Callable[[Bytes], list[Any]]


@dataclass
class EventStream:
    """Iterates over the events of one file, one list per block. ``salvage`` accepts a damaged or truncated file.

    A piece of the file can be read on its own: from the first boundary between two objects at or after byte ``start``
    to the first at or after ``stop``. If all pieces of a file can be read, they contain exactly the events of the
    file: the first piece begins with the first event, so if it decodes it ends between two events, where the second
    piece begins, and so on. A piece that doesn't end between two events raises TraceError.

    ``decoders`` turn an array into events, from the fastest to the most general; the next one takes over when one
    rejects a block, and ``lenient`` for a block that the last one rejects. After iterating, ``events`` is their number,
    ``header`` and ``trailer`` are the JSON around them as objects, and ``lost`` describes what could not be salvaged.

    Iterating raises TraceError if the file can't be read or is not a JSON trace.
    """

    path: Path
    decoders: Sequence[Decode]
    salvage: bool = False
    lenient: Decode | None = None
    start: int = 0
    stop: int | None = None
    header: bytes = b"{}"
    trailer: bytes = b"{}"
    events: int = 0
    lost: str | None = None
    _bare: bool = field(default=True, repr=False)
    _array: Bytes = field(default=b"[]", repr=False)

    def __iter__(self) -> Iterator[list[Any]]:
        with open_source(self.path) as source:
            buffer = ReadBuffer(source)
            if self.start:
                self._find_boundary(source, buffer)
            else:
                self._find_events(buffer)
            enough = 0
            while not buffer.at_end:
                if self.stop is not None and buffer.offset + len(buffer) > self.stop:
                    if (boundary := buffer.first_boundary(self.stop - buffer.offset)) is not None:
                        yield self._counted(self._up_to(boundary, buffer))
                        return
                elif len(buffer) >= enough:
                    events = self._whole_events(buffer)
                    if events is not None:
                        yield self._counted(events)
                        enough = 0
                    elif parse_array(buffer.text(), self._unsupported).ending is not Ending.CUT_OFF:
                        break  # the array has ended, or is damaged
                    else:  # a long event: don't search again after every block
                        enough = 2 * len(buffer)
                self._more(buffer)
            if self.stop is not None:
                raise self._no_cut()
            yield from map(self._counted, self._end(buffer))

    def decode_again(self) -> list[Any]:
        """Decode the last list of events with the next decoder."""
        self.decoders = self.decoders[1:]
        return self.decoders[0](self._array)

    def _counted(self, events: list[Any]) -> list[Any]:
        self.events += len(events)
        return events

    def _more(self, buffer: ReadBuffer) -> None:
        """Read on; when salvaging, the file ends where it can't be read."""
        try:
            buffer.more()
        except (OSError, Damaged, OverBudget) as error:
            if not self.salvage or not buffer.offset:
                raise
            self.lost, buffer.at_end = _reason(error), True

    def _find_events(self, buffer: ReadBuffer) -> None:
        """Read up to the first event; the JSON before the array becomes the header."""
        enough = 0
        while not buffer.at_end:
            buffer.more()
            if len(buffer) < enough and not buffer.at_end:
                continue  # don't search again after every block
            text, enough = buffer.text(), 2 * len(buffer)
            head = text.removeprefix(_BYTE_ORDER_MARK)
            if (opening := _BARE_LIST.match(head)) is None and (opening := _key(head)) is not None:
                self.header, self._bare = sanitised(head[: opening.start()] + b'"traceEvents":[]}'), False
                if not is_json(self.header):
                    raise self._no_events(self.header)
            if opening is not None:
                buffer.skip(buffer.start + opening.end() + len(text) - len(head))
                return
        raise self._no_events(buffer.text())

    def _find_boundary(self, source: ByteSource, buffer: ReadBuffer) -> None:
        """Read up to the first event of a piece."""
        source.skip(self.start)
        buffer.offset = self.start
        while not buffer.at_end:
            buffer.more()
            if (boundary := buffer.first_boundary(0)) is not None:
                buffer.skip(boundary.end())
                return
        raise self._no_cut()

    def _up_to(self, boundary: re.Match[bytes], buffer: ReadBuffer) -> list[Any]:
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
            found = foreign.guess(text[: foreign.HEAD_BYTES])
            problem += f"; {foreign.sentence(found)}" if found is not None else ""
        elif (found := foreign.guess_json(text[: foreign.HEAD_BYTES])) is not None:
            problem = f"JSON, but not a trace of torch.profiler; {foreign.sentence(found)}"
        else:
            problem_in_json, code_of_json = damage(text)
            if problem_in_json is not None:
                code, problem = code_of_json, f"truncated or corrupt JSON, {len(text)} bytes read: {problem_in_json}"
            elif _is_result(sanitised(text)):
                problem = "a ttprof result, not a trace: ttprof report shows it"
        return TraceError(problem, code, self.path)

    def _whole_events(self, buffer: ReadBuffer) -> list[Any] | None:
        """The events before a cut that decodes, after which the buffer starts; None without such a cut."""
        boundary = buffer.last_boundary() or _last_boundary(buffer)
        for _ in range(MAX_CUTS):
            if boundary is None:
                return None
            cut = boundary.start() + 1
            overwritten = buffer.data[cut]
            try:
                events = self._decoded(buffer.array(cut))
            except _Malformed as problem:
                buffer.data[cut] = overwritten
                boundary = _last_boundary(buffer, problem.whole)
            else:
                buffer.skip(boundary.end())
                return events
        return None

    def _decoded(self, array: Bytes) -> list[Any]:
        """The events of an array, sanitised if they have to be. Raises _Malformed if it is not JSON."""
        try:
            try:
                return self._by_first_accepting(array)
            except msgspec.ValidationError:
                raise
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                byte = position(error)
                if not (isinstance(error, UnicodeDecodeError) or is_sanitisable(array, byte)):
                    raise _Malformed(array, byte) from error
            array = sanitised(bytes(array))
            return self._by_first_accepting(array)
        except msgspec.ValidationError as error:
            raise self._not_an_event(error) from error
        except msgspec.DecodeError as error:
            raise _Malformed(array, position(error)) from error
        except RecursionError as error:
            raise self._unsupported() from error

    def _unsupported(self) -> TraceError:
        text = f"an event near event {self.events} is nested too deeply to be read"
        return TraceError(text, TraceErrorCode.UNSUPPORTED, self.path)

    def _by_first_accepting(self, array: Bytes) -> list[Any]:
        while True:
            try:
                events = self.decoders[0](array)
                self._array = array
                return events
            except msgspec.ValidationError:
                if len(self.decoders) == 1:
                    if self.lenient is None:
                        raise
                    return self.lenient(array)
                self.decoders = self.decoders[1:]

    def _end(self, buffer: ReadBuffer) -> Iterator[list[Any]]:
        """The last events; the JSON after them becomes the trailer."""
        code = TraceErrorCode.CORRUPT
        found = parse_array(buffer.text(), self._unsupported)
        if found.ending is Ending.CLOSED:
            while not buffer.at_end:
                self._more(buffer)
            found = parse_array(buffer.text(), self._unsupported)
            is_closed = self._bare or found.rest.rstrip().endswith(b"}")
            trailer = sanitised(as_object(found.rest))
            problem, code = damage(trailer)
            if is_closed and problem is None:
                self.trailer = trailer
                try:
                    events = self._decoded(found.array)
                except _Malformed:
                    code = TraceErrorCode.CORRUPT
                else:
                    yield events
                    return
        elif found.ending is Ending.CUT_OFF:
            code = TraceErrorCode.TRUNCATED
        yield from self._broken_off(buffer, code)

    def _broken_off(self, buffer: ReadBuffer, code: TraceErrorCode) -> Iterator[list[Any]]:
        """The complete events at the end of a damaged file; then raises TraceError unless it is salvaged."""
        while (events := self._whole_events(buffer)) is not None:
            yield events
        yield self._last_whole(buffer)
        broken = buffer.offset
        total = self._size(buffer)
        at = f"event {self.events}, byte {broken}"
        if not self.salvage:
            raise TraceError(
                f"truncated or corrupt JSON at {at} of {total}; record the trace again, or read the events before it "
                "with --salvage",
                code,
                self.path,
            )
        why = f": {self.lost}" if self.lost else ""
        self.lost = f"everything from {at} on is lost ({total - broken} bytes without a complete event){why}"

    def _size(self, buffer: ReadBuffer) -> int:
        """The size of the file; when salvaging, of what can be read of it."""
        try:
            return buffer.skip_rest()
        except (OSError, Damaged, OverBudget) as error:
            if not self.salvage:
                raise
            self.lost = _reason(error)
            return buffer.offset + len(buffer)

    def _last_whole(self, buffer: ReadBuffer) -> list[Any]:
        """The complete events at the very end, with no other event after them."""
        text = buffer.text()
        end = 0
        for end in object_ends(text)[: parse_array(text, self._unsupported).whole].tolist()[-1:]:
            try:
                events = self._decoded(b"[" + text[:end] + b"]")
            except _Malformed:
                break
            buffer.skip(buffer.start + end)
            return events
        return []

    def _not_an_event(self, error: msgspec.ValidationError) -> TraceError:
        # msgspec names the event by its index in the block
        text = re.sub(r"`\$\[(\d+)\](.*?)`$", lambda m: f"event {self.events + int(m[1])}{m[2]}", str(error))
        return TraceError(f"JSON, but not a trace: {text}", TraceErrorCode.NOT_A_TRACE, self.path)


class _Malformed(Exception):
    """An array that is not JSON, from *byte* on if that is known; ``whole`` objects end before that."""

    def __init__(self, array: Bytes, byte: int | None) -> None:
        self.whole = len(object_ends(bytes(array[1 : -1 if byte is None else byte])))


class _ResultKeys(msgspec.Struct):
    """The keys by which a result of ttprof is recognised."""

    cases: msgspec.Raw
    run_dir: msgspec.Raw


def _is_result(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=_ResultKeys)
    except msgspec.DecodeError:
        return False
    return True


def _key(head: bytes) -> re.Match[bytes] | None:
    """The ``traceEvents`` key of the outermost object, not one of a nested object."""
    depth, start = 0, 0
    for key in islice(_KEY.finditer(head), MAX_KEYS):
        depth += depth_at_end(head[start : key.start()])
        start = key.start()
        if depth == 1:
            return key
    return None


def _last_boundary(buffer: ReadBuffer, events: int | None = None) -> re.Match[bytes] | None:
    """The end of the last complete event that another one follows, of the first *events* in the buffer."""
    for end in reversed(object_ends(buffer.text())[:events][-2:].tolist()):
        if (boundary := buffer.boundary(buffer.start + end - 1)) is not None:
            return boundary
    return None


def _reason(error: OSError | Damaged | OverBudget) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return error.problem if isinstance(error, Damaged) else error.reason
