"""An mkdocs hook: writes the table of metrics from the registry, as ``ttprof metrics`` prints it."""

from __future__ import annotations

from typing import Any

from ttprof.metrics import REGISTRY

PLACEHOLDER = "<!-- the table of metrics -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the placeholder in docs/metrics.md by the table."""
    return markdown.replace(PLACEHOLDER, table())


def table() -> str:
    """The registry as a Markdown table, one row per metric."""
    rows = [
        "| metric | unit | limit | statistic | meaning | needs |",
        "|---|---|---|---|---|---|",
    ]
    for metric in REGISTRY.values():
        names = f"`{metric.name}`" + "".join(f"<br>(`{alias}`)" for alias in metric.aliases)
        direction = "at&nbsp;most" if metric.better == "lower" else "at&nbsp;least"
        cells = (names, metric.unit.symbol, direction, metric.statistic, metric.help, metric.needs)
        rows.append("| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |")
    return "\n".join(rows)
