"""A fixed workload that is timed between the cases: it tells when the machine is slower than at other times.

What slows it is not on record elsewhere: a lower clock, a shared cache, memory bandwidth or core that something else
uses. It is never used to correct a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ttprof.plan.process_state import threads
from ttprof.run.timers import timer_for

REPEATS = 9
"""Repeats of each part, of which the fastest counts: only what slows all of them is a slower machine."""

LOOP = 2000
SIDE = 192
COPIED_BYTES = 4 * 2**20
DEVICE_SIDE = 1024


class Yardstick:
    """Parts of a workload on *device* and its host; ``read`` times each, in ns, which takes some 5 ms."""

    def __init__(self, device: torch.device) -> None:
        matrix, out = torch.ones(SIDE, SIDE), torch.empty(SIDE, SIDE)
        source = torch.zeros(COPIED_BYTES // 4)
        target = torch.empty_like(source)
        self._parts: dict[str, Callable[[], object]] = {
            "python": _loop,
            "matmul": lambda: torch.mm(matrix, matrix, out=out),
            "copy": lambda: target.copy_(source),
        }
        self._device = device
        if device.type != "cpu":
            large = torch.ones(DEVICE_SIDE, DEVICE_SIDE, device=device)
            result = torch.empty_like(large)
            self._parts["device"] = lambda: torch.mm(large, large, out=result)

    def read(self) -> dict[str, int]:
        """The fastest time of each part now, in ns."""
        timer = timer_for(self._device)

        def timed(name: str) -> int:
            if name == "device":
                return timer.measure(self._parts[name]).latency_ns
            begin = time.perf_counter_ns()
            self._parts[name]()
            return time.perf_counter_ns() - begin

        with torch.no_grad(), threads(1):  # several wait for each other on a busy machine
            return {name: int(min(timed(name) for _ in range(REPEATS))) for name in self._parts}


def _loop() -> int:
    total = 0
    for number in range(LOOP):
        total += number
    return total
