"""Draws the comparison of two runs, for ``ttprof compare`` and ``ttprof baseline update``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ttprof.judge import causes
from ttprof.judge.metric_change import Change, ComparedMetric
from ttprof.judge.regression import Comparison
from ttprof.report.trace_cells import counted
from ttprof.units import significant

COLOURS: dict[Change, str] = {
    "regression": "bold red",
    "not measured": "bold magenta",
    "drift": "yellow",
    "undecided": "yellow",
    "removed": "cyan",
    "new": "cyan",
    "win": "green",
    "same": "dim",
}


def render(comparison: Comparison) -> RenderableType:
    """Every metric that changed, with the reason, the undecided ones last; then the number of metrics by change."""
    parts: list[RenderableType] = [Text(f"base {comparison.base}\nnew  {comparison.new}", style="bold")]
    parts += [
        Text(f"WARNING compared although the hardware differs: {difference}", style="bold red")
        for difference in comparison.forced
    ]
    if comparison.oldest:
        parts.append(Text(f"drift since {comparison.oldest}", style="dim"))
    if comparison.software:
        parts.append(Text(f"software: {', '.join(comparison.software)}", style="dim"))
    parts += [Text(f"WARNING {caveat}", style="yellow") for caveat in comparison.caveats]
    changed = [row for row in comparison.rows if row.change != "same"]
    if changed:
        parts += [Text(), *_lines(sorted(changed, key=lambda row: row.change == "undecided"))]
        parts += [*_causes(comparison), Text()]
    return Group(*parts, _totals(comparison))


def _causes(comparison: Comparison) -> Iterator[Text]:
    """A line on the operators and kernels that changed for each trial that regressed."""
    for trial in comparison.changed:
        case = f"{trial.case} {trial.point}".rstrip()
        clauses = "; ".join(causes.clauses(trial.operators))
        yield Text.assemble(("operators ", "cyan"), (case, "bold"), f": {clauses}")


def _totals(comparison: Comparison) -> Text:
    counts = Counter(row.change for row in comparison.rows)
    totals = ", ".join(_count(counts[change], change) for change in COLOURS if counts[change]) or "nothing to compare"
    threshold = significant(100 * comparison.threshold)
    return Text(
        f"{totals} (threshold for times: {threshold} %)", style="bold green" if comparison.passes() else "bold red"
    )


def _count(count: int, change: Change) -> str:
    return counted(count, change) if change in ("regression", "win") else f"{count} {change}"


def _lines(rows: Sequence[ComparedMetric]) -> Iterator[Text]:
    """A line for each metric, as a suite has for each verdict: on a narrow terminal it wraps, and no name is broken."""
    width = max(len(row.change) for row in rows)
    for row in rows:
        case = f"{row.case} {row.point}".rstrip()
        yield Text.assemble((f"{row.change:<{width}}", COLOURS[row.change]), " ", (case, "bold"), f": {row.reason}")
