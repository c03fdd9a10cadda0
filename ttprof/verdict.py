"""How one expectation ended, and the statuses in order of severity."""

from __future__ import annotations

import enum

import msgspec

from ttprof.codes import Kind, VerdictCode
from ttprof.system.escape import make_visible
from ttprof.trial_key import Point
from ttprof.units import format_bound


class Status(str, enum.Enum):
    """How an expectation, or a case, ended. INCONCLUSIVE neither passes nor fails, unless the run is strict."""

    PASS = "PASS"
    """The expectation was met."""
    FAIL = "FAIL"
    """The expectation was measured and not met."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """The measurements do not decide it: a failure only in a strict run."""
    ERROR = "ERROR"
    """It could not be judged, for example because its metric was not measured."""
    SKIP = "SKIP"
    """It was not checked."""

    def __str__(self) -> str:
        return self.value


SEVERITY = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.PASS, Status.SKIP)
"""The statuses from the worst; a case has the worst of its verdicts."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one expectation ended, and why.

    ``kind`` says what the expectation is about and ``code`` why it ended so; ``expectation`` and ``reason`` say the
    same to people, and no code reads them. ``bound`` is the range, lowest to highest, that ``measured`` had to stay in,
    in the public unit of ``metric``; an open end is null. ``point`` is empty for a verdict on all trials of the case.
    """

    kind: Kind
    code: VerdictCode
    expectation: str
    status: Status
    reason: str
    metric: str | None = None
    measured: float | None = None
    bound: tuple[float | None, float | None] | None = None
    point: Point = Point()

    def __post_init__(self) -> None:
        make_visible(self, "expectation", "reason")

    @property
    def bound_text(self) -> str:
        """The bound as text, for example ``≤ 5``; empty without one."""
        return format_bound(*self.bound) if self.bound else ""

    @property
    def limit(self) -> float | None:
        """The number to draw a single line at: the upper end of the bound, or its only one."""
        low, high = self.bound or (None, None)
        return low if high is None else high
