"""Runs one recorded iteration inside its range, and reads the allocator's peaks.

After each iteration, outside its range, a canary allocates and fills one tensor on the device: a trace without any
event of the canaries did not record the device, so nothing is measured from it.
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
"""Makes a context manager that appears in the recording as a range with the given name."""


class Peaks(NamedTuple):
    """The peaks of one iteration in torch's caching allocator, in bytes; zeros on a CPU, which does not use it.

    ``added`` is the peak of the allocated bytes above their value at the start of the iteration.
    """

    allocated: int = 0
    reserved: int = 0
    added: int = 0


def iterate(workload: Workload, number: int, ranged: Ranged) -> Peaks:
    """Run iteration *number* inside its range, which ends once the device has finished; then the canary."""
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
    """Arrays of the allocated, reserved and added peaks of all iterations, in bytes; None for each on a CPU."""
    if device.type != "cuda":
        return None, None, None
    allocated, reserved, added = np.array(peaks, dtype=np.int64).reshape(-1, 3).T
    return allocated, reserved, added
