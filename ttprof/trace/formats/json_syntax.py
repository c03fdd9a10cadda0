"""Checks JSON without building its values: whether it is valid, cut off or damaged, and where an array ends."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.trace.formats.json_structure import object_ends
from ttprof.trace.formats.lenient_json import is_sanitisable, sanitised

_BYTE = re.compile(r"\(byte (\d+)\)$")  # where msgspec stopped: its exceptions state the position only in the message
_CUT_OFF = "truncated"  # how msgspec says that its input ends too early,
_MORE = "trailing characters"  # and that something follows a complete value

_skip = msgspec.json.Decoder(msgspec.Raw).decode
"""Walks over one value and allocates nothing for it."""


class Ending(enum.Enum):
    """How the text of an array ends."""

    CLOSED = enum.auto()
    """The array is complete; other JSON may follow."""
    CUT_OFF = enum.auto()
    """Valid as far as it goes."""
    DAMAGED = enum.auto()
    """Not JSON."""


@dataclass(frozen=True)
class ArrayText:
    """The text of an array, sanitised if it has to be: ``text[:end]`` is valid as far as it goes."""

    ending: Ending
    text: bytes
    end: int

    @property
    def array(self) -> bytes:
        """The array, if it is closed."""
        return self.text[: self.end]

    @property
    def rest(self) -> bytes:
        """The text after the array, if it is closed."""
        return self.text[self.end :]

    @property
    def whole(self) -> int:
        """The number of complete objects in the array."""
        return len(object_ends(self.text[1 : self.end]))


def parse_array(inside: bytes, too_deep: Callable[[], Exception]) -> ArrayText:
    """Find the end of an array whose text after its opening bracket begins with *inside*.

    Raises:
        Exception: what *too_deep* returns, if values are nested too deeply to be read.
    """
    text = b"[" + inside
    try:
        error = _problem(text)
        if error is not None and is_sanitisable(text, position(error)):
            text = sanitised(text)
            error = _problem(text)
    except RecursionError as deep:
        raise too_deep() from deep
    if error is None:
        return ArrayText(Ending.CLOSED, text, len(text))
    byte, words = position(error), str(error)
    if byte is not None and _MORE in words:
        return ArrayText(Ending.CLOSED, text, byte - 1)
    if byte is None and _CUT_OFF in words:
        return ArrayText(Ending.CUT_OFF, text, len(text))
    return ArrayText(Ending.DAMAGED, text, byte or 0)


def damage(text: bytes) -> tuple[str | None, TraceErrorCode]:
    """The problem of JSON that can't be decoded, None if there is none, and its code.

    TRUNCATED is JSON that is valid as far as it goes (and so is JSON without a problem, when its end is missing);
    CORRUPT is any other.
    """
    try:
        error = _problem(sanitised(text))
    except RecursionError as deep:
        return str(deep), TraceErrorCode.CORRUPT
    if error is None:
        return None, TraceErrorCode.TRUNCATED
    words = str(error)  # msgspec has no error codes
    return words, TraceErrorCode.TRUNCATED if _CUT_OFF in words else TraceErrorCode.CORRUPT


def is_json(text: bytes) -> bool:
    """Whether a strict decoder accepts *text*."""
    try:
        return _problem(text) is None
    except RecursionError:
        return False


def position(error: Exception) -> int | None:
    """The byte at which decoding stopped, if the error states it."""
    stated = _BYTE.search(str(error))
    return int(stated[1]) if stated else None


def as_object(rest: bytes) -> bytes:
    """The JSON after the array as an object: ``, "a": 1}`` becomes ``{"a": 1}``."""
    rest = rest.strip()
    return b"{" + rest.removeprefix(b",") if rest else b"{}"


def _problem(text: bytes) -> msgspec.DecodeError | None:
    try:
        _skip(text)
    except msgspec.DecodeError as error:
        return error
    return None
