"""Turns recorded CUDA traces into runs for the dashboard: a result whose trials point to copies of the traces."""

from __future__ import annotations

import shutil
from pathlib import Path

import results

from ttprof.result import CaseResult, SuiteResult
from ttprof.trace.formats import kineto
from ttprof.verdict import Status


def recorded_run(
    logdir: Path, name: str, traces: dict[str, Path], started: str = "2026-11-24T10:00:00", **more: str
) -> SuiteResult:
    """Write a run below *logdir* with one case per trace, whose kernel time is read from the trace.

    *more* sets further fields of the result, such as its ``backend``; the suite then has the name of the run.
    """
    folder = logdir / name
    cases = [case_of_trace(folder, case, file) for case, file in traces.items()]
    suite = name if more else "recorded"
    result = results.suite(*cases, name=suite, started=started, run_dir=str(folder), **more)
    result.save(folder / "result.json")
    return result


def case_of_trace(folder: Path, name: str, file: Path) -> CaseResult:
    path = folder / file.name.split(".")[0] / "trace.pt.trace.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, path)
    time_ns = kineto.read(path).kernels.time_ns
    kernel_time = results.measured("kernel_time_ms", time_ns / 1e6, label="kernel time")
    unused = {"inputs": "recorded", "inputs_source": "recorded", "notes": [], "top_ops": []}
    trial = results.trial(kernel_time, trace_path=str(path), **unused)
    return results.case(name, Status.PASS, trial, module_type="Model", source="recorded")
