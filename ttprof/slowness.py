"""How much slower a machine was than at another time, by the times of the yardstick's parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

SLOWER = 1.08
"""The ratio from which a part of the yardstick is slower. On an idle machine that others share, its parts differ less
from process to process: their quartiles by 2 to 6 %."""

THREADS = "threads"
"""The part of the yardstick that runs on all threads of torch."""


def slowdown(readings: Iterable[Mapping[str, float]], fastest: Mapping[str, float]) -> float:
    """How many times slower than at its fastest a machine may have made a module in one of the readings; at least 1."""
    return max([1.0, *(agreed_slowdown(reading, fastest) for reading in readings)])


def agreed_slowdown(reading: Mapping[str, float], before: Mapping[str, float]) -> float:
    """How many times slower than *before* a machine may have made a module; at least 1.

    That is what two parts of the yardstick agree on, since a single one is slower now and then where no module is. If
    all but two are slower, all of the machine is, and some modules suffer as much as the slowest part: beside a busy
    hardware thread, calls of small operators take 1.7 times as long, and a matrix product 1.2 times. The part on
    several threads counts alone: it is the only one that waits for another CPU.

    Measured on a virtual machine that others share, 30 processes each with one and two threads, eight modules,
    baselines of five processes and up to three looks, 1,104 comparisons of the same code for each number of threads: no
    false alarm with one thread, 0.3 % with two; by the second largest ratio without the parts ``dispatch`` and
    ``threads`` 0.1 and 2.0 %.
    """
    ratios = _ratios(reading, before)
    if not ratios:
        return 1.0
    everywhere = len(ratios) > 3 and ratios[-3] >= SLOWER
    agreed = ratios[-1] if everywhere or len(ratios) == 1 else ratios[-2]
    on_threads = reading[THREADS] / before[THREADS] if reading.get(THREADS) and before.get(THREADS) else 1.0
    return max(1.0, agreed, on_threads)


def least_slowdown(reading: Mapping[str, float], before: Mapping[str, float]) -> float:
    """How many times slower than *before* a machine was by all parts of the yardstick but one; at least 1.

    It is 1 for differences that machines always have, and with fewer than three parts.
    """
    ratios = _ratios(reading, before)
    return ratios[1] if len(ratios) > 2 and ratios[1] >= SLOWER else 1.0


def fastest_parts(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The time of each part of the yardstick when the machine was fast: the median of the faster half of the readings.

    The fastest reading alone is an outlier now and then (measured: 10 % in 1 of 30), which would slow all the others.
    """
    parts: dict[str, list[float]] = {}
    for reading in readings:
        for part, time in reading.items():
            parts.setdefault(part, []).append(time)
    return {part: float(np.median(sorted(times)[: (len(times) + 1) // 2])) for part, times in parts.items()}


def _ratios(reading: Mapping[str, float], before: Mapping[str, float]) -> list[float]:
    return sorted(time / before[part] for part, time in reading.items() if before.get(part))
