"""Names and sentences as one can see them: text of the user's, of an exception or of a file enters; one line leaves.

A control character in a name would act where it is printed: an escape on a terminal, the end of a line in the log of a
CI system, which takes what follows for a command.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

import msgspec

_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What acts instead of being shown: control characters, ends of lines, turns of the direction; and half characters."""


_ASCII = {"≥": ">=", "≤": "<=", "…": "...", "·": "-", "→": "->", "µ": "u", "×": "x", "²": "^2", "³": "^3", "±": "+-"}


class Encodable:
    """A text stream that writes what its encoding lacks in ASCII, or as a question mark: printing never raises."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, with replacements for what the stream cannot encode."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = "".join(_encodable(character, encoding) for character in text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encodable(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _ASCII.get(character, "?")
    return character


def visible(text: str) -> str:
    """*text* in one line, with its control characters as escapes."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def make_visible(struct: msgspec.Struct, *fields: str) -> None:
    """Make fields of a new struct visible, whoever made or read it; each is a text or a list of them."""
    for field in fields:
        value = getattr(struct, field)
        shown = visible(value) if isinstance(value, str) else [visible(text) for text in value]
        msgspec.structs.force_setattr(struct, field, shown)
