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
from ttprof.report.console import COLOURS
from ttprof.result import CaseResult
from ttprof.verdict import Status

Clock = Callable[[], float]

MOST_ROWS = 15
"""Cases in the table at most."""

AROUND = 6
"""Lines of the terminal that are not rows: the heading, the counts of hidden cases, and the prompt."""

PASSES = ("timing", "recording")


class Course:
    """The progress of a run: the current pass, case and phase, the ended cases, and the estimated time left.

    All cases go through the first pass and then through the second, in order; a case that a pass skips
    enters no phase in it.
    """

    def __init__(self, cases: Sequence[str], clock: Clock) -> None:
        self.cases = list(cases)
        self.ended: dict[str, Status] = {}
        self.current: int | None = None
        self.phase = ""
        self.pass_ = PASSES[0]
        self._clock = clock
        self._start = self._pass_start = self._case_start = clock()
        self._begun: set[int] = set()
        self._timed: set[int] = set()
        self._mean_before: float | None = None
        self._at = 0

    @property
    def second(self) -> bool:
        """Whether the second pass has begun."""
        return self.pass_ == PASSES[1]

    def begin_pass(self, name: str) -> None:
        """A pass begins."""
        now = self._clock()
        if name == PASSES[1]:
            self._mean_before = (now - self._pass_start) / len(self._begun) if self._begun else None
            self._timed, self._begun, self._at = self._begun, set(), 0
        self.pass_, self.current = name, None
        self._pass_start = self._case_start = now

    def enter(self, case: str, phase: str) -> None:
        """A case enters a phase."""
        index = self.cases.index(case)
        if index not in self._begun:
            self._begun.add(index)
            self._case_start = self._clock()
        self.current, self._at, self.phase = index, index, phase

    def end(self, case: str, status: Status) -> None:
        """A case has ended, in the second pass."""
        self.ended[case] = status
        if case in self.cases:
            self._at = self.cases.index(case) + 1
        self.current = None
        self._case_start = self._clock()

    @property
    def through(self) -> int:
        """The number of cases that the current pass has finished."""
        return len(self.ended) if self.second else self._at

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._start

    @property
    def left(self) -> float | None:
        """Seconds that remain in both passes, at the mean time of the finished cases; None before the first.

        Until pass 2 has finished a case, it is assumed to take as long per case as pass 1.
        """
        measured = len(self._begun) - (self.current is not None)
        mean = (self._case_start - self._pass_start) / measured if measured else self._mean_before
        if mean is None:
            return None
        in_this_pass = sum(index >= self._at for index in self._timed) if self.second else len(self.cases) - self._at
        in_next_pass = 0 if self.second else measured + in_this_pass
        return max(0.0, mean * in_this_pass - (self._clock() - self._case_start)) + mean * in_next_pass

    @property
    def focus(self) -> int:
        """The index of the current case, or of the next."""
        return min(self._at, len(self.cases) - 1)

    def state(self, index: int) -> tuple[str, str]:
        """The status or phase of a case and the style to print it in."""
        name = self.cases[index]
        if name in self.ended:
            return str(self.ended[name]), COLOURS[self.ended[name]]
        if index == self.current:
            return self.phase, "bold cyan"
        return ("timed", "") if self.second or index < self._at else ("waiting", "dim")


class LiveTable:
    """Draws the progress of a run on a terminal, and erases it at the end."""

    def __init__(self, title: str, course: Course, live: Live) -> None:
        self._title, self._course, self._live = title, course, live
        self._draw()

    def begin_pass(self, name: str) -> None:
        """A pass begins."""
        self._course.begin_pass(name)
        self._draw()

    def phase(self, case: str, phase: str) -> None:
        """A case enters a phase."""
        self._course.enter(case, phase)
        self._draw()

    def done(self, case: CaseResult) -> None:
        """A case has ended."""
        self._course.end(case.module_name, case.status)
        self._draw()

    def _draw(self) -> None:
        self._live.update(table(self._title, self._course, self._live.console.height), refresh=True)


class Lines:
    """Prints a line for each case that has ended."""

    def __init__(self, title: str, total: int, out: Console) -> None:
        self._out = out
        out.print(Text(f"{title}: {total} case{'s' if total != 1 else ''}"))

    def begin_pass(self, name: str) -> None:
        """Do nothing: the log does not show passes."""

    def phase(self, case: str, phase: str) -> None:
        """Do nothing: a line per phase would flood the log."""

    def done(self, case: CaseResult) -> None:
        """A case has ended."""
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
        yield LiveTable(title, Course(cases, clock), live)


def table(title: str, course: Course, height: int) -> RenderableType:
    """The heading and the rows around the current case, for a terminal of *height* lines."""
    shown = max(1, min(len(course.cases), MOST_ROWS, height - AROUND))
    first = max(0, min(course.focus - shown // 2, len(course.cases) - shown))
    rows = Table(box=None, show_header=False, pad_edge=False)
    rows.add_column(no_wrap=True, min_width=len(Status.INCONCLUSIVE))
    rows.add_column(no_wrap=True, overflow="ellipsis")
    for index in range(first, first + shown):
        state, style = course.state(index)
        rows.add_row(Text(state, style=style), Text(course.cases[index]))
    parts: list[RenderableType] = [head(title, course)]
    if first > 0:
        parts.append(Text(f"… {first} above", style="dim"))
    parts.append(rows)
    if (below := len(course.cases) - first - shown) > 0:
        parts.append(Text(f"… {below} below", style="dim"))
    return Group(*parts)


def head(title: str, course: Course) -> Text:
    """The line above the rows: the pass, its progress, the counts by status, and the time."""
    parts = [f"{title} · pass {1 + PASSES.index(course.pass_)} of {len(PASSES)} ({course.pass_})"]
    parts.append(f"{course.through} of {len(course.cases)}")
    counts = Counter(course.ended.values())
    parts += [f"{counts[status]} {status}" for status in Status if counts[status]]
    parts.append(minutes(course.elapsed))
    if (left := course.left) is not None and left >= 1:
        parts.append(f"about {minutes(left)} left")
    return Text(" · ".join(parts), style="bold", no_wrap=True, overflow="ellipsis")


def minutes(seconds: float) -> str:
    """*seconds* as minutes and seconds, for example ``1:05``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
