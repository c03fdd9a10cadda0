"""Draws how the times of a baseline varied between and within the processes that recorded it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof import thresholds
from ttprof.judge import spread
from ttprof.pooling import Variation, Variations
from ttprof.units import percent, significant

WILD = 1.5
"""The least slowdown that is told, from which more runs are advised."""

MAX_NAMED = 3
"""Maximum number of cases that the advice names."""


def render(variations: Variations) -> RenderableType:
    """A row for each trial: its latency, its spreads, and from how much slower a later run is told from it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("case", overflow="fold")
    for heading in ("latency", "between processes", "within", "told from"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in variations.trials:
        within = "-" if row.within is None else f"±{100 * row.within:.1f} %"
        name, latency = f"{row.case} {row.point}".rstrip(), f"{significant(row.value)} {row.unit}"
        table.add_row(name, latency, f"±{100 * row.between:.1f} %", within, _told_from(row))
    wild = [row.case for row in variations.trials if (spread.told_from(row.values) or 0.0) > WILD]
    advice = [Text(_advice(wild), style="yellow")] if wild else []
    return Group(table, Text(_explanation(variations.processes), style="dim"), *advice)


def _told_from(row: Variation) -> str:
    """The least slowdown that a later run FAILs for."""
    ratio = spread.told_from(row.values)
    return "-" if ratio is None else percent(max(ratio, 1 + thresholds.DEFAULT))


def _advice(wild: Sequence[str]) -> str:
    names = f"{', '.join(wild[:MAX_NAMED])}{' …' if len(wild) > MAX_NAMED else ''}"
    return f"a slowdown of half is not told from this spread: {names}; record with more --runs, on a quiet machine"


def _explanation(processes: int) -> str:
    text = f"spreads are standard deviations over {processes} processes and over the iterations"
    if processes < spread.MIN_PROCESSES:
        return f"{text}; from {spread.MIN_PROCESSES} processes on a regression has to exceed them"
    return f"{text}; a run that is slower by less than the last column is not told from this baseline"
