"""``ttprof compare``: compares two results or baselines and reports regressions, without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ttprof import baseline, thresholds
from ttprof.cli.output import parse_share, show, show_json
from ttprof.judge import drift, regression
from ttprof.result import RESULT_FILE
from ttprof.units import significant


@click.command(name="compare")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    metavar="SHARE",
    callback=parse_share,
    default=f"{significant(100 * thresholds.DEFAULT)}%",
    show_default=True,
    help="Slowdown that counts as a regression, as a fraction or percentage.",
)
@click.option("--force", is_flag=True, help="Compare even if the hardware differs, with a warning.")
@click.option("--strict", is_flag=True, help="Treat INCONCLUSIVE as failure.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(base: Path, new: Path, threshold: float, force: bool, strict: bool, as_json: bool) -> None:
    """Compare a run with an earlier one, or with a baseline.

    BASE and NEW are result.json files, run folders, or baselines (suite.save_baseline). If BASE is a folder of several
    runs, NEW is compared with the newest run on the same hardware, and a slowdown that built up in small steps since
    the oldest run is reported as drift.

    A time regresses if its median, 10th percentile and minimum are all worse by more than the threshold and a
    Mann-Whitney test is significant. An exact count regresses if it is worse at all. If NEW is a result, all its looks
    at a time have to agree, and what other processes did to the machine counts, as in a run.

    Exit codes: 0 no regression; 1 a metric regressed or is no longer measured; 2 wrong usage or unreadable input.
    """
    results = baseline.results_of(new)
    if base.is_dir() and not (base / RESULT_FILE).exists():
        runs, errors = baseline.history(base)
        for error in errors:
            click.echo(f"ttprof: left out of the history: {error}", err=True)
        result = drift.compare(runs, baseline.read(new), threshold, force, results)
    else:
        result = regression.compare(baseline.read(base), baseline.read(new), threshold, force, results)
    if as_json:
        show_json(result)
    else:
        from ttprof.report import comparison

        show(result, comparison.render)
    sys.exit(0 if result.passes(strict) else 1)
