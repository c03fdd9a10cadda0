"""One recorded iteration: a workload enters, a range around its call and what the allocator reported leave.

After each iteration a canary allocates and fills one tensor on the device, outside the iteration: a trace in which not
even the canaries left an event did not record what it should have, and measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch

from ttprof.run.base import Workload
from ttprof.trace.events import Int
from ttprof.trace.iterations import ITERATION

Ranged = Callable[[str], AbstractContextManager[object]]
"""Makes a context that shows in the recording under a name."""


class Peaks(NamedTuple):
    """What torch's caching allocator reports of one iteration, in bytes; zeros where there is no such allocator."""

    allocated: int = 0
    reserved: int = 0
    added: int = 0


def iterate(workload: Workload, number: int, ranged: Ranged) -> Peaks:
    """One iteration inside its range, finished on the device before the range ends; then the canary."""
    device = workload.device
    on_cuda = device.type == "cuda"
    allocated_before = 0
    if workload.before is not None:
        workload.before()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
        allocated_before = torch.cuda.memory_allocated(device)
    with ranged(f"{ITERATION}{number}"):
        workload.call()
        if on_cuda:
            torch.cuda.synchronize(device)
    peaks = Peaks()
    if on_cuda:
        allocated = torch.cuda.max_memory_allocated(device)
        peaks = Peaks(allocated, torch.cuda.max_memory_reserved(device), allocated - allocated_before)
    torch.ones(1, device=device)
    if on_cuda:
        torch.cuda.synchronize(device)
    return peaks


def columns(peaks: Sequence[Peaks], device: torch.device) -> tuple[Int | None, Int | None, Int | None]:
    """The peaks of all iterations, one array for each kind; None where there is no caching allocator."""
    if device.type != "cuda":
        return None, None, None
    allocated, reserved, added = np.array(peaks, dtype=np.int64).reshape(-1, 3).T
    return allocated, reserved, added
