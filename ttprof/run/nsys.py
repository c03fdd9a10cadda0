"""The Nsight Systems collector: records the whole suite once and cuts a trace of each trial from the recording.

It does not run workloads in this process. The first one re-runs the script under ``nsys profile``, where the suite runs
all of them inside NVTX ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

import numpy as np

from ttprof.errors import NsightError
from ttprof.nsight import nsys, rerun
from ttprof.nsight.tool import Start
from ttprof.observation import Recording
from ttprof.rerun import STARTED_IN
from ttprof.run import ranges
from ttprof.run.base import SuiteRecording, Workload
from ttprof.spec import Schedule, SuiteSpec
from ttprof.system.device_types import device_type

FOLDER = "nsys"
"""The subfolder of the run that holds the report, its export, the request and the answer."""

Cut = Callable[[Path, str, Path], None]
"""Writes the part of an export within a named range as a trace: ``cut(export, name, path)``."""

RangeNames = Callable[[Path], Collection[str]]
"""Returns the names of the ranges that an export contains in full."""

ATTEMPTS = 2
"""nsys 2022.4 sometimes loses the end of a recording; a second attempt has been complete."""


class NsysCollector:
    """Records *suite* once; *cut* writes the trace of a trial, *ranges_of* lists the recorded ranges."""

    def __init__(self, suite: SuiteRecording, cut: Cut, ranges_of: RangeNames) -> None:
        self._suite = suite
        self._cut = cut
        self._ranges_of = ranges_of
        self._folder = suite.folder / FOLDER

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Cut the trace of one trial from the recording. Raises NsightError if the recording lacks it."""
        export, answer = self._recorded
        trial = answer.trials.get(str(workload.key))
        if trial is None:
            raise NsightError(
                answer.errors.get(workload.key.case)
                or answer.error
                or f"{workload.name} was not recorded: the second run of the script did not reach it"
            )
        if (trial.what, trial.iterations) != (workload.what, schedule.recorded):
            raise NsightError(
                f"the second run of the script ran a different {workload.name}: {trial.iterations} iterations of "
                f"{trial.what}, not {schedule.recorded} of {workload.what}"
            )
        self._cut(export, ranges.trial_range(workload.key), path)
        peaks = (trial.peak_allocated, trial.peak_reserved, trial.peak_added)
        allocated, reserved, added = (None if peak is None else np.array(peak, dtype=np.int64) for peak in peaks)
        return Recording(path, schedule.recorded, 0.0, allocated, reserved, added)

    @cached_property
    def _recorded(self) -> tuple[Path, rerun.Answer]:
        """The export and the second process's answer; recorded again if the export lacks a trial of the answer."""
        for _ in range(ATTEMPTS):
            export, answer = self._record_all()
            complete = self._ranges_of(export)
            if all(ranges.range_of(name) in complete for name in answer.trials):
                break
        return export, answer

    def _record_all(self) -> tuple[Path, rerun.Answer]:
        recorder = nsys.find()
        self._folder.mkdir(parents=True, exist_ok=True)
        report, export = self._folder / "suite.nsys-rep", self._folder / "suite.sqlite"
        on_cuda = self._suite.device.type == "cuda"
        environment = rerun.write_request(self._folder, self._suite.suite, self._suite.cases)
        output = recorder.record(Start(rerun.command("nsys"), environment, STARTED_IN), report, on_cuda)
        rerun.save(self._folder / "log.txt", output)
        recorder.export(report, export)
        answer = ranges.answer(self._folder, output)
        return export, answer


def ready(suite: SuiteSpec) -> None:
    """Raise NsightError if recording is impossible: another device, no nsys, no NVTX ranges, or no script to re-run."""
    if "nsys" not in device_type(suite.device.type).nsight:
        raise NsightError(f"backend='nsys' records CPUs and NVIDIA devices, and this suite runs on {suite.device}")
    ranges.check(nsys.find())
    rerun.command("nsys")
