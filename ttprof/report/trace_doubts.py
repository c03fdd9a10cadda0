"""What is to be said before the numbers of a trace: what is missing, impossible or unknown in it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from ttprof.codes import NoteCode
from ttprof.report.trace_cells import counted
from ttprof.trace.analyses.summary import Summary
from ttprof.trace.events import UnknownRows
from ttprof.units import format_ns

SHOWN_KINDS = 4
"""Kinds of unknown rows that are named."""


def warnings(summary: Summary) -> Iterator[Text]:
    """What is missing, impossible or unknown in a trace, and notes on it."""
    for reason in summary.trace.reasons:
        what = "impossible records" if reason.code is NoteCode.RECORDS_LEFT_OUT else "incomplete trace"
        yield Text(f"WARNING {what}: {reason}", style="bold red")
    if summary.trace.unknown:
        yield Text(_unknown(summary), style="bold yellow")
    for note in summary.trace.notes:
        yield Text(f"note: {note}", style="yellow")
    kernels = summary.kernels
    several = summary.trace.kernels_with_ambiguous_launch
    causes = {
        "no launch in this trace (launched before recording began, for example)": kernels.without_launch - several,
        "an id that calls of several processes share, so that the launch is not known": several,
    }
    for cause, count in causes.items():
        if count:
            have, they = ("has", "it counts") if count == 1 else ("have", "they count")
            text = f"{count} of {counted(kernels.count, 'kernel')} {have} {cause}: {they} in totals and shares, "
            yield Text(text + "but in no step, op or module", style="yellow")


def no_work(summary: Summary) -> str:
    """A sentence on a trace without work of a device that is known; it has none at all only if all rows are known."""
    if any(left_out.table in ("kernels", "memcpy", "memset") for left_out in summary.trace.left_out):
        return "all work of the device is left out, see above"
    if summary.trace.unknown:
        return "no work of a device among the rows that ttprof knows"
    where = "in the readable part of" if summary.trace.lost else "in"
    return f"no device activity {where} this trace"


def _unknown(summary: Summary) -> str:
    """A sentence on rows of categories that ttprof does not know."""
    rows = summary.trace.unknown
    kinds = [f"{row.count} {_category(row)}" + (f", {format_ns(row.time_ns)}" if row.time_ns else "") for row in rows]
    more = f"; {len(kinds) - SHOWN_KINDS} more kinds" if len(kinds) > SHOWN_KINDS else ""
    count = sum(row.count for row in rows)
    return (
        f"WARNING unknown rows: {count} of {counted(summary.events, 'event')} are of no category that ttprof knows "
        f"({'; '.join(kinds[:SHOWN_KINDS])}{more}): they are in no number below"
    )


def _category(row: UnknownRows) -> str:
    name = "without a category" if row.category is None else f"of {row.category!r}"
    return name if row.phase == "X" else f"{name} with phase {row.phase!r}"
