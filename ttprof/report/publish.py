"""Where a finished run goes: its folder (result.json and TensorBoard files) and the terminal.

A result enters; files and printed text leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from ttprof.report import console, sentences, tensorboard
from ttprof.report import progress as live
from ttprof.result import RESULT_FILE, CaseResult, SuiteResult


@dataclass(frozen=True)
class Shown:
    """How much a run prints: nothing when ``quiet``, every sentence and not only those of problems when ``verbose``."""

    quiet: bool = False
    verbose: bool = False


class Silent:
    """Shows no progress."""

    def begin_pass(self, name: str) -> None:
        """Nothing."""

    def phase(self, case: str, phase: str) -> None:
        """Nothing."""

    def done(self, case: CaseResult) -> None:
        """Nothing."""


@contextmanager
def progress(title: str, cases: Sequence[str], shown: Shown) -> Iterator[Silent | live.LiveTable | live.Lines]:
    """A progress display of the named cases on the terminal, or a silent one."""
    if shown.quiet:
        yield Silent()
        return
    with live.progress(title, cases, console.console()) as display:
        yield display


def publish(result: SuiteResult, shown: Shown) -> None:
    """Save the result and its TensorBoard files in the run's folder, and print it."""
    folder = Path(result.run_dir)
    out = console.console()
    if not shown.quiet:
        out.print(console.render(result, out.width, sentences.everything if shown.verbose else sentences.problems))
    saved = result.save(folder / RESULT_FILE)
    tensorboard.write(result, folder)
    if result.interrupted:
        out.print(Text(f"{sentences.interruption(result)}: {saved}", style="bold yellow"), soft_wrap=True)
    elif not shown.quiet:
        where = f"result {saved} · view traces: ttprof view {folder.parent}"
        for line in filter(None, (sentences.recording(result), where)):
            out.print(Text(line, style="dim"), soft_wrap=True)
