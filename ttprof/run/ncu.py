"""The Nsight Compute collector: records with torch.profiler and explains why the named kernels are slow.

For the explanation it re-runs the script under ``ncu``, which replays the kernels of one iteration of each trial. The
findings of its report become notes on the trial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ttprof.codes import Note, NoteCode
from ttprof.errors import NsightError
from ttprof.nsight import ncu, rerun
from ttprof.nsight.compute_report import Kernel
from ttprof.nsight.tool import Start
from ttprof.observation import Recording
from ttprof.rerun import STARTED_IN
from ttprof.run import ranges
from ttprof.run.base import Collector, SuiteRecording, Workload
from ttprof.spec import Schedule, SuiteSpec
from ttprof.system.device_types import device_type

FOLDER = "ncu"
"""The subfolder of the run that holds the report, the request and the answer."""

FindKernels = Callable[[Path, str], Iterable[Kernel]]
"""Returns the kernels to explain of a named range: ``find_kernels(report, name)``."""


class NcuCollector:
    """Records with *tracer*; *find_kernels* reads the report of ncu."""

    def __init__(self, suite: SuiteRecording, tracer: Collector, find_kernels: FindKernels) -> None:
        self._suite = suite
        self._tracer = tracer
        self._find_kernels = find_kernels
        self._folder = suite.folder / FOLDER

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Record with *tracer* and add the notes. Raises NsightError if the second process did not finish the case."""
        recording = self._tracer.record(workload, schedule, path)
        report, answer = self._profiled
        if (why := answer.errors.get(workload.key.case) or answer.error) is not None:
            raise NsightError(f"Nsight Compute did not reach {workload.name}: {why}")
        if (trial := answer.trials.get(str(workload.key))) is None:
            return recording
        if trial.what != workload.what:
            raise NsightError(f"the second run of the script ran {trial.what}, not {workload.what}")
        kernels = self._find_kernels(report, ranges.trial_range(workload.key))
        notes = (Note(NoteCode.KERNEL_EXPLAINED, f"{k.function}: {k.bottleneck.sentence}") for k in kernels)
        return replace(recording, notes=tuple(notes))

    @cached_property
    def _profiled(self) -> tuple[Path, rerun.Answer]:
        """The report and the second process's answer."""
        self._folder.mkdir(parents=True, exist_ok=True)
        report = self._folder / "suite.ncu-rep"
        environment = rerun.write_request(self._folder, self._suite.suite, self._suite.cases, replayed=True)
        output = ncu.find().record(Start(rerun.command("ncu"), environment, STARTED_IN), report, self._suite.kernels)
        rerun.save(self._folder / "log.txt", output)
        answer = ranges.answer(self._folder, output)
        return report, answer


def ready(suite: SuiteSpec) -> None:
    """Raise NsightError if nothing can be explained: no GPU, no ncu, no named kernel, or no script to re-run."""
    if "ncu" not in device_type(suite.device.type).nsight:
        raise NsightError(f"backend='ncu' explains kernels of NVIDIA devices, and this suite runs on {suite.device}")
    if not any(case.kernel_budgets for case in suite.cases):
        raise NsightError("backend='ncu' explains kernels that a test names: add .expect_kernel('*gemm*', time_ms=1.5)")
    ranges.nvtx_ranges()
    ncu.find()
    rerun.command("ncu")
