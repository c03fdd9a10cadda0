"""The terminal: the table after a suite has run, and the text of a failure.

A result enters; rich renderables and plain text leave. Without a terminal, and with NO_COLOR, there are no colours.
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
from ttprof.result import CaseResult, Status, SuiteResult, TrialResult
from ttprof.system.escape import Encodable

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.INCONCLUSIVE: "yellow",
    Status.ERROR: "bold magenta",
    Status.SKIP: "dim",
}
PLAIN_WIDTH = 150
WIDE = 130
WIDEST_NAME = 44


def console(environ: Mapping[str, str] = os.environ) -> Console:
    """The console to print on; wide where nobody watches, so that no table is squeezed into 80 columns.

    Where CI is set nothing on it moves, even if it looks like a terminal: a log keeps every frame.
    """
    still = False if environ.get("CI", "false").lower() not in ("", "0", "false") else None
    out = cast(IO[str], Encodable(sys.stdout))
    console = Console(file=out, highlight=False, force_interactive=still)
    if console.is_terminal or "COLUMNS" in environ:
        return console
    return Console(file=out, highlight=False, force_interactive=still, width=PLAIN_WIDTH)


def drawing() -> Console:
    """A console that prints nothing and keeps everything, to be saved as a picture."""
    return Console(highlight=False, width=PLAIN_WIDTH, record=True, file=io.StringIO(), force_terminal=True)


def save_svg(drawn: Console, path: Path) -> None:
    """Write what a drawing console was given as a picture, with the fonts of the machine: nothing is fetched."""
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn.save_svg(str(path), title="ttprof", code_format=template)


Told = Callable[[CaseResult], Iterator[tuple[Status, str]]]
"""What is said of a case: ``sentences.problems`` or ``sentences.everything``."""


def render(result: SuiteResult, width: int, told: Told = sentences.problems) -> RenderableType:
    """The table of cases, a sentence for everything that is *told* of them, and the totals.

    Where *width* characters do not hold the inputs beside the metrics, they have a table of their own.
    """
    parts: list[RenderableType] = [Text(f"{result.name} · {sentences.machine(result)}", style="dim")]
    measured = [_metric_column(result, name) for name in sentences.columns(result)]
    if width >= WIDE:
        longest = max((len(sentences.case_name(case)) for case in result), default=0)
        parts.append(_table(result, [STATUS, *measured, INPUTS, FROM], min(longest, WIDEST_NAME)))
    else:
        parts += [_table(result, [INPUTS, FROM]), Text(), _table(result, [STATUS, *measured])]
    said = [(case, list(told(case))) for case in result]
    for case, sentences_told in said:
        parts += [_line(status, sentences.case_name(case), sentence) for status, sentence in sentences_told]
    for case, sentences_told in said:
        again = {sentence for _, sentence in sentences_told}
        notes = (note for note in sentences.notes(case) if note not in again)
        parts += [Text(f"note {sentences.case_name(case)}: {note}", style="dim") for note in notes]
    colour = "bold green" if result.passed else "bold red"
    parts.append(Text(sentences.totals(result), style=colour))
    return Group(*parts)


def _line(status: Status, name: str, sentence: str) -> Text:
    return Text.assemble((f"{status}", COLOURS[status]), f" {name}: {sentence}")


class _Column(NamedTuple):
    """A column of the table of cases: what stands in the row of a case, and in that of each of its trials."""

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
    """One row for a case; a swept one has a row of its own and one below it for each point.

    Names get at least *name_width* characters, however little that leaves for the other columns.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", overflow="fold", min_width=name_width)
    for column in columns:
        table.add_column(column.heading, justify=column.justify, overflow="fold", no_wrap=column.no_wrap)
    for case in result:
        trials = [trial for trial in case.trials if trial.point]
        alone = next((trial for trial in case.trials if not trial.point), None)
        cells = (c.of_case(case) or (c.of_trial(case, alone) if alone else "") for c in columns)
        table.add_row(Text(sentences.case_name(case)), *cells)
        for trial in trials:
            table.add_row(Text(f"  {trial.point}", style="dim"), *(c.of_trial(case, trial) for c in columns))
    return table


def failure_text(result: SuiteResult) -> str:
    """The failures as plain text, one line for each case and an indented one for each sentence."""
    lines = [f"{len(result.failures)} of {len(result)} cases failed or could not be judged"]
    lines += [case_text(case) for case in result.failures]
    return "\n".join([*lines, where(result)])


def brief(result: SuiteResult) -> str:
    """The failures as plain text, where there are some, and the totals."""
    totals = sentences.named_totals(result)
    return totals if result.passed else f"{failure_text(result)}\n{totals}"


def case_text(case: CaseResult) -> str:
    """A case as plain text: a line that says where it was written, and an indented one for each sentence."""
    said = [f"    {status}: {sentence}" for status, sentence in sentences.problems(case)]
    return "\n".join([f"{case.status:<13}{sentences.case_name(case)} ({case.source})", *said])


def where(result: SuiteResult) -> str:
    """The line that says where everything about a run is kept."""
    return f"result: {result.run_dir}/result.json"
