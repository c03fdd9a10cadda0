"""``ttprof metrics``: the registry enters, a table leaves. No torch, no GPU."""

from __future__ import annotations

import click
from rich.table import Table

from ttprof.metrics import REGISTRY
from ttprof.report import console


@click.command(name="metrics")
def command() -> None:
    """List the metrics that expect(...) knows, with unit, direction and what each needs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metric", "unit", "limit", "statistic", "meaning", "needs"):
        table.add_column(heading, overflow="fold")
    for row in REGISTRY.values():
        name = row.name + "".join(f"\n({alias})" for alias in row.aliases)
        direction = "at most" if row.better == "lower" else "at least"
        table.add_row(name, row.unit.symbol, direction, row.statistic, row.help, row.needs)
    console.console().print(table)
