"""Makes untrusted text printable: control characters in names and messages become escape sequences.

A control character in a name acts where it is printed: an escape sequence on a terminal, or a line break in a CI log,
where the next line is then read as a command.
"""

from __future__ import annotations

import enum
import re
from typing import TypeVar, cast

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line breaks, changes of text direction, and unpaired surrogates."""


def visible(text: str) -> str:
    """*text* on one line, with its control characters escaped."""
    return _ACTING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def visible_struct(struct: S) -> S:
    """A copy of *struct* in which every string, however deeply nested, is visible."""
    return cast(S, _visible(struct))


def make_visible(struct: msgspec.Struct, *fields: str) -> None:
    """Make the named fields of a new struct, each a string or a list of strings, visible in place."""
    for field in fields:
        value = getattr(struct, field)
        shown = visible(value) if isinstance(value, str) else [visible(text) for text in value]
        msgspec.structs.force_setattr(struct, field, shown)


def _visible(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, msgspec.Struct):
        fields = {name: _visible(getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return tuple(_visible(item) for item in value) if isinstance(value, tuple) else value
