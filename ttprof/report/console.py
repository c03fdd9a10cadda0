"""Renders a result for the terminal: the table of a finished suite, and failures as plain text.

There are no colours without a terminal or with NO_COLOR.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report import sentences
from ttprof.result import CaseResult, SuiteResult, TrialResult
from ttprof.system.escape import Encodable
from ttprof.verdict import Status

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.INCONCLUSIVE: "yellow",
    Status.ERROR: "bold magenta",
    Status.SKIP: "dim",
}
PLAIN_WIDTH = 150
"""The width of output that doesn't go to a terminal, in columns."""

WIDE = 130
"""The width in columns from which the inputs fit into the table of metrics."""

MAX_NAME_WIDTH = 44
"""Maximum number of columns reserved for the names of cases."""


def console(environ: Mapping[str, str] = os.environ) -> Console:
    """The console on standard output; wide without a terminal, so that tables are not squeezed into 80 columns.

    Under CI it is not interactive, even if it looks like a terminal: a log would keep every frame.
    """
    interactive = False if environ.get("CI", "false").lower() not in ("", "0", "false") else None
    out = cast(IO[str], Encodable(sys.stdout))
    console = Console(file=out, highlight=False, force_interactive=interactive)
    if console.is_terminal or "COLUMNS" in environ:
        return console
    return Console(file=out, highlight=False, force_interactive=interactive, width=PLAIN_WIDTH)


def drawing() -> Console:
    """A console that records its output without printing it, to be saved as a picture."""
    return Console(highlight=False, width=PLAIN_WIDTH, record=True, file=io.StringIO(), force_terminal=True)


def save_svg(drawn: Console, path: Path) -> None:
    """Save the output of a drawing console as SVG with local fonts, so that no viewer downloads any."""
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn.save_svg(str(path), title="ttprof", code_format=template)


Reasons = Callable[[CaseResult], Iterator[tuple[Status, str]]]
"""Selects the reasons to show for a case: ``sentences.problems`` or ``sentences.all_reasons``."""


def render(result: SuiteResult, width: int, reasons: Reasons = sentences.problems) -> RenderableType:
    """The table of cases, the selected *reasons*, the notes and the totals.

    If metrics and inputs don't fit into *width* columns, the inputs get a separate table, and the headings of metrics
    are stacked, which leaves room for the names of cases.
    """
    parts: list[RenderableType] = [Text(f"{result.name} · {sentences.machine(result)}", style="dim")]
    measured = [_metric_column(result, name) for name in sentences.columns(result)]
    if width >= WIDE:
        longest = max((len(sentences.case_name(case)) for case in result), default=0)
        parts.append(_table(result, [STATUS, *measured, INPUTS, FROM], min(longest, MAX_NAME_WIDTH)))
    else:
        narrow = [column._replace(heading=column.heading.replace(" ", "\n")) for column in measured]
        parts += [_table(result, [INPUTS, FROM]), Text(), _table(result, [STATUS, *narrow])]
    reasons_by_case = [(case, list(reasons(case))) for case in result]
    for case, shown in reasons_by_case:
        parts += [_line(status, sentences.case_name(case), reason) for status, reason in shown]
    for case, shown in reasons_by_case:
        texts = {reason for _, reason in shown}
        notes = (note for note in sentences.notes(case) if note not in texts)
        parts += [Text(f"note {sentences.case_name(case)}: {note}", style="dim") for note in notes]
    colour = "bold green" if result.passed else "bold red"
    parts.append(Text(sentences.totals(result), style=colour))
    return Group(*parts)


def _line(status: Status, name: str, reason: str) -> Text:
    return Text.assemble((f"{status}", COLOURS[status]), f" {name}: {reason}")


class _Column(NamedTuple):
    """A column of the table of cases, with the cells for a case and for each of its trials."""

    heading: str
    of_trial: Callable[[CaseResult, TrialResult], str | Text]
    of_case: Callable[[CaseResult], str | Text] = lambda case: ""
    justify: Literal["left", "right"] = "left"
    no_wrap: bool = False


STATUS = _Column("status", lambda case, trial: "", lambda case: Text(str(case.status), style=COLOURS[case.status]))
INPUTS = _Column("inputs", lambda case, trial: Text(trial.inputs, style="dim"))
FROM = _Column("from", lambda case, trial: Text(trial.inputs_source, style="dim"), no_wrap=True)


def _metric_column(result: SuiteResult, name: str) -> _Column:
    heading = sentences.heading(result, name)
    return _Column(heading, lambda case, trial: sentences.cell(case, trial, name), justify="right")


def _table(result: SuiteResult, columns: list[_Column], name_width: int = 0) -> Table:
    """One row per case; a swept case has another row below it for each point.

    The names get at least *name_width* columns, however few that leaves for the rest.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", overflow="fold", min_width=name_width)
    for column in columns:
        table.add_column(column.heading, justify=column.justify, overflow="fold", no_wrap=column.no_wrap)
    for case in result:
        trials = [trial for trial in case.trials if trial.point]
        unswept = next((trial for trial in case.trials if not trial.point), None)
        cells = (c.of_case(case) or (c.of_trial(case, unswept) if unswept else "") for c in columns)
        table.add_row(Text(sentences.case_name(case)), *cells)
        for trial in trials:
            table.add_row(Text(f"  {trial.point}", style="dim"), *(c.of_trial(case, trial) for c in columns))
    return table


def failure_text(result: SuiteResult) -> str:
    """The failures as plain text: one line per case, followed by its reasons, indented."""
    lines = [f"{len(result.failures)} of {len(result)} cases failed or could not be judged"]
    lines += [case_text(case) for case in result.failures]
    return "\n".join([*lines, result_line(result)])


def brief(result: SuiteResult) -> str:
    """The failures, if any, and the totals as plain text."""
    totals = sentences.named_totals(result)
    return totals if result.passed else f"{failure_text(result)}\n{totals}"


def case_text(case: CaseResult) -> str:
    """A case as plain text: a line with its status and source, followed by its reasons, indented."""
    reasons = [f"    {status}: {reason}" for status, reason in sentences.problems(case)]
    return "\n".join([f"{case.status:<13}{sentences.case_name(case)} ({case.source})", *reasons])


def result_line(result: SuiteResult) -> str:
    """The line with the path of a run's result."""
    return f"result: {result.run_dir}/result.json"
