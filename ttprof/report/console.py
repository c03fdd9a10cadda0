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
from typing import IO, TextIO, cast

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.text import Text

from ttprof.report import case_table, outputs, sentences
from ttprof.report.case_table import COLOURS
from ttprof.result import CaseResult, SuiteResult
from ttprof.system.escape import Encodable, WithoutCommands
from ttprof.verdict import Status

PLAIN_WIDTH = 150
"""The width of output that doesn't go to a terminal, in columns."""


def console(environ: Mapping[str, str] = os.environ) -> Console:
    """The console on standard output; wide without a terminal, so that tables are not squeezed into 80 columns.

    Under CI it is not interactive, even if it looks like a terminal: a log would keep every frame.
    """
    interactive = False if environ.get("CI", "false").lower() not in ("", "0", "false") else None
    encodable = cast(TextIO, Encodable(sys.stdout))
    in_actions = environ.get("GITHUB_ACTIONS") == "true"
    out = cast(IO[str], WithoutCommands(encodable) if in_actions else encodable)
    console = Console(file=out, highlight=False, force_interactive=interactive)
    if console.is_terminal or "COLUMNS" in environ:
        return console
    return Console(file=out, highlight=False, force_interactive=interactive, width=PLAIN_WIDTH)


def drawing() -> Console:
    """A console that records its output without printing it, to be saved as a picture."""
    return Console(highlight=False, width=PLAIN_WIDTH, record=True, file=io.StringIO(), force_terminal=True)


def save_svg(drawn: Console, path: Path) -> None:
    """Save the output of a drawing console as SVG with local fonts, so that no viewer downloads any.

    Raises ResultFileError if the file can't be written.
    """
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    outputs.write_text(path, drawn.export_svg(title="ttprof", code_format=template))


Reasons = Callable[[CaseResult], Iterator[tuple[Status, str]]]
"""Selects the reasons to show for a case: ``sentences.problems`` or ``sentences.all_reasons``."""


def render(result: SuiteResult, width: int, reasons: Reasons = sentences.problems) -> RenderableType:
    """The cases within *width* columns, the selected *reasons*, the notes and the totals."""
    parts: list[RenderableType] = [Text(f"{result.name} · {sentences.machine(result)}", style="dim")]
    parts += case_table.cases(result, width)
    shown = [(case, list(reasons(case))) for case in result]
    for case, of_case in shown:
        parts += [_line(status, sentences.case_name(case), reason) for status, reason in of_case]
    remaining = [(case, sentences.notes_beside(case, {reason for _, reason in of_case})) for case, of_case in shown]
    parts += [Text(f"note {line}", style="dim") for line in sentences.note_lines(remaining)]
    if made := sentences.looks(result):
        parts.append(Text(made, style="dim"))
    parts.append(Text(sentences.totals(result), style="bold green" if result.passed else "bold red"))
    return Group(*parts)


def _line(status: Status, name: str, reason: str) -> Text:
    return Text.assemble((f"{status}", COLOURS[status]), f" {name}: {reason}")


def failure_text(result: SuiteResult) -> str:
    """The failures as plain text: one line per case, followed by its reasons, indented."""
    lines = [f"{len(result.failures)} of {len(result)} cases failed or could not be judged"]
    lines += [case_text(case) for case in result.failures]
    return "\n".join([*lines, result_line(result)] if result.run_dir else lines)


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
