"""The terminal: progress while a suite runs, the table after it, and the text of a failure.

A result enters; rich renderables and plain text leave. Without a terminal there are no colours and no bars, and
a line is printed for each case.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ttprof.report import sentences
from ttprof.result import CaseResult, Status, SuiteResult

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.INCONCLUSIVE: "yellow",
    Status.ERROR: "bold magenta",
    Status.SKIP: "dim",
}
PLAIN_WIDTH = 140
WIDEST_NAME = 44


def console() -> Console:
    """The console to print on; wide where nobody watches, so that no table is squeezed into 80 columns."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def drawing() -> Console:
    """A console that prints nothing and keeps everything, to be saved as a picture."""
    return Console(highlight=False, width=PLAIN_WIDTH, record=True, file=io.StringIO(), force_terminal=True)


def save_svg(drawn: Console, path: Path) -> None:
    """Write what a drawing console was given as a picture, with the fonts of the machine: nothing is fetched."""
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn.save_svg(str(path), title="ttprof", code_format=template)


class CaseProgress:
    """Shows which case is in which phase; on a terminal as a bar, else as a line for each finished case."""

    def __init__(self, out: Console, bar: Progress | None, total: int) -> None:
        self._out = out
        self._bar = bar
        self._task = bar.add_task("", total=2 * total) if bar else None
        self._seen: list[str] = []

    def phase(self, case: str, phase: str) -> None:
        """A case enters a phase; each case goes through two passes, and each pass begins with its inputs."""
        if self._bar is None or self._task is None:
            return
        if phase == "inputs":
            self._bar.update(self._task, completed=len(self._seen))
            self._seen.append(case)
        self._bar.update(self._task, description=f"{phase:<10} {case}")

    def done(self, case: CaseResult) -> None:
        """A case has ended."""
        if self._bar is None:
            self._out.print(Text(f"{case.status:<13}{case.module_name}"))


@contextmanager
def progress(title: str, total: int, out: Console) -> Iterator[CaseProgress]:
    """A progress display for *total* cases."""
    if not out.is_terminal:
        out.print(Text(f"{title}: {total} case{'s' if total != 1 else ''}"))
        yield CaseProgress(out, None, total)
        return
    shown = (
        TextColumn("{task.description}", table_column=None),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*shown, console=out, transient=True) as bar:
        yield CaseProgress(out, bar, total)


def render(result: SuiteResult) -> RenderableType:
    """The table of cases, a sentence for everything that is not a PASS, and the totals."""
    parts: list[RenderableType] = [Text(f"{result.name} · {sentences.machine(result)}", style="dim"), _table(result)]
    for case in result:
        for status, sentence in sentences.problems(case):
            parts.append(_line(status, case.module_name, sentence))
    for case in result:
        parts += [Text(f"note {case.module_name}: {note}", style="dim") for note in sentences.notes(case)]
    colour = "bold green" if result.passed else "bold red"
    parts.append(Text(sentences.totals(result), style=colour))
    return Group(*parts)


def _line(status: Status, name: str, sentence: str) -> Text:
    return Text.assemble((f"{status}", COLOURS[status]), f" {name}: {sentence}")


def _table(result: SuiteResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = sentences.columns(result)
    longest = max((len(case.module_name) for case in result), default=0)
    table.add_column("case", overflow="fold", min_width=min(max(longest, 14), WIDEST_NAME))
    table.add_column("status")
    for name in names:
        table.add_column(sentences.heading(result, name), justify="right")
    table.add_column("inputs", overflow="fold")
    table.add_column("from", no_wrap=True, min_width=len("synthesised"))
    for case in result:
        _add_rows(table, case, names)
    return table


def _add_rows(table: Table, case: CaseResult, names: list[str]) -> None:
    """One row for a case; a swept one has a row of its own and one below it for each point."""
    status = Text(str(case.status), style=COLOURS[case.status])
    if len(case.trials) != 1 or case.trials[0].point:
        table.add_row(Text(case.module_name), status)
    for trial in case.trials:
        point = ", ".join(f"{axis}={value}" for axis, value in trial.point.items())
        first = (Text(f"  {point}", style="dim"), "") if point else (Text(case.module_name), status)
        cells = (sentences.cell(case, trial, name) for name in names)
        table.add_row(*first, *cells, Text(trial.inputs, style="dim"), Text(trial.inputs_source, style="dim"))


def failure_text(result: SuiteResult) -> str:
    """The failures as plain text, one line for each case and an indented one for each sentence."""
    lines = [f"{len(result.failures)} of {len(result)} cases failed or could not be judged"]
    for case in result.failures:
        lines.append(f"{case.status:<13}{case.module_name} ({case.source})")
        lines += [f"    {status}: {sentence}" for status, sentence in sentences.problems(case)]
    lines.append(f"result: {result.run_dir}/result.json")
    return "\n".join(lines)
