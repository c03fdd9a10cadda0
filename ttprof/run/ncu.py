"""The collector of Nsight Compute: a recording by torch.profiler, and why its named kernels are as slow as they are.

Workloads enter and are recorded as ever. For the explanation the script is started a second time under ``ncu``, where
one iteration of each trial runs, kernel by kernel. What the report says of a trial leaves as notes on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ttprof.codes import Note, NoteCode
from ttprof.errors import NsightError
from ttprof.nsight import ncu, rerun
from ttprof.nsight.tool import Start
from ttprof.run import ranges
from ttprof.run.base import Collector, Recording, SuiteRecording, Workload
from ttprof.spec import Schedule, SuiteSpec

FOLDER = "ncu"
"""Beside the cases of a run: the report, the request and the answer."""

Explain = Callable[[Path, str], tuple[str, ...]]
"""The sentences of a report on the kernels that ran within the range of a name."""


class NcuCollector:
    """Records by *own*; *explain* reads the report."""

    def __init__(self, suite: SuiteRecording, own: Collector, explain: Explain) -> None:
        self._suite = suite
        self._own = own
        self._explain = explain
        self._folder = suite.folder / FOLDER

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """The recording of *own* with notes. Raises NsightError where the second process came to no end."""
        recording = self._own.record(workload, schedule, path)
        report, answer = self._profiled
        if (why := answer.errors.get(workload.key.case) or answer.error) is not None:
            raise NsightError(f"Nsight Compute did not come to {workload.name}: {why}")
        if (found := answer.trials.get(str(workload.key))) is None:
            return recording
        if found.what != workload.what:
            raise NsightError(f"the second run of the script came to {found.what}, not to {workload.what}")
        sentences = self._explain(report, ranges.trial_range(workload.key))
        return replace(recording, notes=tuple(Note(NoteCode.KERNEL_EXPLAINED, text) for text in sentences))

    @cached_property
    def _profiled(self) -> tuple[Path, rerun.Answer]:
        """The report, and what the second process says that it ran."""
        self._folder.mkdir(parents=True, exist_ok=True)
        report = self._folder / "suite.ncu-rep"
        asked = rerun.ask(self._folder, self._suite.suite, self._suite.cases, replayed=True)
        said = ncu.find().record(Start(rerun.command("ncu"), asked, rerun.STARTED_IN), report, self._suite.kernels)
        (self._folder / "log.txt").write_text(said, encoding="utf-8")
        answer = ranges.answer(self._folder, said)
        return report, answer


def ready(suite: SuiteSpec) -> None:
    """Raise NsightError where nothing could be explained: no GPU, no ncu, no kernel named, no script to run again."""
    if suite.device.type != "cuda":
        raise NsightError(f"backend='ncu' explains kernels of NVIDIA devices, and this suite runs on {suite.device}")
    if not any(case.kernel_budgets for case in suite.cases):
        raise NsightError("backend='ncu' explains kernels that a test names: add .expect_kernel('*gemm*', time_ms=1.5)")
    ranges.nvtx_ranges()
    ncu.find()
    rerun.command("ncu")
