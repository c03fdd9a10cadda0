"""What a scrub removed and kept, in words and counts, never the removed text itself."""

from __future__ import annotations

from collections import Counter

import msgspec

from ttprof.trace.scrub.names import Names


class Count(msgspec.Struct, frozen=True):
    """How many of one kind were removed or kept."""

    what: str
    count: int


class Scrubbed(msgspec.Struct, frozen=True):
    """The outcome of a scrub: the two files, ``format`` ("kineto" or "nsys"), what was removed and what was kept.

    ``rows`` is the number of rows in the copy. Every count of replaced text is of distinct texts.
    """

    source: str
    target: str
    format: str
    rows: int
    removed: list[Count]
    kept: list[Count]


class Tally:
    """Counts, while a trace is copied, what was left out and which names were kept."""

    def __init__(self) -> None:
        self.rows = 0
        self.removed: Counter[str] = Counter()
        self._kept: dict[str, set[str]] = {}

    def keep(self, what: str, name: str) -> None:
        """Note a kept name of some kind."""
        self._kept.setdefault(what, set()).add(name)

    def outcome(self, source: str, target: str, trace_format: str, names: Names) -> Scrubbed:
        """The counts, with those of the texts that *names* replaced inside kept names."""
        removed = [Count(what, count) for what, count in self.removed.items() if count]
        replaced = [Count(f"{kind} in kept names", count) for kind, count in names.replaced.items()]
        kept = [Count(what, len(kept)) for what, kept in self._kept.items()]
        return Scrubbed(source, target, trace_format, self.rows, removed + replaced, kept)
