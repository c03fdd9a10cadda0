"""Publishes a finished run: result.json and TensorBoard files in its folder, and a report on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from ttprof.errors import ResultFileError
from ttprof.report import console, sentences, tensorboard
from ttprof.report import progress as live
from ttprof.result import RESULT_FILE, CaseResult, SuiteResult
from ttprof.system.escape import Encodable, visible


@dataclass(frozen=True)
class Verbosity:
    """How much a run prints: nothing if ``quiet``; also the reasons for passing verdicts if ``verbose``."""

    quiet: bool = False
    verbose: bool = False


class Silent:
    """Ignores progress events."""

    def begin_pass(self, name: str) -> None:
        """Do nothing."""

    def phase(self, case: str, phase: str) -> None:
        """Do nothing."""

    def done(self, case: CaseResult) -> None:
        """Do nothing."""


@contextmanager
def progress(title: str, cases: Sequence[str], verbosity: Verbosity) -> Iterator[Silent | live.LiveTable | live.Lines]:
    """Display the progress of *cases* on the terminal during the context, unless quiet."""
    if verbosity.quiet:
        yield Silent()
        return
    with live.progress(title, cases, console.console()) as display:
        yield display


def publish(result: SuiteResult, verbosity: Verbosity, journal_problem: str = "") -> None:
    """Save the result and its TensorBoard files in the run's folder, then print it.

    Whatever can't be written is said on standard error, and keeps nothing else from being written.
    """
    folder = Path(result.run_dir)
    path, problems = folder / RESULT_FILE, [journal_problem] if journal_problem else []
    for write in (lambda: result.save(path), lambda: tensorboard.write(result, folder)):
        try:
            write()
        except (OSError, ResultFileError) as error:
            problems.append(f"not saved: {error}")
    _print(result, verbosity, path)
    for problem in problems:
        complain(problem)


def _print(result: SuiteResult, verbosity: Verbosity, saved: Path) -> None:
    out = console.console()
    if not verbosity.quiet:
        reasons = sentences.all_reasons if verbosity.verbose else sentences.problems
        out.print(console.render(result, out.width, reasons))
    if result.interrupted:
        out.print(Text(f"{sentences.interruption(result)} {saved}", style="bold yellow"), soft_wrap=True)
    elif not verbosity.quiet:
        hint = f"result {saved} · view traces: ttprof view {saved.parent.parent}" if saved.exists() else ""
        for line in filter(None, (sentences.recording(result), hint)):
            out.print(Text(line, style="dim"), soft_wrap=True)


def note(text: str, verbosity: Verbosity) -> None:
    """Print a line about the run, unless quiet."""
    if not verbosity.quiet:
        console.console().print(Text(text, style="dim"), soft_wrap=True)


def complain(text: str) -> None:
    """Print a line on standard error, as far as there is one."""
    print(f"ttprof: {visible(text)}", file=Encodable(sys.stderr), flush=True)
