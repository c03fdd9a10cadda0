"""More of what a scaling is judged on while its verdict is open: the rounds doubled once, then the largest size once.

The first rounds and two ways to measure more enter; rounds leave that tell what was added, or why it was not. Both
steps are bounded: a larger size has to fit into the time of its case, and with room to spare into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.judge import verdicts
from ttprof.judge.verdicts import Rounds
from ttprof.result import Status
from ttprof.spec import CaseSpec
from ttprof.system.process import peak_memory, spare_memory
from ttprof.units import format_bytes, format_ns

CALLS = 8
"""A larger size is tried when so many iterations of it fit into ``seconds_per_case``."""

ROOM = 4
"""A larger size is tried when so many times the memory that was ever in use is free: the square of a doubled size."""


@dataclass(frozen=True)
class More:
    """How to measure every size once *again*, and one *beyond* the largest, of which an iteration takes *slowest_ns*.

    What is counted is not measured again (None): it would be the same.
    """

    again: Callable[[], Mapping[int, np.ndarray | None]] | None
    beyond: Callable[[int], np.ndarray | None]
    slowest_ns: float


def is_open(case: CaseSpec, device: torch.device, rounds: Rounds) -> bool:
    """Whether the verdict on a scaling is INCONCLUSIVE as yet."""
    return any(v.status is Status.INCONCLUSIVE for v in verdicts.judge_scaling(case, device.type, rounds)[1])


def extended(case: CaseSpec, device: torch.device, seconds: float, first: Rounds, more: More) -> Rounds:
    """The rounds with as much added as decides the verdict, or as is allowed; a schedule that the user fixed stays."""
    if case.schedule.exact or not is_open(case, device, first):
        return first
    doubled = first if more.again is None else _doubled(first, more.again())
    if not is_open(case, device, doubled):
        return doubled
    size = 2 * max(doubled.by_size)
    larger, why = None, _too_much(case, device, seconds, more.slowest_ns)
    if why is None:
        try:
            with user_code("it"):
                larger = more.beyond(size)
        except (InputsError, ModuleRaised) as error:
            why = str(error)
    if larger is None:
        told = f"not extended to {size}: {why or 'it was not measured there'}"
        return replace(doubled, extended=(*doubled.extended, told))
    by_size = {**doubled.by_size, size: larger}
    return replace(doubled, by_size=by_size, extended=(*doubled.extended, f"extended to {size}"))


def _doubled(first: Rounds, again: Mapping[int, np.ndarray | None]) -> Rounds:
    joined = {size: _joined(one, again[size]) for size, one in first.by_size.items()}
    count = min((len(samples) for samples in joined.values() if samples is not None), default=0)
    return replace(first, by_size=joined, extended=(*first.extended, f"rounds doubled to {count}"))


def _joined(one: np.ndarray | None, two: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or two is None else np.concatenate((one, two))


def _too_much(case: CaseSpec, device: torch.device, seconds: float, slowest_ns: float) -> str | None:
    """Why twice the largest size is not tried, or None when it may be."""
    exponent = max(2.0, case.scaling.law.exponent if case.scaling else 0.0)
    expected_ns = slowest_ns * 2**exponent
    if CALLS * expected_ns > seconds * 1e9:
        return f"an iteration may take {format_ns(expected_ns)} there, and seconds_per_case is {seconds:g}"
    spare, used = _memory(device)
    if spare is None:
        return "this system does not say how much memory is free"
    return f"only {format_bytes(spare)} of memory are free" if spare < ROOM * used else None


def _memory(device: torch.device) -> tuple[int | None, int]:
    """The bytes that are free on a device (None if unknown), and the most that were ever in use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0], torch.cuda.max_memory_allocated(device)
    return spare_memory(), peak_memory()
