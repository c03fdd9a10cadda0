"""What a backend must do, and what it is given.

A workload enters a collector; a recording on disk leaves. A collector only runs and writes: what it wrote is
read by a reader, which never sees the collector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ttprof.spec import Schedule
from ttprof.trace.events import Int

TRACE_SUFFIX = ".pt.trace.json.gz"
"""The name of a trace ends so: TensorBoard's profiler page looks for it."""


@dataclass(frozen=True, eq=False)
class Workload:
    """One callable to measure: *call* runs one iteration, *before* whatever must precede each, unmeasured.

    *modules* are annotated with their paths when recorded. *what* says which module it is and what it is called with:
    a process that runs the same script comes to the same words.
    """

    name: str
    call: Callable[[], Any]
    device: torch.device
    modules: tuple[tuple[str, nn.Module], ...] = ()
    before: Callable[[], Any] | None = None
    what: str = ""


@dataclass(frozen=True)
class Run:
    """The run of a suite that is recorded: its folder and device, its cases, and globs of the kernels they name."""

    suite: str
    folder: Path
    device: torch.device
    cases: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()

    def key(self, path: Path) -> str:
        """The name of the trial whose trace goes to *path*: the folder of its case, and its point."""
        name = path.name.removesuffix(TRACE_SUFFIX)
        return f"{path.parent.relative_to(self.folder).as_posix()}/{name}"


@dataclass(frozen=True)
class Recording:
    """The file that a collector wrote, and how many iterations are in it.

    The peaks are what torch's caching allocator reports for each iteration (CUDA), in bytes, and ``peak_added`` is
    how far they lie above what was allocated at its start; None elsewhere.
    ``export_s`` is the part of the recording that was spent on writing the file, in seconds. ``notes`` are sentences
    on what was recorded.
    """

    path: Path
    recorded: int
    export_s: float = 0.0
    peak_allocated: Int | None = None
    peak_reserved: Int | None = None
    peak_added: Int | None = None
    notes: tuple[str, ...] = ()


class Collector(Protocol):
    """Records ``schedule.warmup`` iterations that leave no trace, then ``schedule.recorded`` that do."""

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Run *workload* and write its trace to *path*."""
        ...
