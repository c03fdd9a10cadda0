"""The phases of a case: announced as they begin, and their seconds added up. Must not import torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Phases:
    """Announces the phases of a case and adds up the seconds of each; ``current`` is the last one announced."""

    on_phase: Callable[[str], None] = lambda phase: None
    seconds: dict[str, float] = field(default_factory=dict)
    current: str = ""

    def announce(self, phase: str) -> None:
        """Announce a phase, or a part of one that is not timed apart."""
        self.current = phase
        self.on_phase(phase)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Put the case in *phase* within the context."""
        self.announce(phase)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(phase, time.perf_counter() - start)

    def split(self, whole: str, part: str, seconds: float) -> None:
        """Move *seconds* of the phase *whole* to a separate phase *part*."""
        self._add(whole, -seconds)
        self._add(part, seconds)

    def _add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
