"""The tables of ``ttprof scrub``: what was removed and what was kept, in counts."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.trace.scrub.tally import Count, Scrubbed

CHECK = (
    "Names are kept as they are, apart from those texts: look through the copy before you attach it, and --hide more."
)


def render(outcome: Scrubbed) -> Group:
    """The outcome of a scrub; it shows none of the removed texts."""
    return Group(*_parts(outcome))


def _parts(outcome: Scrubbed) -> Iterator[RenderableType]:
    yield Text(f"wrote {outcome.target} · {outcome.rows:,} rows", style="bold")
    yield Text("")
    yield _table("removed", outcome.removed)
    yield Text("")
    yield _table("distinct names kept", outcome.kept)
    yield Text("")
    yield Text(CHECK)


def _table(heading: str, counts: list[Count]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(heading)
    table.add_column("count", justify="right")
    for row in counts:
        table.add_row(Text(row.what), f"{row.count:,}")
    if not counts:
        table.add_row("nothing", "")
    return table
