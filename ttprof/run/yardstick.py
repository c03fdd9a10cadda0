"""A fixed workload that is timed between the cases: it tells when the machine is slower than at other times.

What slows it is not on record elsewhere: a lower clock, a shared cache, memory bandwidth or core that something else
uses. It is never used to correct a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from ttprof.plan.process_state import threads
from ttprof.run.timers import timer_for

REPEATS = 9
"""Repeats of each part."""

COUNTS = 2
"""The repeat that counts, from the fastest on: their lower quartile. Only what slows most of them slows the machine."""

LOOP = 2000
SIDE = 192
WEIGHTS, WIDTH, ROWS = 16, 256, 64
"""Matrices, of 4 MiB in all, and what is multiplied with them.

They leave the cache of one core, so that they feel what else uses the cache that all cores share. Measured with one
thread in 34 processes on a virtual machine that others share: the times of twenty linear layers correlate with this
part by 0.85, and by 0.70 with a product that stays in the cache of one core.
"""

COPIED_BYTES = 4 * 2**20
DEVICE_BYTES = 16 * 2**20


class Yardstick:
    """Parts of a workload on *device* and its host; ``read`` times each, in ns, which takes some 20 ms.

    Nothing of it stays allocated on the device, and it needs no workspace there, so that the peaks of the cases are
    their own.
    """

    def __init__(self, device: torch.device) -> None:
        plain: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever defaults the script has set
        matrix, out = torch.ones(SIDE, SIDE, **plain), torch.empty(SIDE, SIDE, **plain)
        source = torch.zeros(COPIED_BYTES // 4, **plain)
        target = torch.empty_like(source)
        weights = [torch.ones(WIDTH, WIDTH, **plain) for _ in range(WEIGHTS)]
        rows, product = torch.ones(ROWS, WIDTH, **plain), torch.empty(ROWS, WIDTH, **plain)
        self._device = device
        self._parts: dict[str, Callable[[], object]] = {
            "python": _loop,
            "matmul": lambda: torch.mm(matrix, matrix, out=out),
            "copy": lambda: target.copy_(source),
            "weights": lambda: _multiply(rows, weights, product),
        }

    def glance(self) -> dict[str, int]:
        """The time of one repeat of each part on the host, in ns, which takes some 2 ms."""
        with _alone():
            return {name: _timed(part) for name, part in self._parts.items()}

    def read(self) -> dict[str, int]:
        """The time of each part now, in ns."""
        with _alone():
            reading = {name: _typical(_timed(part) for _ in range(REPEATS)) for name, part in self._parts.items()}
            if self._device.type != "cpu":
                with suppress(RuntimeError):  # a device that a module has broken: its case says so, and the next ones
                    reading["device"] = self._on_device()
        return reading

    def _on_device(self) -> int:
        timer = timer_for(self._device)
        block = torch.zeros(DEVICE_BYTES // 4, dtype=torch.float32, device=self._device)
        return _typical(timer.measure(lambda: block.add_(1.0)).latency_ns for _ in range(REPEATS))


@contextmanager
def _alone() -> Iterator[None]:
    """On one thread: several wait for each other on a busy machine."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False), threads(1):
        yield


def _typical(times: Iterable[int]) -> int:
    """The time that counts."""
    return sorted(times)[COUNTS]


def _multiply(rows: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    for weight in weights:
        torch.mm(rows, weight, out=out)


def _timed(part: Callable[[], object]) -> int:
    begin = time.perf_counter_ns()
    part()
    return time.perf_counter_ns() - begin


def _loop() -> int:
    total = 0
    for number in range(LOOP):
        total += number
    return total
