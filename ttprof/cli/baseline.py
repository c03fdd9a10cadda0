"""``ttprof baseline``: records, creates and updates baselines, without torch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ttprof import baseline, pooling
from ttprof.baseline import Baseline
from ttprof.cli.output import show
from ttprof.judge import environments, regression
from ttprof.report import comparison, outputs, spreads
from ttprof.report.trace_cells import counted
from ttprof.result import SuiteResult
from ttprof.system import signals
from ttprof.verdict import Status


@click.group(name="baseline")
def command() -> None:
    """Record, create and update baselines."""


@command.command(short_help="Run a script several times and save all of it as a baseline.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "path",
    metavar="BASELINE",
    type=click.Path(dir_okay=False, path_type=Path),
    default="baseline.json",
    show_default=True,
    help="File to write.",
)
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Processes to run it in.")
@click.option(
    "--trace-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the runs, with their traces, in this folder; without it they are deleted.",
)
@click.option("--suite", metavar="NAME", help="The suite to save, if the script runs several.")
@click.option("--force", is_flag=True, help="Accept different hardware than in BASELINE, and runs with ERRORs.")
def record(script: Path, path: Path, runs: int, trace_dir: Path | None, suite: str | None, force: bool) -> None:
    """Run SCRIPT in several fresh processes, one after the other, and save all of them as one baseline.

    Times differ from process to process by more than they do within one: by the layout of memory and the state of the
    allocator. From three processes on this spread is known, and a later run regresses only by more than it explains.
    The table shows it for each case, and how much slower a case has to become to be told from it.

    The script's suite is measured as `ttprof run` does, but nothing is compared and no time is measured again. If
    BASELINE exists, the changes are shown before it is replaced.
    """
    from ttprof.cli import recording

    before = _replaced(path)
    results: list[SuiteResult] = []
    with signals.raised(), recording.folder(trace_dir, path, results) as kept:
        for result in recording.runs(script, runs, kept, suite):
            _check(result, before, force)  # now, and not after all runs
            results.append(result)
        _save(path, before, results, force)


@command.command(short_help="Save one or more results as a baseline.")
@click.argument("path", metavar="BASELINE", type=click.Path(path_type=Path))
@click.argument("result", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Accept a run on different hardware, or with ERRORs.")
def update(path: Path, result: tuple[Path, ...], force: bool) -> None:
    """Save RESULT, a result.json or a run folder, as BASELINE.

    Several RESULTs are pooled: runs of the same suite in processes of their own, from which the spread between
    processes is known. If BASELINE exists, the changes are shown first. A run with failures is accepted, because later
    runs are only compared with its measurements; the failed cases are listed.
    """
    before = _replaced(path)
    runs: list[SuiteResult | Baseline] = []
    for one in result:
        results = baseline.results_of(one)
        if len(results) > 1:
            raise click.UsageError(
                f"{one} contains {len(results)} suites (--baseline and ttprof compare read such a file directly)"
            )
        runs.append(results[0] if results else baseline.read(one))
    for run in runs:
        if isinstance(run, SuiteResult):
            _check(run, before, force)
    _save(path, before, runs, force)


def _replaced(path: Path) -> Baseline | None:
    """The baseline that *path* is now, None if there is none. Raises TtprofError if it can't be replaced by another."""
    outputs.check({"baseline": path})
    if not path.exists():
        return None
    if baseline.is_result(path):
        raise click.UsageError(f"{path} is a result, which a baseline would replace: choose another name")
    return baseline.read(path)


def _check(result: SuiteResult, before: Baseline | None, force: bool) -> None:
    """Raise click.UsageError or UnlikeHardware if a run can't be a baseline in place of *before*, unless forced."""
    reason = baseline.reason_unfit(result)
    if reason and not force:
        where = result.run_dir or result.name
        raise click.UsageError(f"{where} can't be a baseline: {reason} (--force accepts it anyway)")
    if before is not None and not force:
        environments.check_hardware(before.environment, result.environment)


def _save(path: Path, before: Baseline | None, runs: Sequence[SuiteResult | Baseline], force: bool) -> None:
    """Pool the runs, show what they change and how they vary, and write the baseline."""
    results = [run for run in runs if isinstance(run, SuiteResult)]
    new = pooling.pooled([baseline.of(run) if isinstance(run, SuiteResult) else run for run in runs])
    if before is not None:
        show(regression.compare(before, new, force=force, results=results if len(runs) == 1 else ()), comparison.render)
    failed = itertools.chain.from_iterable(result.failures for result in results)
    counts = Counter(case.module_name for case in failed if case.status is Status.FAIL)
    for name, count in sorted(counts.items()):
        click.echo(f"ttprof: {name} failed in {count} of {counted(len(runs), 'run')}", err=True)
    if new.processes > 1:
        show(pooling.variations(new), spreads.render)
    cases = {trial.case for trial in new.trials}
    points, processes = counted(len(new.trials), "sweep point"), counted(new.processes, "process")
    click.echo(f"wrote {new.save(path)}: {counted(len(cases), 'case')} at {points}, {processes}")
    left_out = sum(trial.left_out > 0 for trial in new.trials)
    if left_out:
        text = f"the machine was slower in some processes at {counted(left_out, 'sweep point')}"
        click.echo(f"ttprof: {text}: the times of those processes are left out", err=True)
    if new.caveat:
        click.echo(f"ttprof: {path} was {new.caveat}; record it again when the machine is quiet", err=True)
