"""Compares ttprof's numbers with independent ones, check by check, within a budget of time. Needs no torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Number = float | int | str | None
State = Literal["ran", "not run", "raised"]


@dataclass(frozen=True)
class Comparison:
    """One number of ttprof against an independent one, or one status against the expected one.

    They agree if they differ by at most *allowed*, a fraction of the independent number, or by at most *slack*. A
    number that was not measured (None) agrees with nothing.
    """

    what: str
    against: str
    ours: Number
    theirs: Number
    allowed: float = 0.0
    slack: float = 0.0

    @property
    def outcome(self) -> Literal["OK", "OFF", "OPEN"]:
        """OPEN is an INCONCLUSIVE verdict, which is neither right nor wrong."""
        if isinstance(self.ours, str) or isinstance(self.theirs, str):
            return "OK" if self.ours == self.theirs else "OPEN" if self.ours == "INCONCLUSIVE" else "OFF"
        if self.ours is None or self.theirs is None:
            return "OFF"
        return "OK" if abs(self.ours - self.theirs) <= max(self.allowed * abs(self.theirs), self.slack) else "OFF"

    @property
    def ratio(self) -> float | None:
        """Ours over theirs; None if there is none."""
        if isinstance(self.ours, str) or isinstance(self.theirs, str) or self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs


@dataclass(frozen=True)
class Check:
    """One check: *compare* makes its comparisons.

    *needs* are packages to import or, with a slash in front, programs to find: without one of them the check is not
    run. It takes about *seconds* on a recent GPU.
    """

    name: str
    compare: Callable[[], Iterable[Comparison]]
    needs: tuple[str, ...] = ()
    seconds: float = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of a check: its comparisons, or why it was not run, or the error that it raised."""

    check: str
    state: State
    comparisons: tuple[Comparison, ...] = ()
    reason: str = ""
    details: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it raised, or a number is off."""
        return self.state == "raised" or any(c.outcome == "OFF" for c in self.comparisons)


@dataclass
class Budget:
    """Seconds for all checks, since the budget was made."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.clock()

    @property
    def spent(self) -> float:
        """Seconds that have passed."""
        return self.clock() - self.start

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.spent


def run_checks(
    checks: Sequence[Check],
    budget: Budget,
    is_there: Callable[[str], bool],
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the checks in order. One that raises or lacks something does not keep the next from running."""
    outcomes = []
    for check in checks:
        outcomes.append(_run(check, budget, is_there))
        on_outcome(outcomes[-1])
    return outcomes


def _run(check: Check, budget: Budget, is_there: Callable[[str], bool]) -> Outcome:
    missing = [need.lstrip("/") for need in check.needs if not is_there(need)]
    if missing:
        return Outcome(check.name, "not run", reason=f"needs {' and '.join(missing)}")
    if check.seconds > budget.left:
        left = max(0.0, budget.left)
        reason = f"takes about {check.seconds:.0f} s, and {left:.0f} s of {budget.seconds:.0f} are left"
        return Outcome(check.name, "not run", reason=reason)
    started, comparisons = budget.spent, []
    try:
        for comparison in check.compare():
            comparisons.append(comparison)
    except Exception as error:  # reported as the outcome of this check
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        seconds = budget.spent - started
        return Outcome(check.name, "raised", tuple(comparisons), reason, traceback.format_exc(), seconds)
    return Outcome(check.name, "ran", tuple(comparisons), seconds=budget.spent - started)
