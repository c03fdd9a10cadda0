"""The cases on a terminal: a table where it fits, and on a narrow terminal a block of lines for each case.

Names and statuses are never broken. Metrics come first, inputs last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ttprof.report import sentences
from ttprof.result import CaseResult, SuiteResult, TrialResult
from ttprof.verdict import Status

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.INCONCLUSIVE: "yellow",
    Status.ERROR: "bold magenta",
    Status.SKIP: "dim",
}
GAP = 2
"""Columns between two cells."""

INPUTS_WIDTH = 28
"""The width in columns from which inputs, which wrap, are readable."""

INDENT = 2
"""Columns before the lines below a name."""

SEPARATOR = " · "


class _Column(NamedTuple):
    """A column of the table, with the text for a case and for each of its trials.

    ``parts`` splits a cell at the places where it may be broken.
    """

    heading: str
    of_trial: Callable[[CaseResult, TrialResult], str]
    of_case: Callable[[CaseResult], str] = lambda case: ""
    parts: Callable[[str], list[str]] = lambda cell: [cell]
    justify: Literal["left", "right"] = "left"
    style: str = ""


def _words_of_inputs(cell: str) -> list[str]:
    return [*cell.split(), cell[:INPUTS_WIDTH]]


def _value_and_bound(cell: str) -> list[str]:
    value, bracket, bound = cell.partition(" (")
    return [value, bracket.strip() + bound]


NAME = _Column("case", lambda case, trial: f"  {trial.point}", sentences.case_name)
STATUS = _Column("status", lambda case, trial: "", lambda case: str(case.status))
INPUTS = _Column("inputs", lambda case, trial: trial.inputs, parts=_words_of_inputs, style="dim")
FROM = _Column("from", lambda case, trial: trial.inputs_source, style="dim")


def _metric(result: SuiteResult, name: str) -> _Column:
    return _Column(
        sentences.heading(result, name),
        lambda case, trial: sentences.cell(case, trial, name),
        parts=_value_and_bound,
        justify="right",
    )


class _Cells(NamedTuple):
    """The columns of a table, and its rows: one for each case and, below a swept one, one for each point."""

    columns: Sequence[_Column]
    rows: list[tuple[CaseResult, TrialResult | None, list[str]]]

    @classmethod
    def of(cls, result: SuiteResult, columns: Sequence[_Column]) -> _Cells:
        rows: list[tuple[CaseResult, TrialResult | None, list[str]]] = []
        for case in result:
            unswept = next((trial for trial in case.trials if not trial.point), None)
            cells = [c.of_case(case) or (c.of_trial(case, unswept) if unswept else "") for c in columns]
            rows.append((case, None, cells))
            swept = (trial for trial in case.trials if trial.point)
            rows += [(case, trial, [c.of_trial(case, trial) for c in columns]) for trial in swept]
        return cls(columns, rows)

    def widths(self, width: int) -> list[int] | None:
        """The widths of the columns in a table of *width*: in full from the left on; None if it does not fit."""
        cells = [[row[i] for _, _, row in self.rows] for i in range(len(self.columns))]
        least, full = [], []
        for column, texts in zip(self.columns, cells, strict=True):
            least.append(_longest([*column.heading.split(), *(part for cell in texts for part in column.parts(cell))]))
            full.append(_longest([column.heading, *texts]))
        left = width - sum(least) - GAP * (len(least) - 1)
        if left < 0:
            return None
        widths = []
        for shortest, longest in zip(least, full, strict=True):
            more = min(left, longest - shortest)
            widths.append(shortest + more)
            left -= more
        return widths

    def table(self, widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(column.heading, justify=column.justify, overflow="fold", width=width)
        for case, trial, cells in self.rows:
            row = zip(self.columns, cells, widths, strict=True)
            table.add_row(*(_drawn(column, cell, width, case, trial) for column, cell, width in row))
        return table


def _longest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _drawn(column: _Column, cell: str, width: int, case: CaseResult, trial: TrialResult | None) -> Text:
    """A cell; a metric that is too wide has its bound on a second line."""
    if column is STATUS and trial is None:
        return Text(cell, style=COLOURS[case.status])
    is_broken = column.justify == "right" and cell_len(cell) > width
    return Text("\n".join(column.parts(cell)) if is_broken else cell, style=_style(column, trial))


def _style(column: _Column, trial: TrialResult | None) -> str:
    return "dim" if column is NAME and trial is not None else column.style


def cases(result: SuiteResult, width: int) -> list[RenderableType]:
    """The cases within *width* columns: with their inputs in one table if they fit, else the inputs apart, below.

    Where not even the names and the metrics fit side by side, each case is a block of lines.
    """
    metrics = [_metric(result, name) for name in sentences.columns(result)]
    whole = _Cells.of(result, [NAME, STATUS, *metrics, INPUTS, FROM])
    if (widths := whole.widths(width)) is not None:
        return [whole.table(widths)]
    measured, inputs = _Cells.of(result, [NAME, STATUS, *metrics]), _Cells.of(result, [NAME, INPUTS, FROM])
    widths, beside = measured.widths(width), inputs.widths(width)
    if widths is not None and beside is not None:
        return [measured.table(widths), Text(), inputs.table(beside), Text()]
    return [*_blocks(result, width), Text()]


def _blocks(result: SuiteResult, width: int) -> list[RenderableType]:
    """For each case a line with its status and name; below it, at each point of a sweep, its metrics and inputs."""
    names = sentences.columns(result)
    status_width = _longest([str(case.status) for case in result])
    lines: list[RenderableType] = []
    for case in result:
        status = (f"{case.status:<{status_width}}", COLOURS[case.status])
        lines.append(Text.assemble(status, " ", (sentences.case_name(case), "bold")))
        for trial in case.trials:
            cells = [sentences.labelled_cell(result, case, trial, name) for name in names]
            filled = _filled([str(trial.point), *cells], width - INDENT)
            inputs = Text(f"inputs {trial.inputs}, {trial.inputs_source}", style="dim")
            lines += [Padding(line, (0, 0, 0, INDENT), expand=False) for line in (*map(Text, filled), inputs)]
    return lines


def _filled(cells: Sequence[str], width: int) -> list[str]:
    """Lines of *width* with as many cells as fit, without the empty ones."""
    lines: list[str] = []
    for cell in filter(None, cells):
        if lines and cell_len(f"{lines[-1]}{SEPARATOR}{cell}") <= width:
            lines[-1] += f"{SEPARATOR}{cell}"
        else:
            lines.append(cell)
    return lines
