"""The part of a JSON trace that was read but not yet decoded, in one reused buffer of bounded size."""

from __future__ import annotations

import re

from ttprof.system.budget import MIB, PART_BYTES, OverBudget
from ttprof.trace.formats.source import ByteSource

BLOCK = 1 << 19
"""Bytes read at a time. With larger blocks the decoded objects no longer fit in the CPU cache, which is slower."""

NEAR_BRACES = 64
"""Braces tried from the end of the buffer backwards: a long string of them would take forever."""

_BOUNDARY = re.compile(rb"\}\s*,\s*(?=\{)")


class ReadBuffer:
    """The part of a file that was read but not yet decoded: ``data[start:end]``; ``offset`` is its place in the file.

    ``at_end`` is true once a read gave nothing.
    """

    def __init__(self, source: ByteSource) -> None:
        self.data = bytearray(2 * BLOCK)
        self.start = self.end = 1  # one byte before the events is reserved for the bracket that opens an array
        self.offset = 0
        self.at_end = False
        self._source = source

    def __len__(self) -> int:
        return self.end - self.start

    def more(self) -> None:
        """Read another block; ``at_end`` becomes true if there is none.

        Raises:
            OSError, Damaged: as the source does.
            OverBudget: as the source does, or the content is longer than an event can be.
        """
        if len(self) > PART_BYTES:
            raise OverBudget(
                f"{PART_BYTES // MIB} MiB from byte {self.offset} on contain no complete event, more than any profiler "
                "writes between two; record the trace again"
            )
        if self.start > 1:
            self.data[1 : 1 + len(self)] = self.data[self.start : self.end]
            self.start, self.end = 1, 1 + len(self)
        if len(self.data) - self.end < BLOCK:  # a new buffer, because decoded rows may still point into the old one
            self.data = self.data + bytearray(max(BLOCK, len(self.data)))
        count = self._source.readinto(memoryview(self.data)[self.end : self.end + BLOCK])
        self.end += count
        self.at_end = not count

    def skip(self, start: int) -> None:
        """Drop everything before ``data[start]``."""
        self.offset += start - self.start
        self.start = start

    def skip_rest(self) -> int:
        """Read and drop the rest of the file; returns the offset of its end. Raises as ``more`` does."""
        while not self.at_end:
            self.skip(self.end)
            self.more()
        return self.offset + len(self)

    def text(self) -> bytes:
        """A copy of the content."""
        return bytes(memoryview(self.data)[self.start : self.end])

    def first_boundary(self, skipped: int) -> re.Match[bytes] | None:
        """The first ``}`` followed by a comma and another object, after the first *skipped* bytes."""
        return _BOUNDARY.search(self.data, self.start + max(0, skipped), self.end)

    def last_boundary(self) -> re.Match[bytes] | None:
        """The last ``}`` that is followed by a comma and another object, if it is one of the last braces."""
        stop = self.end
        for _ in range(NEAR_BRACES):
            brace = self.data.rfind(b"}", self.start, stop)
            if brace < 0:
                return None
            if (boundary := self.boundary(brace)) is not None:
                return boundary
            stop = brace
        return None

    def boundary(self, brace: int) -> re.Match[bytes] | None:
        """The ``}`` at ``data[brace]`` if it is followed by a comma and another object."""
        return _BOUNDARY.match(self.data, brace, self.end)

    def array(self, cut: int) -> memoryview:
        """The events up to *cut* in brackets, which overwrite the byte at *cut* and the one before the events."""
        self.data[self.start - 1] = ord("[")
        self.data[cut] = ord("]")
        return memoryview(self.data)[self.start - 1 : cut + 1]
