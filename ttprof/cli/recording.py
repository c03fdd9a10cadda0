"""Runs a script in one fresh process after the other, for ``ttprof baseline record``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import click

from ttprof.errors import TtprofError
from ttprof.report.trace_cells import counted
from ttprof.result import RESULT_FILE, SuiteResult
from ttprof.result_file import load_all


class RecordingFailed(TtprofError):
    """A run of the script did not give a result that a baseline can be made of."""


@contextmanager
def folder(trace_dir: Path | None, path: Path) -> Iterator[Path]:
    """The folder of the runs: *trace_dir*, or one that is deleted unless something goes wrong; that is then said."""
    kept = trace_dir or Path(tempfile.mkdtemp(prefix="ttprof-baseline-"))
    try:
        yield kept
    except BaseException:
        complete = sorted(file.parent for file in kept.glob(f"*/{RESULT_FILE}"))
        if complete:
            runs = counted(len(complete), "run")
            text = f"{runs} are kept in {kept}; to save them: ttprof baseline update {path} {kept}/*"
            click.echo(f"ttprof: {text}", err=True)
        raise
    if trace_dir is None:
        rmtree(kept, ignore_errors=True)


def runs(script: Path, count: int, kept: Path, suite: str | None) -> list[SuiteResult]:
    """Run *script* in *count* processes, and return the result of its suite in each.

    Raises:
        RecordingFailed: a run gave no result, or those of several suites of which none was chosen.
    """
    results = []
    for number in range(1, count + 1):
        began = time.monotonic()
        result = _chosen(_run(script, kept), script, suite)
        seconds = time.monotonic() - began
        click.echo(f"run {number} of {count}: {counted(len(result), 'case')} in {seconds:.0f} s", err=True)
        results.append(result)
    return results


def _run(script: Path, kept: Path) -> list[SuiteResult]:
    """The results of one run, whatever its exit code: a baseline may be recorded of a suite with failures."""
    with tempfile.TemporaryDirectory(prefix="ttprof-") as place:
        file = Path(place) / "results.json"
        options = ["--quiet", "--confirm", "0", "--json", str(file), "--trace-dir", str(kept)]
        command = [sys.executable, "-m", "ttprof", "run", *options, str(script)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode < 0 or done.returncode > 1 or not file.exists():
            raise RecordingFailed(f"{script} ended with exit code {done.returncode}:\n{done.stdout.strip()}")
        results = load_all(file)
    if not results:
        raise RecordingFailed(f"{script} ran no suite:\n{done.stdout.strip()}")
    return results


def _chosen(results: list[SuiteResult], script: Path, suite: str | None) -> SuiteResult:
    names = [result.name for result in results]
    if suite is None and len(results) > 1:
        raise RecordingFailed(f"{script} ran {len(results)} suites; choose one with --suite: {', '.join(names)}")
    if suite is not None and suite not in names:
        raise RecordingFailed(f"{script} ran no suite {suite!r}, only {', '.join(names)}")
    return results[0] if suite is None else results[names.index(suite)]
