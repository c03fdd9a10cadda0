"""Where a finished run goes: its folder (result.json and TensorBoard files) and the terminal.

A result enters; files and printed text leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from ttprof.report import console, tensorboard
from ttprof.result import CaseResult, SuiteResult

RESULT_FILE = "result.json"


class Silent:
    """Progress that nobody sees."""

    def phase(self, case: str, phase: str) -> None:
        """Nothing."""

    def done(self, case: CaseResult) -> None:
        """Nothing."""


@contextmanager
def progress(title: str, total: int, quiet: bool) -> Iterator[Silent | console.CaseProgress]:
    """A progress display on the terminal, or a silent one."""
    if quiet:
        yield Silent()
        return
    with console.progress(title, total, console.console()) as shown:
        yield shown


def publish(result: SuiteResult, quiet: bool) -> None:
    """Save the result and its TensorBoard files in the run's folder; print it unless *quiet*."""
    folder = Path(result.run_dir)
    out = console.console()
    if not quiet:
        out.print(console.render(result, out.width))
    saved = result.save(folder / RESULT_FILE)
    tensorboard.write(result, folder)
    if not quiet:
        where = f"result {saved} · look at the traces with: ttprof view {folder.parent}"
        out.print(Text(where, style="dim"), soft_wrap=True)
