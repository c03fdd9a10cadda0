"""Makes text printable: escapes control characters, and replaces what a stream cannot encode.

Names and messages come from users, exceptions and files. Printed raw, an escape sequence would act on the terminal,
and a line break in a CI log could start a workflow command. Some CI systems execute commands in the middle of a line,
too (``##vso[...]``, ``##[error]``).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, TextIO, TypeVar, cast

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
V = TypeVar("V")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 control characters, line and paragraph separators, bidirectional overrides, and lone surrogates."""

_INLINE_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
"""The start of a command of GitHub Actions (``##[``), Azure Pipelines or TeamCity, which work anywhere in a line."""

_FIRST_COMMAND = re.compile(r"^(\s*)::")
_LINE_COMMAND = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*)::", re.MULTILINE)
"""The start of a command of GitHub Actions, which works at the start of a line, after spaces."""


_ASCII = {"≥": ">=", "≤": "<=", "…": "...", "·": "-", "→": "->", "µ": "u", "×": "x", "²": "^2", "³": "^3", "±": "+-"}


class Encodable:
    """A text stream to which printing never raises.

    What its encoding lacks is written in ASCII, or as a question mark. A stream that is missing, closed, full or no
    longer read takes no more text.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, with replacements for what the stream cannot encode."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = "".join(_encodable(character, encoding) for character in text)
        return self._try(lambda stream: stream.write(text), 0)

    def flush(self) -> None:
        """Flush the stream."""
        self._try(lambda stream: stream.flush(), None)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._try(lambda stream: stream.isatty(), False)

    def _try(self, use: Callable[[TextIO], V], otherwise: V) -> V:
        if self._stream is None:
            return otherwise
        try:
            return use(self._stream)
        except (OSError, ValueError):  # a closed stream raises ValueError
            self._stream = None
            return otherwise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class WithoutCommands:
    """A text stream for the log of GitHub Actions: no line of what is written starts a workflow command."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, with ``: :`` for a double colon at the start of a line."""
        return self._stream.write(_LINE_COMMAND.sub(r"\1: :", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encodable(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _ASCII.get(character, "?")
    return character


def visible(text: str) -> str:
    """Put *text* on one line, with control characters and commands of CI systems as Python's escapes."""
    text = _INLINE_COMMAND.sub(r"#\\x23", _FIRST_COMMAND.sub(r"\1\\x3a:", text))
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def visible_struct(struct: S) -> S:
    """A copy of *struct* in which every string, however deeply nested, is visible."""
    return mapped(struct, visible)


def mapped(struct: S, change: Callable[[str], str]) -> S:
    """A copy of *struct* in which every string, however deeply nested, was changed; keys of dicts too, but no enums."""
    return cast(S, _mapped(struct, change))


def make_visible(struct: msgspec.Struct, *fields: str) -> None:
    """Escape *fields* of a struct in place, for its ``__post_init__``; each holds a str or a list of them."""
    for field in fields:
        value = getattr(struct, field)
        escaped = visible(value) if isinstance(value, str) else [visible(text) for text in value]
        msgspec.structs.force_setattr(struct, field, escaped)


def _mapped(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, msgspec.Struct):
        fields = {name: _mapped(getattr(value, name), change) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, dict):
        return type(value)((_mapped(key, change), _mapped(item, change)) for key, item in value.items())
    if isinstance(value, list):
        is_numbers = {int, float}.issuperset(map(type, value))  # as the samples of a metric, which are many
        return value if is_numbers else [_mapped(item, change) for item in value]
    return tuple(_mapped(item, change) for item in value) if isinstance(value, tuple) else value
