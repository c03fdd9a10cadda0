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
from ttprof.run.devices import driver
from ttprof.trace.events import Int
from ttprof.trace.iterations import ITERATION

Ranged = Callable[[str], AbstractContextManager[object]]
"""Makes a context manager that appears in the recording as a range with the given name."""


class Peaks(NamedTuple):
    """The peaks of one iteration in the device's caching allocator, in bytes; None if it reports none, as on a CPU.

    ``added`` is the peak of the allocated bytes above their value at the start of the iteration.
    """

    allocated: int | None = None
    reserved: int | None = None
    added: int | None = None


def iterate(workload: Workload, number: int, ranged: Ranged) -> Peaks:
    """Run iteration *number* inside its range, which ends once the device has finished; then the canary."""
    device = driver(workload.device)
    if workload.before is not None:
        workload.before()
    before = device.reset_peaks()
    with ranged(f"{ITERATION}{number}"):
        workload.call()
        device.synchronise()
    allocated, reserved = device.peaks() if before is not None else (None, None)
    torch.ones(1, device=workload.device)
    device.synchronise()
    return Peaks(allocated, reserved, None if allocated is None or before is None else allocated - before)


def columns(peaks: Sequence[Peaks]) -> tuple[Int | None, Int | None, Int | None]:
    """Arrays of the allocated, reserved and added peaks of all iterations, in bytes; None for those not reported."""
    allocated, reserved, added = (
        None if None in column else np.array(column, dtype=np.int64) for column in zip(*peaks, strict=True)
    )
    return allocated, reserved, added
