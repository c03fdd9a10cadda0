"""Runs a script in one fresh process after the other, for ``ttprof baseline record``."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import click

from ttprof import baseline, pooling
from ttprof.baseline import Baseline
from ttprof.errors import TtprofError
from ttprof.report.trace_cells import counted
from ttprof.result import SuiteResult
from ttprof.result_file import load_all
from ttprof.system import signals
from ttprof.system.guarded import SUPPORTED, GuardedProcess

POLL_S = 3600.0
"""Seconds after which a wait for a run begins again."""


class RecordingFailed(TtprofError):
    """A run of the script did not give a result that a baseline can be made of."""


@contextmanager
def folder(trace_dir: Path | None, path: Path, results: Sequence[SuiteResult]) -> Iterator[Path]:
    """The folder of the runs: *trace_dir*, or one that is deleted unless something goes wrong.

    Then it says how to save *results*, those of the complete runs, as the baseline *path*.
    """
    kept = trace_dir or Path(tempfile.mkdtemp(prefix="ttprof-baseline-"))
    try:
        yield kept
    except BaseException:
        if results:
            command = shlex.join(["ttprof", "baseline", "update", str(path), *(result.run_dir for result in results)])
            runs = "1 complete run is" if len(results) == 1 else f"{len(results)} complete runs are"
            click.echo(f"ttprof: {runs} kept; to save what was recorded: {command}", err=True)
        elif trace_dir is None:
            rmtree(kept, ignore_errors=True)
        raise
    if trace_dir is None:
        rmtree(kept, ignore_errors=True)


def runs(script: Path, count: int, kept: Path, suite: str | None) -> Iterator[SuiteResult]:
    """Run *script* in *count* processes, and yield the result of its suite in each.

    If the machine was slower in some of three or more, so that too few of one speed remain, in up to twice as many.

    Raises:
        RecordingFailed: a run gave no result, or those of several suites of which none was chosen.
    """
    done: list[Baseline] = []
    most = 2 * count if count >= pooling.MIN_ALIKE else count
    while len(done) < count or (len(done) < most and _once_more(done)):
        began = time.monotonic()
        result = _chosen(_run(script, kept), script, suite)
        done.append(baseline.of(result))
        seconds = time.monotonic() - began
        number = f"run {len(done)} of {count}" if len(done) <= count else f"run {len(done)}"
        click.echo(f"{number}: {counted(len(result), 'case')} in {seconds:.0f} s", err=True)
        yield result


def _once_more(done: Sequence[Baseline]) -> bool:
    """Whether a further run might help; it says why."""
    mixed = pooling.speeds_differ(done)
    if mixed:
        shown = ", ".join(mixed[:3]) + (f" and {len(mixed) - 3} more" if len(mixed) > 3 else "")
        click.echo(f"ttprof: the machine was slower in some of the runs ({shown}): running it once more", err=True)
    return bool(mixed)


def _run(script: Path, kept: Path) -> list[SuiteResult]:
    """The results of one run. Failures don't keep it from being a baseline, but an exception of the script does."""
    with tempfile.TemporaryDirectory(prefix="ttprof-") as place:
        file = Path(place) / "results.json"
        options = ["--quiet", "--no-baseline", "--confirm", "0", "--json", str(file), "--trace-dir", str(kept)]
        log = Path(place) / "log"
        code = _finish([sys.executable, "-m", "ttprof", "run", *options, str(script)], log)
        results = load_all(file) if file.exists() else []
        if code:  # a script may also have raised after its suites
            click.echo(log.read_text(encoding="utf-8", errors="replace").rstrip(), err=True)
    failed = any(not result.passed for result in results)
    if code not in ((0, 1) if failed else (0,)):
        ending = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise RecordingFailed(f"{script} {ending}, see above")
    if not results:
        raise RecordingFailed(f"{script} ran no suite")
    if any(result.interrupted for result in results):
        raise RecordingFailed(f"{script} was interrupted")
    return results


def _finish(command: list[str], log: Path) -> int:
    """Run a command to its end, its output in the file *log*. Returns its exit code.

    A signal that ends this process is passed on, and the command may then save what it has.
    """
    variables = {name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"}  # not five tables
    if not SUPPORTED:
        with log.open("wb") as output:
            return subprocess.run(command, env=variables, stdout=output, stderr=output, check=False).returncode
    with GuardedProcess(command, variables, Path.cwd(), log) as child:
        try:
            _wait(child)
        except KeyboardInterrupt as stop:
            child.send(signals.number_of(stop))
            _wait(child)
            raise
    return -signal.SIGKILL if child.status is None else os.waitstatus_to_exitcode(child.status)


def _wait(child: GuardedProcess) -> None:
    while not child.wait(POLL_S):
        pass


def _chosen(results: list[SuiteResult], script: Path, suite: str | None) -> SuiteResult:
    names = [result.name for result in results]
    if suite is None and len(results) > 1:
        raise RecordingFailed(f"{script} ran {len(results)} suites; choose one with --suite: {', '.join(names)}")
    if suite is not None and suite not in names:
        raise RecordingFailed(f"{script} ran no suite {suite!r}, only {', '.join(names)}")
    return results[0] if suite is None else results[names.index(suite)]
