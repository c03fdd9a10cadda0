"""What the front end shows of numerics: how far an output is from its reference, and where it is furthest.

A case and one of its trials enter; a frozen struct leaves, or None where nothing was compared.
"""

from __future__ import annotations

import msgspec

from ttprof.codes import Kind
from ttprof.result import SEVERITY, CaseResult, Element, Status, TrialResult
from ttprof.units import apart

NUMERIC = ("rel_error", "max_error", "pcc", "ulp_error")


class WorstElement(msgspec.Struct, frozen=True):
    """The element that is furthest from its reference, and both values as text that tells them apart."""

    element: str
    value: str
    expected: str
    reference: str


class Numerics(msgspec.Struct, frozen=True):
    """The numerics of a trial. ``status`` is the worst of what was expected of them, null where nothing was.

    ``allowed`` is the relative error that the tolerance allows, after it was raised. ``worst`` is null in results of
    before it was kept, and where only exact values were compared.
    """

    status: Status | None
    expected: list[str]
    allowed: float | None
    rel_error: float | None
    max_error: float | None
    pcc: float | None
    ulp_error: float | None
    worst: WorstElement | None


def numerics(case: CaseResult, trial: TrialResult) -> Numerics | None:
    """The numerics of a trial of a case."""
    known = {name: trial.metrics.get(name) for name in NUMERIC}
    if trial.worst is None and all(value is None for value in known.values()):
        return None
    told = [verdict for verdict in case.verdicts_at(trial.point) if verdict.metric in NUMERIC]
    tolerance = next((verdict for verdict in told if verdict.kind is Kind.TOLERANCE), None)
    return Numerics(
        status=min((v.status for v in told), key=SEVERITY.index, default=None),
        expected=[v.expectation for v in told],
        allowed=tolerance.limit if tolerance else None,
        worst=_worst(trial.worst) if trial.worst else None,
        **known,
    )


def _worst(found: Element) -> WorstElement:
    value, expected = apart(float(found.value), float(found.expected))
    return WorstElement(f"{found.path}{found.index}", value, expected, found.reference)
