"""``ttprof compare``: two results or baselines enter, what regressed leaves. No torch, no GPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import msgspec

from ttprof import baseline
from ttprof.judge import drift, regression


def share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A share written as ``5%`` or ``0.05``, as a number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no share such as 5% or 0.05", ctx, param)
    return float(match[1]) / (100 if match[2] else 1)


@click.command(name="compare")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    metavar="SHARE",
    callback=share,
    default="5%",
    show_default=True,
    help="What a time may get worse by.",
)
@click.option("--force", is_flag=True, help="Compare runs of different hardware too, and say so.")
@click.option("--strict", is_flag=True, help="Let what is undecided, or did not run, fail too.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(base: Path, new: Path, threshold: float, force: bool, strict: bool, as_json: bool) -> None:
    """Compare NEW with BASE: results, folders of runs, or baselines (suite.save_baseline).

    Where BASE is a folder of several runs, the newest of them on like hardware is the base, and what became worse
    little by little since the oldest is told as drift.

    A time regressed when its median, 10th percentile and minimum are worse by more than the threshold and the
    Mann-Whitney test is sure; what is counted exactly, when it is worse at all. Exits with 1 when something regressed,
    or is not measured any more.
    """
    if base.is_dir() and not (base / "result.json").exists():
        runs, left_out = baseline.history(base)
        for sentence in left_out:
            click.echo(f"ttprof: left out of the history: {sentence}", err=True)
        found = drift.compare(runs, baseline.read(new), threshold, force)
    else:
        found = regression.compare(baseline.read(base), baseline.read(new), threshold, force)
    show(found, as_json)
    sys.exit(0 if found.passes(strict) else 1)


def show(found: regression.Comparison, as_json: bool = False) -> None:
    """Print a comparison."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    from ttprof.report import comparison, console

    console.console().print(comparison.render(msgspec.to_builtins(found)))
