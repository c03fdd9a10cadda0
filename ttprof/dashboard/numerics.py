"""The numerics part of a trial's document: how far an output is from its reference, and which element is worst."""

from __future__ import annotations

import msgspec

from ttprof.codes import Kind
from ttprof.metrics.numerics import NUMERIC_METRICS
from ttprof.result import CaseResult, Element, TrialResult
from ttprof.units import apart
from ttprof.verdict import SEVERITY, Status


class WorstElement(msgspec.Struct, frozen=True):
    """The element that is furthest from its reference; the values have enough digits to tell them apart."""

    element: str
    value: str
    expected: str
    reference: str


class Numerics(msgspec.Struct, frozen=True):
    """The numerics of a trial.

    ``status`` is the worst verdict on them, null if nothing was expected. ``limit`` is the relative error that the
    tolerance allows, after any raise. ``worst`` is null in old results, and if only exact values were compared.
    """

    status: Status | None
    expected: list[str]
    limit: float | None
    rel_error: float | None
    max_error: float | None
    pcc: float | None
    ulp_error: float | None
    worst: WorstElement | None


def numerics(case: CaseResult, trial: TrialResult) -> Numerics | None:
    """Return the numerics of a trial, or None if nothing was compared."""
    metrics = {name: trial.metrics.get(name) for name in NUMERIC_METRICS}
    if trial.worst is None and all(value is None for value in metrics.values()):
        return None
    verdicts = [verdict for verdict in case.verdicts_at(trial.point) if verdict.metric in NUMERIC_METRICS]
    tolerance = next((verdict for verdict in verdicts if verdict.kind is Kind.TOLERANCE), None)
    return Numerics(
        status=min((v.status for v in verdicts), key=SEVERITY.index, default=None),
        expected=[v.expectation for v in verdicts],
        limit=tolerance.limit if tolerance else None,
        worst=_worst(trial.worst) if trial.worst else None,
        **metrics,
    )


def _worst(element: Element) -> WorstElement:
    value, expected = apart(float(element.value), float(element.expected))
    return WorstElement(f"{element.path}{element.index}", value, expected, element.reference)
