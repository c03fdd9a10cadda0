"""``ttprof metrics``: prints the metric registry as a table, without torch."""

from __future__ import annotations

import click
from rich.table import Table

from ttprof.metrics import REGISTRY
from ttprof.report import console


@click.command(name="metrics")
def command() -> None:
    """List the metrics that expect(...) accepts.

    Each metric has a unit, a direction, the statistic of its samples that a limit applies to, and its requirements.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metric", "unit", "limit", "statistic", "meaning", "needs"):
        table.add_column(heading, overflow="fold")
    for metric in REGISTRY.values():
        names = [metric.name, *(f"({alias})" for alias in metric.aliases)]
        limit = "at most" if metric.better == "lower" else "at least"
        meaning = metric.help.replace("``", "")
        table.add_row("\n".join(names), metric.unit.symbol, limit, metric.statistic, meaning, metric.needs)
    console.console().print(table)
