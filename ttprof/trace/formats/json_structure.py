"""Where the objects of a JSON array end, without decoding them: brackets outside strings, counted in numpy.

A decoder says where it stopped, but not where the last whole object before that ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ttprof.trace.events import Int

CHUNK = 1 << 20
"""Bytes looked at a time; the arrays for them take a dozen times as much."""

_QUOTE, _CLOSING = ord('"'), ord("}")
_DEPTH = np.zeros(256, dtype=np.int32)
_DEPTH[[ord("["), ord("{")]] = 1
_DEPTH[[ord("]"), ord("}")]] = -1


def object_ends(text: bytes) -> Int:
    """The positions after each outermost ``}`` of *text*, the inside of an array (which may go on after it)."""
    parts = [np.zeros(0, dtype=np.int64)]
    for first, depth, codes in _depths(text):
        parts.append(np.flatnonzero((codes == _CLOSING) & (depth == 0)) + first + 1)
    return np.concatenate(parts)


def depth_at_end(text: bytes) -> int:
    """How many brackets are open after *text*, which starts outside a string."""
    open_brackets = 0
    for _, depth, _ in _depths(text):
        open_brackets = int(depth[-1])
    return open_brackets


def _depths(text: bytes) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.uint8]]]:
    """Chunks of *text*: the position of the first byte, the open brackets after each byte, and the bytes.

    Bytes in strings count as spaces.
    """
    plain = np.frombuffer(without_escapes(text), dtype=np.uint8)
    quotes, open_brackets = 0, 0
    for first in range(0, len(plain), CHUNK):
        chunk = plain[first : first + CHUNK]
        number = np.cumsum(chunk == _QUOTE, dtype=np.int32)
        outside = (number + quotes) & 1 == 0
        depth = np.cumsum(_DEPTH[chunk] * outside, dtype=np.int32) + open_brackets
        yield first, depth, np.where(outside, chunk, ord(" "))
        quotes, open_brackets = quotes + int(number[-1]), int(depth[-1])


def without_escapes(text: bytes) -> bytes:
    """JSON text of the same length in which every quote begins or ends a string."""
    return text.replace(rb"\\", b"  ").replace(rb"\"", b"  ") if b"\\" in text else text
