"""Reads what the system counts of the process around timed iterations: around each, or around a batch of short ones.

A reading takes microseconds and leaves the caches to the kernel, which makes a call of a few microseconds slower.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ttprof.run.timers import TimerClock
from ttprof.system.cpu_time import Counts

SHORT_NS = 50_000
"""Wall time below which an iteration shares its readings with others."""

BATCH_NS = 500_000
"""Time after which a batch ends: long against a reading, short against the slices of time that the system gives."""


class CountSource(Protocol):
    """Reads the counts of this process."""

    def read(self) -> Counts:
        """The counts until now."""
        ...


class RareSource(Protocol):
    """Reads now and then, between batches, what takes longer to read."""

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next reading."""
        ...

    def read(self) -> object:
        """Read now."""
        ...


class SharedCounts(NamedTuple):
    """The counts of a number of iterations together, and of what lies between them."""

    counts: Counts
    iterations: int


class Batches:
    """Appends the counts of each iteration to a list of its call, once its batch has ended.

    An iteration is expected to be short if the last one of its call was. One that was not ends its batch, and one that
    is not expected to be short is alone in its own.
    """

    def __init__(self, source: CountSource, clock: TimerClock, rare: RareSource) -> None:
        self._source, self._clock, self._rare = source, clock, rare
        self._open: list[list[SharedCounts]] = []
        self._before: Counts | None = None
        self._began_ns = 0

    def begin(self, short: bool) -> None:
        """An iteration begins, which is expected to be *short*."""
        due = self._rare.is_due
        if not short or due:
            self.close()
        if due:
            self._rare.read()
        if not self._open:
            self._before = self._source.read()
            self._began_ns = self._clock.wall_ns()

    def end(self, counts: list[SharedCounts], short: bool, host_ns: int) -> None:
        """The iteration has ended after *host_ns*; its counts will be appended to *counts*."""
        self._open.append(counts)
        if not short or host_ns >= SHORT_NS or self._clock.wall_ns() - self._began_ns >= BATCH_NS:
            self.close()

    def close(self) -> None:
        """End the batch, if one is open."""
        if not self._open or self._before is None:
            return
        shared = SharedCounts(self._source.read().since(self._before), len(self._open))
        for counts in self._open:
            counts.append(shared)
        self._open.clear()
