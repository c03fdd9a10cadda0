"""Tells how much slower a time on a GPU may be because of its clock, or of other processes on it.

The rule: a time that would fail is INCONCLUSIVE only if it would not have failed without what was read of the GPU.

- **The clock** makes it slower by ``usual / clock`` at most. ``clock`` is the median of the readings, for a tail (p90,
  p99, max) the lowest. ``usual`` is the highest clock of the run. If heat, a hardware slowdown or a power brake kept
  the clock down, it is the highest that the GPU can have, because the whole run may have been throttled. A power cap
  and an idle GPU count only by the clock.
- **Other processes** that used a part u of the GPU make it slower by ``1 / (1 - u)`` at most: the GPU divides its time.

The two multiply. What is not known explains nothing, and neither does a clock less than 5 % below the usual one, or a
use below 2 %. A time that passes is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from ttprof.codes import Note, NoteCode
from ttprof.machine import GpuUse
from ttprof.metrics.metric import Statistic
from ttprof.observation import Timing
from ttprof.system.nvml import SLOWED
from ttprof.units import significant

LOWER = 1.05
"""The usual clock over the clock, from which that counts: clocks vary by a few percent on their own."""

QUIET = 0.02
"""The part of the GPU that others use of a quiet one."""

MOST = 0.95
"""The most of the GPU that is believed of others: this process used some of it, too."""

SLOWEST = 1000.0
"""The largest ratio of two clocks that is believed: a file may be damaged."""

TAILS: frozenset[Statistic] = frozenset({"p90", "p99", "max"})


def slowdown(use: GpuUse | None, statistic: str = "median") -> float:
    """How many times slower than usual the GPU may have been; 1 if nothing slowed it, or if that is not known."""
    return 1.0 if use is None else _by_clock(use, statistic in TAILS) * _by_others(use)


def _by_clock(use: GpuUse, tail: bool) -> float:
    usual, clock = _usual(use), _clock(use, tail)
    if usual is None or clock is None or clock <= 0:
        return 1.0
    return min(SLOWEST, usual / clock) if usual >= LOWER * clock else 1.0


def _clock(use: GpuUse, tail: bool) -> float | None:
    return None if use.sm is None else use.sm.lowest if tail else use.sm.median


def _usual(use: GpuUse) -> float | None:
    highest = use.run_sm_mhz
    if _held_down(use) and use.max_sm_mhz is not None:
        return max(use.max_sm_mhz, highest or 0.0)
    return highest


def _held_down(use: GpuUse) -> list[str]:
    return [reason.text for reason in use.throttled or [] if reason in SLOWED]


def _by_others(use: GpuUse) -> float:
    return 1 / (1 - min(use.others, MOST)) if use.others is not None and use.others >= QUIET else 1.0


def clause(use: GpuUse, statistic: str = "median") -> str:
    """A clause on what slowed the GPU; empty if nothing did."""
    parts = []
    tail = statistic in TAILS
    usual, clock = _usual(use), _clock(use, tail)
    if usual is not None and clock is not None and _by_clock(use, tail) > 1:
        where = "it can have" if _held_down(use) and usual == use.max_sm_mhz else "it had in this run"
        parts.append(f"the GPU's clock was {clock:.0f} MHz, and {usual:.0f} MHz is the highest {where}")
    if held := _held_down(use):
        heat = f" at {use.temperature_c:.0f} °C" if use.temperature_c is not None else ""
        parts.append(f"the GPU was slowed by {', '.join(held)}{heat}")
    if _by_others(use) > 1:
        parts.append(f"other processes used {significant(round(100 * min(1.0, use.others or 0.0)))} % of the GPU")
    return ", ".join(parts)


def notes(timing: Timing | None) -> list[Note]:
    """A note if something slowed the GPU, or may have: other processes whose use is not known."""
    use = timing.gpu if timing is not None else None
    if use is None:
        return []
    text = clause(use)
    if use.others is None and use.other_processes:
        count = f"{use.other_processes} other process{'es have' if use.other_processes > 1 else ' has'}"
        unknown = f"{count} work on the GPU, and how much is not known"
        text = f"{text}, {unknown}" if text else unknown
    return [Note(NoteCode.GPU_CONDITIONS, f"while it was timed, {text}")] if text else []


def highest_clock(timings: Iterable[Timing | None]) -> float | None:
    """The highest clock of the multiprocessors in all timings of a run, in MHz."""
    uses = [timing.gpu for timing in timings if timing is not None and timing.gpu is not None]
    return max((use.sm.highest for use in uses if use.sm is not None), default=None)


def beside(timing: Timing | None, highest: float | None) -> Timing | None:
    """A timing that knows the highest clock of its run."""
    if timing is None or timing.gpu is None:
        return timing
    return replace(timing, gpu=msgspec.structs.replace(timing.gpu, run_sm_mhz=highest))
