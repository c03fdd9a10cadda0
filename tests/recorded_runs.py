"""Recorded CUDA traces as runs: a folder with a result whose trials point to copies of traces, for the dashboard."""

from __future__ import annotations

import shutil
from pathlib import Path

from machines import MACHINE

from ttprof.result import CaseResult, Measurement, SuiteResult, TrialResult
from ttprof.trace.formats import kineto
from ttprof.trial_key import Point
from ttprof.verdict import Status


def recorded_run(
    logdir: Path, name: str, traces: dict[str, Path], started: str = "2026-11-24T10:00:00", **more: str
) -> SuiteResult:
    """A run below *logdir* with a case for each trace, its kernel time read from the trace.

    *more* are further fields of the result, such as its ``backend``; with those it is a suite of its own.
    """
    folder = logdir / name
    cases = [_case(folder, case, file) for case, file in traces.items()]
    suite = name if more else "recorded"
    result = SuiteResult(name=suite, started=started, environment=MACHINE, cases=cases, run_dir=str(folder), **more)
    result.save(folder / "result.json")
    return result


def _case(folder: Path, name: str, file: Path) -> CaseResult:
    path = folder / file.name.split(".")[0] / "trace.pt.trace.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, path)
    time_ns = kineto.read(path).kernels.time_ns
    kernel_time = Measurement(
        name="kernel_time_ms", label="kernel time", unit="ms", better="lower", statistic="median", value=time_ns / 1e6
    )
    trial = TrialResult(
        point=Point(), inputs="recorded", inputs_source="recorded", measurements=[kernel_time], trace_path=str(path)
    )
    return CaseResult(module_name=name, module_type="Model", status=Status.PASS, source="recorded", trials=[trial])
