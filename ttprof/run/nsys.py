"""The collector of Nsight Systems: one recording of the whole suite, from which each trial is cut.

Workloads enter, and are not run here: at the first of them the script is started a second time under ``nsys profile``,
where the suite runs them inside NVTX ranges. What is recorded of each trial leaves as a trace of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

import numpy as np

from ttprof.errors import NsightError
from ttprof.nsight import nsys, rerun
from ttprof.nsight.tool import Start
from ttprof.run import ranges
from ttprof.run.base import Recording, SuiteRecording, Workload
from ttprof.spec import Schedule, SuiteSpec

FOLDER = "nsys"
"""Beside the cases of a run: the report, its export, the request and the answer."""

Cut = Callable[[Path, str, Path], None]
"""Writes to a path the trace of what an export holds within the range of a name."""

RangeNames = Callable[[Path], Collection[str]]
"""The names of the ranges that an export holds from their start to their end."""

ATTEMPTS = 2
"""nsys 2022.4 was seen to lose the end of a recording, and to hold all of it the next time."""


class NsysCollector:
    """Records *suite* once; *cut* makes the trace of a trial, *ranges_of* says what was recorded."""

    def __init__(self, suite: SuiteRecording, cut: Cut, ranges_of: RangeNames) -> None:
        self._suite = suite
        self._cut = cut
        self._ranges_of = ranges_of
        self._folder = suite.folder / FOLDER

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """The trace of one trial, from the recording of all. Raises NsightError when it is not in there."""
        export, answer = self._recorded
        found = answer.trials.get(str(workload.key))
        if found is None:
            raise NsightError(
                answer.errors.get(workload.key.case)
                or answer.error
                or f"{workload.name} was not recorded: the second run of the script did not come to it"
            )
        if (found.what, found.iterations) != (workload.what, schedule.recorded):
            raise NsightError(
                f"the second run of the script came to another {workload.name}: {found.iterations} iterations of "
                f"{found.what}, not {schedule.recorded} of {workload.what}"
            )
        self._cut(export, ranges.trial_range(workload.key), path)
        peaks = (found.peak_allocated, found.peak_reserved, found.peak_added)
        allocated, reserved, added = (None if peak is None else np.array(peak, dtype=np.int64) for peak in peaks)
        return Recording(path, schedule.recorded, 0.0, allocated, reserved, added)

    @cached_property
    def _recorded(self) -> tuple[Path, rerun.Answer]:
        """The export, and what the second process says that it ran; recorded again where that is not all in there."""
        for _ in range(ATTEMPTS):
            export, answer = self._record_all()
            recorded = self._ranges_of(export)
            if all(ranges.range_of(name) in recorded for name in answer.trials):
                break
        return export, answer

    def _record_all(self) -> tuple[Path, rerun.Answer]:
        recorder = nsys.find()
        self._folder.mkdir(parents=True, exist_ok=True)
        report, export = self._folder / "suite.nsys-rep", self._folder / "suite.sqlite"
        on_cuda = self._suite.device.type == "cuda"
        asked = rerun.ask(self._folder, self._suite.suite, self._suite.cases)
        said = recorder.record(Start(rerun.command("nsys"), asked, rerun.STARTED_IN), report, on_cuda)
        (self._folder / "log.txt").write_text(said, encoding="utf-8")
        recorder.export(report, export)
        answer = ranges.answer(self._folder, said)
        return export, answer


def ready(suite: SuiteSpec) -> None:
    """Raise NsightError where nothing could be recorded: no nsys, no ranges that it records, no script to run again."""
    ranges.check(nsys.find())
    rerun.command("nsys")
