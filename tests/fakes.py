"""A clock that a test advances, a timer on it, a machine of its own, and a collector that writes a given trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import kineto_files
import torch

from ttprof.engine import suite_passes
from ttprof.observation import Recording
from ttprof.run import loop
from ttprof.run.base import Workload
from ttprof.run.timers import Sample
from ttprof.spec import Schedule
from ttprof.system.cpu_time import Counts


class IdleCounter:
    """Counts nothing, as on a machine that runs nothing else."""

    def follow(self) -> None:
        pass

    def close(self) -> None:
        pass

    def read(self) -> Counts:
        return Counts(0, 0, 0, 0)


class NoYardstick:
    """Takes no time."""

    def __init__(self, device: torch.device) -> None:
        pass

    def read(self) -> dict[str, int]:
        return {}

    def glance(self) -> dict[str, int]:
        return {}


@contextmanager
def quiet_machine() -> Iterator[None]:
    """A machine that nothing disturbs or slows, whatever runs beside the tests."""
    with (
        mock.patch.object(loop, "ProcessCounter", IdleCounter),
        mock.patch.object(loop, "machine_counts", lambda: None),
        mock.patch.object(suite_passes, "Yardstick", NoYardstick),
    ):
        yield


class FakeClock:
    """Stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 0

    def wall_ns(self) -> int:
        return self.now

    def thread_ns(self) -> int:
        return self.now


class FakeTimer:
    """Makes every call take the next of the given durations; the last one repeats."""

    def __init__(self, durations_ns: Iterable[int]) -> None:
        self.clock = FakeClock()
        self._durations: Iterator[int] = iter(durations_ns)
        self._last = 0

    def measure(self, call: Callable[[], Any]) -> Sample:
        self._last = next(self._durations, self._last)
        call()
        self.clock.now += self._last
        return Sample(self._last, self._last, self._last)


class FakeCollector:
    """Runs the workload as the schedule says, and writes the given events as its trace."""

    def __init__(self, events: list[dict[str, Any]], recorded: int) -> None:
        self._events, self._recorded = events, recorded
        self.calls = 0

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        for _ in range(schedule.warmup + schedule.recorded):
            workload.call()
            self.calls += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        return Recording(kineto_files.write(path, self._events), recorded=self._recorded)
