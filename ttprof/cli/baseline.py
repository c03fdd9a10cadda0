"""``ttprof baseline``: manages baselines, without torch."""

from __future__ import annotations

from pathlib import Path

import click

from ttprof import baseline
from ttprof.cli.output import show
from ttprof.judge import regression
from ttprof.report import comparison
from ttprof.report.trace_cells import counted
from ttprof.result import RESULT_FILE
from ttprof.result_file import load_all
from ttprof.verdict import Status


@click.group(name="baseline")
def command() -> None:
    """Create and update baselines."""


@command.command(short_help="Save a result as a baseline.")
@click.argument("path", metavar="BASELINE", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Accept a run on different hardware, or with ERRORs.")
def update(path: Path, result: Path, force: bool) -> None:
    """Save RESULT, a result.json or a run folder, as BASELINE.

    If BASELINE exists, the changes are shown first. A run with failures is accepted, because later runs are only
    compared with its measurements; the failed cases are listed.
    """
    new = baseline.read(result)
    reason = _unfit(result)
    if reason and not force:
        raise click.UsageError(f"{result} can't be a baseline: {reason} (--force accepts it anyway)")
    if path.exists():
        if baseline.is_result(path):
            raise click.UsageError(
                f"{path} is a result, which a baseline would replace: choose another name, or copy {result} over it"
            )
        show(regression.compare(baseline.read(path), new, force=force), comparison.render)
    for case in dict.fromkeys(trial.case for trial in new.trials if trial.status is Status.FAIL):
        click.echo(f"ttprof: {case} failed in this run", err=True)
    cases = {trial.case for trial in new.trials}
    points = counted(len(new.trials), "sweep point")
    click.echo(f"wrote {new.save(path)}: {counted(len(cases), 'case')} at {points}")


def _unfit(path: Path) -> str | None:
    """The reason why the result at *path* can't be a baseline; None if it can be, or already is one."""
    file = path / RESULT_FILE if path.is_dir() else path
    if not baseline.is_result(file):
        return None
    results = load_all(file)
    if len(results) > 1:
        return f"it contains {len(results)} suites (--baseline and ttprof compare read such a file directly)"
    return next((reason for result in results if (reason := baseline.reason_unfit(result)) is not None), None)
