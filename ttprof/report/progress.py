"""What a run shows while it goes on: a live table of its cases on a terminal, a line for each finished case elsewhere.

The names of the cases, and what the engine announces of them, enter; text leaves. No thread draws: it would disturb
what is being timed. The table moves when a case enters a phase or ends, and so does its clock.
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
from ttprof.result import CaseResult, Status

Clock = Callable[[], float]

MOST_ROWS = 15
AROUND = 6
"""Lines that the table leaves free: its head, what it leaves out, and the prompt."""

PASSES = ("timing", "recording")


class Course:
    """How far a run is: which case is in which phase of which pass, which have ended, and how long it may take.

    All cases go through one pass and then through the next, in their order; a case that is left out of a pass enters no
    phase in it.
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
        """A case has ended, which cases do in the second pass."""
        self.ended[case] = status
        if case in self.cases:
            self._at = self.cases.index(case) + 1
        self.current = None
        self._case_start = self._clock()

    @property
    def through(self) -> int:
        """The number of cases that are through the pass."""
        return len(self.ended) if self.second else self._at

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._start

    @property
    def left(self) -> float | None:
        """Seconds that the rest of both passes will take if a case takes what the ones before took; None at first.

        Until pass 2 has times of its own, a case is taken to need as long in it as in pass 1.
        """
        measured = len(self._begun) - (self.current is not None)
        mean = (self._case_start - self._pass_start) / measured if measured else self._mean_before
        if mean is None:
            return None
        here = sum(index >= self._at for index in self._timed) if self.second else len(self.cases) - self._at
        later = 0 if self.second else measured + here
        return max(0.0, mean * here - (self._clock() - self._case_start)) + mean * later

    @property
    def focus(self) -> int:
        """The case to look at: the current one, or the next."""
        return min(self._at, len(self.cases) - 1)

    def state(self, index: int) -> tuple[str, str]:
        """What stands beside a case, and its style: how it ended, or what it is doing."""
        name = self.cases[index]
        if name in self.ended:
            return str(self.ended[name]), COLOURS[self.ended[name]]
        if index == self.current:
            return self.phase, "bold cyan"
        return ("timed", "") if self.second or index < self._at else ("waiting", "dim")


class LiveTable:
    """Draws the course of a run on a terminal, and wipes it away at the end."""

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
        """Nothing: a log has no passes."""

    def phase(self, case: str, phase: str) -> None:
        """Nothing: a log keeps every line."""

    def done(self, case: CaseResult) -> None:
        """A case has ended."""
        self._out.print(Text.assemble((f"{case.status:<13}", COLOURS[case.status]), sentences.case_name(case)))


@contextmanager
def progress(
    title: str, cases: Sequence[str], out: Console, clock: Clock = time.monotonic
) -> Iterator[LiveTable | Lines]:
    """A display of the named cases: a live table where *out* is a terminal that takes one."""
    if not out.is_interactive:
        yield Lines(title, len(cases), out)
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        yield LiveTable(title, Course(cases, clock), live)


def table(title: str, course: Course, height: int) -> RenderableType:
    """The head and the rows around the current case, in at most *height* lines."""
    shown = max(1, min(len(course.cases), MOST_ROWS, height - AROUND))
    first = max(0, min(course.focus - shown // 2, len(course.cases) - shown))
    rows = Table(box=None, show_header=False, pad_edge=False)
    rows.add_column(no_wrap=True, min_width=len(Status.INCONCLUSIVE))
    rows.add_column(no_wrap=True, overflow="ellipsis")
    for index in range(first, first + shown):
        word, style = course.state(index)
        rows.add_row(Text(word, style=style), Text(course.cases[index]))
    parts: list[RenderableType] = [head(title, course)]
    if first > 0:
        parts.append(Text(f"… {first} above", style="dim"))
    parts.append(rows)
    if (below := len(course.cases) - first - shown) > 0:
        parts.append(Text(f"… {below} below", style="dim"))
    return Group(*parts)


def head(title: str, course: Course) -> Text:
    """The line above the rows: the pass, how many are through it, how they ended, and the time."""
    parts = [f"{title} · pass {1 + PASSES.index(course.pass_)} of {len(PASSES)} ({course.pass_})"]
    parts.append(f"{course.through} of {len(course.cases)}")
    counts = Counter(course.ended.values())
    parts += [f"{counts[status]} {status}" for status in Status if counts[status]]
    parts.append(minutes(course.elapsed))
    if (left := course.left) is not None and left >= 1:
        parts.append(f"about {minutes(left)} left")
    return Text(" · ".join(parts), style="bold", no_wrap=True, overflow="ellipsis")


def minutes(seconds: float) -> str:
    """Seconds as ``1:05``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
