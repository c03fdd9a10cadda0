"""Displays the progress of a run: a live table of cases on a terminal, a line per finished case elsewhere.

No thread redraws the table, since it would disturb the timing: the table and its clock only change when a case enters a
phase or ends.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ttprof.report import sentences
from ttprof.report.case_table import COLOURS
from ttprof.result import CaseResult
from ttprof.verdict import Status

Clock = Callable[[], float]

MAX_ROWS = 15
"""Maximum number of cases in the table."""

RESERVED_LINES = 6
"""Lines of the terminal needed for other things: the heading, the counts of hidden cases, and the prompt."""

PASSES = ("timing", "recording")


class RunProgress:
    """The progress of a run: the current pass, case and phase, the finished cases, and the estimated time left.

    Each pass visits the cases in order. A case that a pass skips enters no phase in that pass.
    """

    def __init__(self, cases: Sequence[str], clock: Clock) -> None:
        self.cases = list(cases)
        self.ended: dict[str, Status] = {}
        self.current: int | None = None
        self.phase = ""
        self.pass_name = PASSES[0]
        self._clock = clock
        self._start = self._pass_start = self._case_start = clock()
        self._begun: set[int] = set()
        self._timed: set[int] = set()
        self._mean_before: float | None = None
        self._at = 0

    @property
    def in_second_pass(self) -> bool:
        """Whether the second pass has begun."""
        return self.pass_name == PASSES[1]

    def begin_pass(self, name: str) -> None:
        """Record that a pass begins."""
        now = self._clock()
        if name == PASSES[1]:
            self._mean_before = (now - self._pass_start) / len(self._begun) if self._begun else None
            self._timed, self._begun, self._at = self._begun, set(), 0
        self.pass_name, self.current = name, None
        self._pass_start = self._case_start = now

    def enter(self, case: str, phase: str) -> None:
        """Record that a case enters a phase."""
        index = self.cases.index(case)
        if index not in self._begun:
            self._begun.add(index)
            self._case_start = self._clock()
        self.current, self._at, self.phase = index, index, phase

    def end(self, case: str, status: Status) -> None:
        """Record that a case has ended, which happens in the second pass only."""
        self.ended[case] = status
        if case in self.cases:
            self._at = self.cases.index(case) + 1
        self.current = None
        self._case_start = self._clock()

    @property
    def finished(self) -> int:
        """The number of cases that the current pass has finished."""
        return len(self.ended) if self.in_second_pass else self._at

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._start

    @property
    def remaining(self) -> float | None:
        """The estimated seconds left in both passes, from the mean time per finished case; None before the first.

        Until a case has finished pass 2, that pass is assumed to take as long per case as pass 1.
        """
        measured = len(self._begun) - (self.current is not None)
        mean = (self._case_start - self._pass_start) / measured if measured else self._mean_before
        if mean is None:
            return None
        in_this_pass = (
            sum(index >= self._at for index in self._timed) if self.in_second_pass else len(self.cases) - self._at
        )
        in_next_pass = 0 if self.in_second_pass else measured + in_this_pass
        return max(0.0, mean * in_this_pass - (self._clock() - self._case_start)) + mean * in_next_pass

    @property
    def focus(self) -> int:
        """The index of the current case, or of the next one between cases."""
        return min(self._at, len(self.cases) - 1)

    def state(self, index: int) -> tuple[str, str]:
        """The status or phase of a case, and its style."""
        name = self.cases[index]
        if name in self.ended:
            return str(self.ended[name]), COLOURS[self.ended[name]]
        if index == self.current:
            return self.phase, "bold cyan"
        return ("timed", "") if self.in_second_pass or index < self._at else ("waiting", "dim")


class LiveTable:
    """Draws the progress of a run on a terminal, and erases it at the end."""

    def __init__(self, title: str, state: RunProgress, live: Live) -> None:
        self._title, self._state, self._live = title, state, live
        self._draw()

    def begin_pass(self, name: str) -> None:
        """Show that a pass begins."""
        self._state.begin_pass(name)
        self._draw()

    def phase(self, case: str, phase: str) -> None:
        """Show that a case enters a phase."""
        self._state.enter(case, phase)
        self._draw()

    def done(self, case: CaseResult) -> None:
        """Show that a case has ended."""
        self._state.end(case.module_name, case.status)
        self._draw()

    def _draw(self) -> None:
        self._live.update(table(self._title, self._state, self._live.console.height), refresh=True)


class Lines:
    """Prints one line per finished case."""

    def __init__(self, title: str, total: int, out: Console) -> None:
        self._out = out
        out.print(Text(f"{title}: {total} case{'s' if total != 1 else ''}"))

    def begin_pass(self, name: str) -> None:
        """Do nothing: the log does not show passes."""

    def phase(self, case: str, phase: str) -> None:
        """Do nothing: a line per phase would flood the log."""

    def done(self, case: CaseResult) -> None:
        """Print the status of a finished case."""
        self._out.print(Text.assemble((f"{case.status:<13}", COLOURS[case.status]), sentences.case_name(case)))


@contextmanager
def progress(
    title: str, cases: Sequence[str], out: Console, clock: Clock = time.monotonic
) -> Iterator[LiveTable | Lines]:
    """Display the progress of *cases* within the context, as a live table if *out* is an interactive terminal."""
    if not out.is_interactive:
        yield Lines(title, len(cases), out)
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        yield LiveTable(title, RunProgress(cases, clock), live)


def table(title: str, run: RunProgress, height: int) -> RenderableType:
    """The heading and the rows around the current case, for a terminal of *height* lines."""
    shown = max(1, min(len(run.cases), MAX_ROWS, height - RESERVED_LINES))
    first = max(0, min(run.focus - shown // 2, len(run.cases) - shown))
    rows = Table(box=None, show_header=False, pad_edge=False)
    rows.add_column(no_wrap=True, min_width=len(Status.INCONCLUSIVE))
    rows.add_column(no_wrap=True, overflow="ellipsis")
    for index in range(first, first + shown):
        state, style = run.state(index)
        rows.add_row(Text(state, style=style), Text(run.cases[index]))
    parts: list[RenderableType] = [head(title, run)]
    if first > 0:
        parts.append(Text(f"… {first} above", style="dim"))
    parts.append(rows)
    if (below := len(run.cases) - first - shown) > 0:
        parts.append(Text(f"… {below} below", style="dim"))
    return Group(*parts)


def head(title: str, run: RunProgress) -> Text:
    """The line above the rows: the pass, its progress, the counts by status, and the time."""
    parts = [f"{title} · pass {1 + PASSES.index(run.pass_name)} of {len(PASSES)} ({run.pass_name})"]
    parts.append(f"{run.finished} of {len(run.cases)}")
    counts = Counter(run.ended.values())
    parts += [f"{counts[status]} {status}" for status in Status if counts[status]]
    parts.append(minutes(run.elapsed))
    if (left := run.remaining) is not None and left >= 1:
        parts.append(f"about {minutes(left)} left")
    return Text(" · ".join(parts), style="bold", no_wrap=True, overflow="ellipsis")


def minutes(seconds: float) -> str:
    """*seconds* as minutes and seconds, for example ``1:05``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
