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
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)

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

CALLS = 8
"""Calls of four small operators: the work of torch's dispatcher, which misses the caches of instructions.

What shares a core slows it most. Measured beside a busy hyperthread: 1.5 to 1.7 times as the layer norms and small
linear layers beside it, a Python loop 1.4 to 1.6, a matrix product 1.2 times.
"""

COPIED_BYTES = 4 * 2**20
DEVICE_BYTES = 16 * 2**20


class Yardstick:
    """Parts of a workload on *device* and its host; ``read`` times each, in ns, which takes some 20 ms.

    All run on one thread, but ``threads`` on as many as torch uses, if these are several.

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
        small, vector = torch.ones(8, 8, **plain), torch.ones(8, **plain)
        self._device = device
        self._multiply: Callable[[], object] = lambda: _multiply(rows, weights, product)
        self._parts: dict[str, Callable[[], object]] = {
            "python": _loop,
            "dispatch": lambda: _dispatch(small, vector),
            "matmul": lambda: torch.mm(matrix, matrix, out=out),
            "copy": lambda: target.copy_(source),
            "weights": self._multiply,
        }

    def glance(self) -> dict[str, int]:
        """The time of one repeat of each part on the host, in ns, which takes some 2 ms."""
        return self._on_host(_timed)

    def read(self) -> dict[str, int]:
        """The time of each part now, in ns."""
        reading = self._on_host(lambda part: _typical(_timed(part) for _ in range(REPEATS)))
        if self._device.type != "cpu":
            with suppress(RuntimeError), _plainly():  # a module may have broken the device: its case and others say so
                reading["device"] = self._on_device()
        return reading

    def _on_host(self, timed: Callable[[Callable[[], object]], int]) -> dict[str, int]:
        with _plainly():
            with threads(1):
                times = {name: timed(part) for name, part in self._parts.items()}
            if torch.get_num_threads() > 1:
                times["threads"] = timed(self._multiply)
        return times

    def _on_device(self) -> int:
        timer = timer_for(self._device)
        block = torch.zeros(DEVICE_BYTES // 4, dtype=torch.float32, device=self._device)
        return _typical(timer.measure(lambda: block.add_(1.0)).latency_ns for _ in range(REPEATS))


@contextmanager
def _plainly() -> Iterator[None]:
    """Whatever the script has set."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield


def _typical(times: Iterable[int]) -> int:
    """The time that counts."""
    return sorted(times)[COUNTS]


def _multiply(rows: torch.Tensor, weights: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    for weight in weights:
        torch.mm(rows, weight, out=out)


def _dispatch(matrix: torch.Tensor, vector: torch.Tensor) -> None:
    for _ in range(CALLS):
        F.layer_norm(matrix, (8,), vector, vector)
        F.linear(matrix, matrix, vector)
        torch.softmax(matrix, -1)
        torch.add(matrix, matrix)


def _timed(part: Callable[[], object]) -> int:
    begin = time.perf_counter_ns()
    part()
    return time.perf_counter_ns() - begin


def _loop() -> int:
    total = 0
    for number in range(LOOP):
        total += number
    return total
