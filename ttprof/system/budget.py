"""What a reader may spend on one file, in proportion to the file's size: unpacked bytes, rows, texts and CPU time.

A damaged or hostile file can ask for far more than its size suggests. Every reader takes its bounds from here, so that
they are stated once (docs/analyze.md lists them).
"""

from __future__ import annotations

import time
from collections.abc import Callable

KIB, MIB = 1 << 10, 1 << 20

FREE_BYTES = 32 * MIB
"""Compressed data may unpack to this much: a short, repetitive recording compresses up to a thousandfold."""

RATIO = 128
"""And to this many times the compressed bytes. Traces of real models compress 10 to 30 times, monotonous ones 100."""

FREE_MEMBERS = 1000
MEMBER_BYTES = KIB
"""A gzip file may have this many members, plus one per KiB: bgzip writes one per 64 KiB of content."""

PART_BYTES = 16 * MIB
"""The most JSON without a complete event: one event, or everything before the first or after the last."""

WHOLE_BYTES = 256 * MIB
"""The largest result or baseline, which are read as a whole."""

FREE_SAMPLE_BYTES = 64 * MIB
"""The samples of a baseline may unpack to this much, and to ``RATIO`` times the size of the file."""

FREE_TEXT_BYTES = 16 * MIB
TEXT_RATIO = 16
"""All texts read from an SQLite file together: its names are read up to four times, and an item is never larger."""

ROW_BYTES = 4
"""The least that a row of an SQLite table takes in its file: two varints, and an entry of the page's index."""

STEP_BYTES = 50
FREE_STEPS = 10_000_000
"""Instructions of SQLite's virtual machine per byte of the file, and for any file. A row of 60 bytes takes 30."""

MOST_DEVICES = 4096
"""Devices, and streams of one device, in a trace: each is analysed on its own, whatever it did."""

FREE_SECONDS = 30.0
SECONDS_PER_MIB = 2.0
"""CPU time for any file, and per MiB. Real files take less than a tenth; this ends what no other bound foresaw."""


class OverBudget(Exception):
    """A file that asks for more than its size allows; ``reason`` says of what, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Budget:
    """Counts what reading a file of *size* bytes has cost. Every method raises OverBudget at its bound."""

    def __init__(self, size: int, clock: Callable[[], float] = time.thread_time) -> None:
        self.size = size
        self._clock = clock
        self._deadline = clock() + FREE_SECONDS + SECONDS_PER_MIB * size / MIB
        self._unpacked = self._members = self._rows = self._texts = self._steps = self._samples = 0

    def unpack(self, count: int, packed: int) -> None:
        """Count bytes that were decompressed, from the first *packed* bytes of the file."""
        self._unpacked += count
        if self._unpacked > FREE_BYTES + RATIO * packed:
            raise OverBudget(
                f"its first {packed} bytes unpack to {self._unpacked}, more than {RATIO} times as much, which no "
                "recording does; if you trust the file, unpack it with gunzip and read that"
            )
        self.check_time()

    def member(self) -> None:
        """Count a gzip member."""
        self._members += 1
        limit = FREE_MEMBERS + self.size // MEMBER_BYTES
        if self._members > limit:
            raise OverBudget(
                f"it has more than {limit} gzip members; if you trust the file, unpack it with gunzip and read that"
            )

    def samples(self, count: int) -> None:
        """Count bytes of samples that were decompressed."""
        self._samples += count
        limit = FREE_SAMPLE_BYTES + RATIO * self.size
        if self._samples > limit:
            raise OverBudget(f"they unpack to more than {limit} bytes; save the baseline again from its result")
        self.check_time()

    @property
    def samples_left(self) -> int:
        """The bytes that samples may still unpack to."""
        return max(0, FREE_SAMPLE_BYTES + RATIO * self.size - self._samples)

    def rows(self, count: int) -> None:
        """Count rows of one query; a table has no more of them than the file has room for."""
        limit = self.size // ROW_BYTES
        if count > limit:
            raise OverBudget(
                f"a table has more than {limit} rows, too many for a file of {self.size} bytes; the export is damaged: "
                "export it again"
            )

    def text(self, count: int) -> None:
        """Count bytes of text."""
        self._texts += count
        limit = FREE_TEXT_BYTES + TEXT_RATIO * self.size
        if self._texts > limit:
            raise OverBudget(
                f"its texts have more than {limit} bytes, too many for a file of {self.size} bytes; the export is "
                "damaged: export it again"
            )

    def steps(self, count: int) -> None:
        """Count instructions of SQLite."""
        self._steps += count
        limit = FREE_STEPS + STEP_BYTES * self.size
        if self._steps > limit:
            raise OverBudget(
                f"reading its tables takes more than {limit} steps, too many for a file of {self.size} bytes; the "
                "export is damaged: export it again"
            )
        self.check_time()

    def check_time(self) -> None:
        """Check the CPU time of this thread."""
        if self._clock() > self._deadline:
            seconds = FREE_SECONDS + SECONDS_PER_MIB * self.size / MIB
            raise OverBudget(f"reading it took more than {seconds:.0f} s of CPU time, too long for {self.size} bytes")
