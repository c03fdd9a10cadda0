"""``ttprof run``: executes scripts as ``__main__`` and sets the exit code from the results of their suites."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click

from ttprof import baseline as baselines
from ttprof import rerun
from ttprof.cli.output import parse_share, say, show_written
from ttprof.engine import journal as journals
from ttprof.engine.backends import BACKENDS
from ttprof.errors import ModuleRaised, SpecError, TtprofError, end_at_the_user, user_code
from ttprof.report import console, github, outputs, publish, sentences
from ttprof.rerun import Again
from ttprof.session import Session, active
from ttprof.shards import Shard
from ttprof.system import device_lock, ending, signals

OUTPUT = click.Path(dir_okay=False, path_type=Path)
RUN = click.Path(file_okay=False, path_type=Path)


def _check_shard(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return str(Shard.parse(value)) if value else ""
    except SpecError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(name="run")
@click.argument("script", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trace-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder for the files of each run.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare every suite with this baseline.")
@click.option("--no-baseline", is_flag=True, help="Compare with no baseline, also where a suite names one.")
@click.option(
    "--threshold",
    metavar="SHARE",
    callback=parse_share,
    help="Slowdown that counts as a regression, as a fraction or percentage [default: 5%].",
)
@click.option("--backend", type=click.Choice(tuple(BACKENDS)), help="Profiler to record with (docs/nsight.md).")
@click.option(
    "--isolate", is_flag=True, default=None, help="Run the cases in processes of their own: a crash ends one."
)
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Limit each pass of a case.")
@click.option(
    "--confirm",
    "confirm_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Time for measuring again what would fail (default: a third of the run's, at least 20 s).",
)
@click.option("--memory-limit", "memory_limit_mb", type=float, metavar="MB", help="Limit the memory of isolated cases.")
@click.option("--resume", multiple=True, type=RUN, help="Go on with this run: measure only what it lacks. Repeatable.")
@click.option("--shard", metavar="K/N", default="", callback=_check_shard, help="Run only part K of N of every suite.")
@click.option("--strict", is_flag=True, default=None, help="Treat INCONCLUSIVE as failure.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures and totals.")
@click.option("-v", "--verbose", is_flag=True, help="Print the reason for every verdict, including PASS.")
@click.option("--json", type=OUTPUT, help="Write all results, with every sample, as a JSON list.")
@click.option("--junit", type=OUTPUT, help="Write all results as JUnit XML.")
@click.option("--html", type=OUTPUT, help="Write all results as one HTML page, which needs no server.")
def command(script: tuple[Path, ...], json: Path | None, junit: Path | None, html: Path | None, **options: Any) -> None:
    """Run scripts that contain test suites.

    Every suite of every script runs, even after a failure. The exit code is 0 if all passed, and 1 if a case failed or
    could not be judged, a script raised, or a script ran no suite; 128 + N if signal N ended the run (130: Ctrl-C, 143:
    SIGTERM), after what was measured has been judged and saved. Under GitHub Actions, failures are annotated at their
    lines and the step gets a summary.

    With --shard 2/8, every suite runs every eighth of its cases, from the second, in the order of a hash of their
    names; ttprof merge makes one result of all shards.
    """
    session = Session(**options, raises=False, exclusive=_exclusive)
    files = {"json": json, "junit": junit, "html": html}
    session.conclude = lambda: _conclude(session, files)
    if session.baseline is not None and session.no_baseline:
        raise click.UsageError("--baseline and --no-baseline exclude each other")
    outputs.check(files)  # before anything runs, so that a wrong path costs nothing
    if session.baseline is not None:
        baselines.read(session.baseline)
    for run in session.resume:
        journals.read(run)
    with signals.raised():
        code = _run_all(script, session)
        try:
            code = max(code, _conclude(session, files))
        except KeyboardInterrupt as stop:
            code = max(signals.exit_code(signals.number_of(stop)), _conclude(session, files))
    ending.end(code, publish.complain)


def _conclude(session: Session, files: Mapping[str, Path | None]) -> int:
    """Write the files of the command, then print the totals. Returns the exit code, as far as the results decide it."""
    written = outputs.write(session.results, files)  # first: standard output may be full or closed
    not_resumed = [run for run in session.resume if run not in session.resumed]
    for result in session.results:
        say(console.brief(result) if session.quiet else sentences.named_totals(result))
    show_written(written)
    for run in not_resumed:
        publish.complain(f"{run} was not resumed: no suite {journals.read(run).opened.suite!r} took it over")
    for line in github.report(session.results, os.environ):
        say(line)
    if written.failures:
        return 2
    return 0 if all(result.passed for result in session.results) and not not_resumed else 1


def _exclusive(device: str) -> AbstractContextManager[None]:
    return device_lock.exclusive(device, publish.complain)


def _run_all(scripts: tuple[Path, ...], session: Session) -> int:
    """Execute the scripts in order, up to a signal. Returns the exit code, as far as the scripts decide it."""
    code = 0
    with active(session):
        for path in scripts:
            before = len(session.results)
            try:
                succeeded = _run(path, session.verbose, session.shard)
            except KeyboardInterrupt as stop:
                kept = "; results so far are kept" if session.results else ""
                publish.complain(f"interrupted in {path}{kept}")
                return signals.exit_code(signals.number_of(stop))
            if succeeded and len(session.results) == before:
                publish.complain(f"{path} ran no TestSuite")
                succeeded = False
            code = code if succeeded else 1
    return code


def _run(path: Path, verbose: bool, shard: str) -> bool:
    """Execute one script as ``__main__`` with its folder first on sys.path. Returns whether it succeeded."""
    with _script_environment(path):
        try:
            with rerun.by(Again(rerun.script(path), raises=False, shard=shard)), user_code(str(path)):
                return _exit_code(path) in (None, 0)
        except ModuleRaised as error:
            raised = error.__cause__ or error
            _drop_frames_above_script(raised)
            traceback.print_exception(raised)
            publish.complain(str(error))
            return False
        except TtprofError as error:  # the fault is in one line of the script
            _drop_frames_above_script(error)
            end_at_the_user(error)
            if verbose:
                traceback.print_exception(error, chain=False)
            *_, (frame, line) = traceback.walk_tb(error.__traceback__)
            publish.complain(f"{frame.f_code.co_filename}:{line}: {error}")
            return False


def _exit_code(path: Path) -> object:
    """Execute a script as ``__main__``. Returns the argument of its sys.exit, or None if it ran to its end."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return None


def _drop_frames_above_script(error: BaseException) -> None:
    """Drop the frames above the script from a traceback; keep them all if the script was never entered."""
    entry = error.__traceback__
    while entry is not None and entry.tb_frame.f_globals.get("__name__") != "__main__":
        entry = entry.tb_next
    if entry is not None:
        error.__traceback__ = entry


@contextmanager
def _script_environment(path: Path) -> Iterator[None]:
    """Set sys.argv and sys.path as ``python SCRIPT`` does, within the context."""
    argv, paths = sys.argv[:], sys.path[:]
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, paths
