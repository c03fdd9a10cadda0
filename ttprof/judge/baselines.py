"""Adds the verdicts of a baseline to the cases of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ttprof import baseline
from ttprof.baseline import Baseline
from ttprof.codes import Kind, VerdictCode
from ttprof.judge import regression
from ttprof.judge.confirmation import Confirmation
from ttprof.judge.interference import slowdown
from ttprof.judge.regression import ComparedMetric
from ttprof.judge.verdicts import worst
from ttprof.result import CaseResult, Environment
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

EXPECTATION = "baseline"


class BaselineJudge:
    """Compares the cases of a run with a baseline, one by one as they end; afterwards lists the cases that are missing.

    On different hardware nothing is compared, and the verdict on every case is an ERROR.
    """

    def __init__(self, base: Baseline, environment: Environment, threshold: float = regression.THRESHOLD) -> None:
        self._base = base
        self._threshold = threshold
        self._environment = environment
        self._hardware_differences = regression.hardware_differences(base.environment, environment)
        self._judged_cases: set[str] = set()
        self._compared_metrics = 0

    def judge(self, case: CaseResult, yardstick: Mapping[str, float] | None = None) -> CaseResult:
        """A case with the verdicts of its baseline added; unchanged if it is SKIP or the baseline lacks it.

        *yardstick* are the times of the fixed workload when the machine was fast in this run.
        """
        self._judged_cases.add(case.module_name)
        if case.status is Status.SKIP:
            return case
        added = [verdict for verdict in self._verdicts(case, yardstick or {}) if verdict.status is not Status.SKIP]
        verdicts = [*case.verdicts, *added]
        return msgspec.structs.replace(case, verdicts=verdicts, status=worst(verdicts)) if added else case

    def missing_cases(self) -> list[CaseResult]:
        """The cases that the baseline measured and the run lacks, each with its verdict; call it after the last case.

        Includes one called ``(all)`` if the two runs have no metric in common.
        """
        if self._hardware_differences:
            return []
        missing = {trial.case for trial in self._base.trials} - self._judged_cases
        rows = self._rows(missing, Baseline(name="", started="", environment=self._environment, trials=[]))
        if not self._compared_metrics:
            rows.insert(0, regression.nothing_in_common())
        by_case: dict[str, list[ComparedMetric]] = {}
        for row in rows:
            by_case.setdefault(row.case, []).append(row)
        judged = {name: _summarised(case_rows) for name, case_rows in by_case.items()}
        return [
            CaseResult(module_name=name, module_type="", status=worst(verdicts), source="baseline", verdicts=verdicts)
            for name, verdicts in judged.items()
            if any(verdict.status is not Status.SKIP for verdict in verdicts)
        ]

    def _verdicts(self, case: CaseResult, yardstick: Mapping[str, float]) -> list[Verdict]:
        if self._hardware_differences:
            reason = regression.UnlikeHardware(self._hardware_differences).reason
            return [_verdict(VerdictCode.UNLIKE_HARDWARE, Status.ERROR, reason)]
        new = Baseline(name="", started="", environment=self._environment, trials=baseline.trials_of(case))
        rows = self._rows({case.module_name}, new)
        self._compared_metrics += sum(bool(row.metric) for row in rows)
        unlike = regression.software_differences(self._base.environment, self._environment)
        slower = 1.0 if unlike else slowdown([yardstick], self._base.yardstick)
        confirmation = Confirmation(self._base, self._threshold, slower)
        return _summarised(confirmation.of(row, case) for row in rows)

    def _rows(self, cases: set[str], new: Baseline) -> list[ComparedMetric]:
        """The comparison of *new* with some cases of the baseline, the most severe change first."""
        trials = [trial for trial in self._base.trials if trial.case in cases]
        base = msgspec.structs.replace(self._base, trials=trials)
        return sorted(regression.rows_of(base, new, self._threshold), key=regression.severity)


def _summarised(rows: Iterable[ComparedMetric]) -> list[Verdict]:
    """The verdicts of one case that are not a PASS, or a single PASS for all its metrics."""
    verdicts = [_verdict(row.code, row.status, row.reason, row.metric or None, row.point) for row in rows]
    problems = [v for v in verdicts if v.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)]
    if problems:
        return problems
    passed = sum(verdict.status is Status.PASS for verdict in verdicts)
    if not passed:
        return verdicts[:1]
    reason = f"none of {passed} metrics regressed" if passed > 1 else "its only metric did not regress"
    return [_verdict(VerdictCode.NOT_WORSE, Status.PASS, reason)]


def _verdict(
    code: VerdictCode, status: Status, reason: str, metric: str | None = None, point: Point | None = None
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
