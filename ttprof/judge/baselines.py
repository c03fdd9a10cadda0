"""Baselines: the verdicts that a comparison with an earlier run adds to the cases of a result."""

from __future__ import annotations

import msgspec

from ttprof import baseline
from ttprof.baseline import Baseline
from ttprof.codes import Kind, VerdictCode
from ttprof.judge import regression
from ttprof.judge.verdicts import worst
from ttprof.result import CaseResult, Environment, SuiteResult
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

EXPECTATION = "baseline"


def judge_case(base: Baseline, environment: Environment, case: CaseResult) -> CaseResult:
    """A case with the verdicts of its baseline; unchanged when it is SKIP or the baseline lacks it.

    On different hardware that verdict is an ERROR.
    """
    if case.status is Status.SKIP:
        return case
    added = [verdict for verdict in _baseline_verdicts(base, environment, case) if verdict.status is not Status.SKIP]
    judged = [*case.verdicts, *added]
    return msgspec.structs.replace(case, verdicts=judged, status=worst(judged)) if added else case


def _baseline_verdicts(base: Baseline, environment: Environment, case: CaseResult) -> list[Verdict]:
    if unlike := regression.hardware_differences(base.environment, environment):
        return [_verdict(VerdictCode.UNLIKE_HARDWARE, Status.ERROR, regression.UnlikeHardware(unlike).reason)]
    before = [trial for trial in base.trials if trial.case == case.module_name]
    now = Baseline(name="", started="", environment=environment, trials=baseline.trials_of(case))
    rows = sorted(regression.rows_of(msgspec.structs.replace(base, trials=before), now), key=regression.severity)
    return _reported(list(map(_of_row, rows)))


def missing_cases(base: Baseline, result: SuiteResult) -> list[CaseResult]:
    """The cases that the baseline measured and the run does not have, each with its verdict, so that they are seen.

    Also one called ``(all)`` when the two runs have no metric in common. None on different hardware.
    """
    if regression.hardware_differences(base.environment, result.environment):
        return []
    names = {case.module_name for case in result}
    judged = verdicts(regression.compare(base, baseline.of(result)))
    return [
        CaseResult(module_name=name, module_type="", status=worst(own), source="baseline", verdicts=own)
        for name, own in judged.items()
        if name not in names and any(verdict.status is not Status.SKIP for verdict in own)
    ]


def verdicts(comparison: regression.Comparison) -> dict[str, list[Verdict]]:
    """The verdicts on each case of the new run: one for its regressions, or for what could not be compared."""
    by_case: dict[str, list[Verdict]] = {}
    for row in comparison.rows:
        by_case.setdefault(row.case, []).append(_of_row(row))
    return {case: _reported(case_verdicts) for case, case_verdicts in by_case.items()}


def _of_row(row: regression.ComparedMetric) -> Verdict:
    return _verdict(row.code, row.status, row.reason, metric=row.metric or None, point=row.point)


def _verdict(
    code: VerdictCode, status: Status, reason: str, *, metric: str | None = None, point: Point | None = None
) -> Verdict:
    return Verdict(
        kind=Kind.BASELINE,
        code=code,
        expectation=EXPECTATION,
        status=status,
        reason=reason,
        metric=metric,
        point=point or Point(),
    )


def _reported(case_verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts that are not a PASS, or one PASS that stands for all."""
    problems = [v for v in case_verdicts if v.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)]
    if problems:
        return problems
    compared = sum(verdict.status is Status.PASS for verdict in case_verdicts)
    if not compared:
        return case_verdicts[:1]
    reason = f"none of {compared} metrics is worse than in the baseline"
    return [_verdict(VerdictCode.NOT_WORSE, Status.PASS, reason)]
