"""The interface of a backend: a collector runs a workload and writes a recording, which a reader reads later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ttprof.codes import Note
from ttprof.spec import Schedule
from ttprof.trace.events import Int
from ttprof.trial_key import TrialKey

TRACE_SUFFIX = ".pt.trace.json.gz"
"""The name of a trace ends so: TensorBoard's profiler page looks for it."""


@dataclass(frozen=True, eq=False)
class Workload:
    """One callable to measure: *call* runs one iteration, *before* precedes each and is not measured.

    *modules* are annotated with their paths when recorded. *what* describes the module and its inputs: a process that
    re-runs the script describes them in the same words.
    """

    key: TrialKey
    name: str
    call: Callable[[], Any]
    device: torch.device
    modules: tuple[tuple[str, nn.Module], ...] = ()
    before: Callable[[], Any] | None = None
    what: str = ""


@dataclass(frozen=True)
class SuiteRecording:
    """The suite that a collector records: its folder and device, its cases, and globs of the kernels they name."""

    suite: str
    folder: Path
    device: torch.device
    cases: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """The file that a collector wrote, and how many iterations are in it.

    The peaks are what torch's caching allocator reports for each iteration (CUDA), in bytes, and ``peak_added`` is
    how far they lie above what was allocated at its start; None elsewhere.
    ``export_s`` is the time spent on writing the file, in seconds.
    """

    path: Path
    recorded: int
    export_s: float = 0.0
    peak_allocated: Int | None = None
    peak_reserved: Int | None = None
    peak_added: Int | None = None
    notes: tuple[Note, ...] = ()


class Collector(Protocol):
    """Records ``schedule.warmup`` iterations that leave no trace, then ``schedule.recorded`` that do."""

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Run *workload* and write its trace to *path*."""
        ...
