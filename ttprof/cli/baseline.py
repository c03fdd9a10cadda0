"""``ttprof baseline``: a result enters and becomes the new baseline, with the evidence shown. No torch, no GPU."""

from __future__ import annotations

from pathlib import Path

import click

from ttprof import baseline
from ttprof.cli.compare import show
from ttprof.judge import regression
from ttprof.result import Status, load_all


@click.group(name="baseline")
def command() -> None:
    """Keep the baselines that later runs are compared with."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Take a run of other hardware, or with ERRORs, too.")
def update(path: Path, result: Path, force: bool) -> None:
    """Make RESULT (a result.json or the folder of a run) the baseline PATH, after showing what changes.

    A run with failures is taken, and that is said: what it measured is the measure of later runs.
    """
    new = baseline.read(result)
    why = _unfit(result)
    if why and not force:
        raise click.UsageError(f"{result} is no baseline: {why} (--force takes it all the same)")
    if path.exists():
        if baseline.is_result(path):
            raise click.UsageError(
                f"{path} is a result, which a baseline would replace: choose another name, or copy {result} over it"
            )
        show(regression.compare(baseline.read(path), new, force=force))
    for case in dict.fromkeys(trial.case for trial in new.trials if trial.status is Status.FAIL):
        click.echo(f"ttprof: {case} failed in this run", err=True)
    cases = {trial.case for trial in new.trials}
    click.echo(f"wrote {new.save(path)}: {len(cases)} cases at {len(new.trials)} sweep points")


def _unfit(path: Path) -> str | None:
    """Why the result at *path* can't be a baseline; a baseline itself can."""
    file = path / "result.json" if path.is_dir() else path
    if not baseline.is_result(file):
        return None
    results = load_all(file)
    if len(results) > 1:
        return f"it holds {len(results)} suites; --baseline and ttprof compare take the file as it is"
    return next((why for result in results if (why := baseline.unfit(result)) is not None), None)
