"""The interface of collectors, which run a workload and write a recording for a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ttprof.observation import Recording
from ttprof.spec import Schedule
from ttprof.trial_key import TrialKey

TRACE_SUFFIX = ".pt.trace.json.gz"
"""The suffix of trace files that TensorBoard's profiler page looks for."""


@dataclass(frozen=True, eq=False)
class Workload:
    """One callable to measure: *call* runs one iteration; *before* runs before each and is not measured.

    *modules* are annotated with their paths when recorded. *what* describes the module and its inputs; it is the same
    string in a process that re-runs the script.
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
    """The suite that a collector records: its folder, device and cases, and the kernel globs of their budgets."""

    suite: str
    folder: Path
    device: torch.device
    cases: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()


class Collector(Protocol):
    """Runs ``schedule.warmup`` iterations unrecorded, then records ``schedule.recorded``."""

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Run *workload* and write its trace to *path*."""
        ...
