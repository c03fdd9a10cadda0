"""Looks again at cases that would fail by a time, before the run says so: later, and in a fresh process.

The layout of memory, the state of the allocator and what else a machine does change a time by tens of percent from
process to process and from minute to minute. Must not import torch.
"""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass

from ttprof.codes import VerdictCode
from ttprof.engine.events import CaseEvents, Doubted
from ttprof.engine.journal import Journal
from ttprof.engine.judging import SuiteJudge
from ttprof.judge import looks
from ttprof.measurement import LooksMade
from ttprof.metrics import REGISTRY

SHARE = 1 / 3
"""The part of the time that a run took before, for which it may look again."""

LEAST_S = 20.0
"""And at least this many seconds: a fresh process needs some to import torch and build the model."""

SHORTEST_S = 0.3
"""A look of a case takes no less; the number of cases divides the budget."""

DOUBTED = frozenset({VerdictCode.OUTSIDE_LIMIT, VerdictCode.REGRESSED, VerdictCode.WITHIN_SPREAD}) | looks.MACHINE
"""Verdicts that another look may change."""

EXCUSED = looks.MACHINE
"""Verdicts that only the state of the machine keeps open: what a look at another time may decide."""

ROUNDS = 4
"""The most looks at a case after the first: here, in a fresh process, and in further ones while the machine is slow."""


@dataclass(frozen=True)
class ConfirmBudget:
    """Until when a run may look again, by the monotonic clock, and for how many seconds in all."""

    until: float
    seconds: float

    @classmethod
    def of(cls, confirm_s: float | None, began: float) -> ConfirmBudget:
        """The budget of a run that began at *began*; *confirm_s* is its option, None for the default."""
        now = time.monotonic()
        seconds = max(LEAST_S, SHARE * (now - began)) if confirm_s is None else confirm_s
        return cls(now + seconds, seconds)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.until - time.monotonic()

    def used_on(self, journal: Journal) -> LooksMade | None:
        """What was done of it; None if no case was looked at."""
        cases = sum(any(not look.problem for look in events.looks) for events in journal.cases.values())
        return LooksMade(cases=cases, seconds=self.seconds - self.left, budget_s=self.seconds) if cases else None

    def per_case(self, cases: int) -> float:
        """The seconds for each of a number of cases, if all rounds of looks share the budget."""
        return max(SHORTEST_S, self.seconds / ROUNDS / max(1, cases))


def doubt(journal: Journal, codes: Set[VerdictCode] = DOUBTED) -> list[str]:
    """Ask for a look at each case with a verdict of *codes* on a time, and return the names of all to be looked at."""
    judge, compared = SuiteJudge(journal), journal.opened.baseline is not None
    for planned in journal.opened.cases:
        events = journal.cases[planned.name]
        judged = (compared or planned.expected.limits) and not events.missing("looking")
        if judged and _is_open(judge, planned.name, events, codes):
            journal.add(Doubted(case=planned.name))
    return [name for name, events in journal.cases.items() if events.missing("looking")]


def _is_open(judge: SuiteJudge, name: str, events: CaseEvents, codes: Set[VerdictCode]) -> bool:
    if events.timed is None or events.timed.final or not events.timed.trials:
        return False
    case = judge.case(name)
    outside = (REGISTRY.get(verdict.metric or "") for verdict in case.verdicts if verdict.code in codes)
    return any(metric is not None and metric.timed != "never" for metric in outside)
