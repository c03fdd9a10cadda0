"""Repairs the invalid JSON that profilers write, so that a strict decoder accepts it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ttprof.trace.formats.json_structure import without_escapes

_STRING_OR_NAN = re.compile(rb'"[^"]*"|-?\b(?:NaN|Infinity|nan|inf)\b')
_SURROGATES = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
_NAN_NEARBY = re.compile(rb"NaN|Inf|nan|inf")
_LONE_SURROGATE = len(rb"\ud800")
_SPACES = bytes.maketrans(bytes(range(32)), b" " * 32)

Bytes = bytes | memoryview


def sanitised(text: bytes) -> bytes:
    """JSON with control characters as spaces, NaN and Infinity as null, and lone surrogates as U+FFFD."""
    text = text.translate(_SPACES)
    if _NAN_NEARBY.search(text):
        text = b"null".join(_around_nans(text))
    text = _SURROGATES.sub(lambda match: b"\\ufffd" if len(match[0]) == _LONE_SURROGATE else match[0], text)
    return text.decode(errors="replace").encode()


def _around_nans(text: bytes) -> Iterator[bytes]:
    """The text before, between and after the NaNs that are not in a string."""
    start = 0
    for match in _STRING_OR_NAN.finditer(without_escapes(text)):
        if match[0][:1] != b'"':
            yield text[start : match.start()]
            start = match.end()
    yield text[start:]


def is_sanitisable(text: Bytes, byte: int | None) -> bool:
    """Whether a control character, a NaN or a lone surrogate made strict decoding stop at *byte*."""
    if byte is None:
        return False
    around = bytes(text[max(0, byte - 16) : byte + 16])
    if any(len(surrogates) == _LONE_SURROGATE for surrogates in _SURROGATES.findall(around)):
        return True
    return bytes(text[byte : byte + 1]) < b" " or _NAN_NEARBY.search(around) is not None
