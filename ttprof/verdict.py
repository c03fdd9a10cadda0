"""The verdict on one expectation, and the statuses that a verdict, and so a case, can have."""

from __future__ import annotations

import enum

import msgspec

from ttprof.codes import Kind, VerdictCode
from ttprof.system.escape import make_visible
from ttprof.trial_key import Point
from ttprof.units import format_bound


class Status(str, enum.Enum):
    """The status of an expectation or a case: a str enum, so ``case.status == "PASS"`` works too.

    ```python
    undecided = [case.module_name for case in result if case.status is Status.INCONCLUSIVE]
    ```
    """

    PASS = "PASS"
    """The expectation was met."""
    FAIL = "FAIL"
    """The expectation was checked and not met. Fails the run."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """The measurements do not decide it. Neither passes nor fails, except in a strict run, where it fails the run."""
    ERROR = "ERROR"
    """It could not be judged, for example because its metric was not measured. Fails the run."""
    SKIP = "SKIP"
    """It was not checked."""

    def __str__(self) -> str:
        return self.value


SEVERITY = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.PASS, Status.SKIP)
"""The statuses, the worst first. The status of a case is that of its worst verdict."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one expectation. Decide on ``status``, ``kind`` and ``code``; the texts are for people.

    ```python
    for verdict in result["attention"].verdicts:
        print(verdict.status, verdict.expectation, verdict.measured, verdict.bound_text)
    ```
    """

    kind: Kind
    """What the expectation is about."""
    code: VerdictCode
    """Why the expectation ended as it did."""
    expectation: str
    """The expectation as text, for example ``latency_ms <= 5 ms``."""
    status: Status
    """The outcome."""
    reason: str
    """The reason for the outcome as text."""
    metric: str | None = None
    """Public name of the metric; None if the expectation is not about a metric."""
    measured: float | None = None
    """The measured value, in the public unit of the metric; None if it was not measured."""
    bound: tuple[float | None, float | None] | None = None
    """Lowest and highest value allowed, in the public unit of the metric; None is an open end."""
    point: Point = Point()
    """The sweep point that the verdict applies to; empty if it applies to the whole case."""

    def __post_init__(self) -> None:
        make_visible(self, "expectation", "reason")

    @property
    def bound_text(self) -> str:
        """The bound as text, for example ``≤ 5``; empty without a bound."""
        return format_bound(*self.bound) if self.bound else ""

    @property
    def limit(self) -> float | None:
        """The bound as a single number, for charts: its upper end, or else its lower end."""
        low, high = self.bound or (None, None)
        return low if high is None else high
