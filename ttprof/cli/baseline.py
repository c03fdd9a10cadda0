"""``ttprof baseline``: a result enters and becomes the new baseline, with the evidence shown. No torch, no GPU."""

from __future__ import annotations

from pathlib import Path

import click

from ttprof import baseline
from ttprof.cli.compare import show
from ttprof.judge import regression


@click.group(name="baseline")
def command() -> None:
    """Keep the baselines that later runs are compared with."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a baseline of different hardware too.")
def update(path: Path, result: Path, force: bool) -> None:
    """Make RESULT (a result.json or the folder of a run) the baseline PATH, after showing what changes."""
    new = baseline.read(result)
    if path.exists():
        show(regression.compare(baseline.read(path), new, force=force))
    click.echo(f"wrote {new.save(path)}: {len(new.trials)} trials")
