"""Adds the verdicts of a baseline to the cases of a run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ttprof import baseline, thresholds
from ttprof.baseline import Baseline
from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.judge import regression
from ttprof.judge.confirmation import Confirmation
from ttprof.judge.environments import UnlikeHardware, hardware_differences
from ttprof.judge.metric_change import ComparedMetric
from ttprof.judge.verdicts import worst
from ttprof.metrics import REGISTRY
from ttprof.result import CaseResult, Environment
from ttprof.trial_key import Point
from ttprof.units import percent
from ttprof.verdict import Status, Verdict

EXPECTATION = "baseline"


class BaselineJudge:
    """Compares the cases of a run with a baseline, one by one as they end; afterwards lists the cases that are missing.

    On different hardware nothing is compared, and the verdict on every case is an ERROR.
    """

    def __init__(self, base: Baseline, environment: Environment, threshold: float = thresholds.DEFAULT) -> None:
        self._base = base
        self._threshold = threshold
        self._environment = environment
        self._hardware_differences = hardware_differences(base.environment, environment)
        self._judged_cases: set[str] = set()
        self._compared_metrics = 0

    def judge(self, case: CaseResult) -> CaseResult:
        """A case with the verdicts of its baseline added; unchanged if it is SKIP or the baseline lacks it."""
        self._judged_cases.add(case.module_name)
        if case.status is Status.SKIP:
            return case
        compared, verdicts = self._compared(case)
        added = [verdict for verdict in verdicts if verdict.status is not Status.SKIP]
        verdicts = [*case.verdicts, *added]
        return msgspec.structs.replace(compared, verdicts=verdicts, status=worst(verdicts)) if added else case

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

    def _compared(self, case: CaseResult) -> tuple[CaseResult, list[Verdict]]:
        """The case with what changed and what to note of the baseline, and the verdicts of its comparison."""
        if self._hardware_differences:
            reason = UnlikeHardware(self._hardware_differences).reason
            return case, [_verdict(VerdictCode.UNLIKE_HARDWARE, Status.ERROR, reason)]
        new = Baseline(name="", started="", environment=self._environment, trials=baseline.trials_of(case))
        rows = self._rows({case.module_name}, new)
        self._compared_metrics += sum(bool(row.metric) for row in rows)
        confirmation = Confirmation.against(self._base, self._threshold, self._environment)
        confirmed = [confirmation.of(row, case) for row in rows]
        return self._explained(case, confirmed), _summarised(confirmed)

    def _explained(self, case: CaseResult, rows: Sequence[ComparedMetric]) -> CaseResult:
        """The case with the operators that changed where something regressed, and a note on a doubtful baseline."""
        base = {trial.key.point: trial for trial in self._base.trials if trial.case == case.module_name}
        regressed = [row for row in rows if row.change == "regression"]
        trials = []
        for trial in case.trials:
            old = base.get(trial.point)
            if old is not None:
                changed = regression.changed_operators(old, trial.operators, regressed)
                trial = msgspec.structs.replace(trial, changed=changed)
            if old is not None and (doubt := baseline.caveat([old.disturbed])):
                note = Note(NoteCode.BASELINE_BUSY, f"its baseline was {doubt}")
                trial = msgspec.structs.replace(trial, notes=[*trial.notes, note])
            trials.append(trial)
        return msgspec.structs.replace(case, trials=trials)

    def _rows(self, cases: set[str], new: Baseline) -> list[ComparedMetric]:
        """The comparison of *new* with some cases of the baseline, the most severe change first."""
        trials = [trial for trial in self._base.trials if trial.case in cases]
        base = msgspec.structs.replace(self._base, trials=trials)
        return sorted(regression.rows_of(base, new, self._threshold), key=regression.severity)


def _summarised(rows: Sequence[ComparedMetric]) -> list[Verdict]:
    """The verdicts of one case that are not a PASS, or a single PASS for all its metrics."""
    rows = _times_together(rows)
    verdicts = [_verdict(row.code, row.status, row.reason, row.metric or None, row.point) for row in rows]
    problems = [v for v in verdicts if v.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)]
    if problems:
        return problems
    passed = sum(verdict.status is Status.PASS for verdict in verdicts)
    if not passed:
        return verdicts[:1]
    reason = f"none of {passed} metrics regressed" if passed > 1 else "its only metric did not regress"
    return [_verdict(VerdictCode.NOT_WORSE, Status.PASS, reason)]


def _times_together(rows: Sequence[ComparedMetric]) -> list[ComparedMetric]:
    """The rows; the first time of a trial that regressed also names the others, which have the same cause."""
    times: dict[Point, list[ComparedMetric]] = {}
    for row in rows:
        metric = REGISTRY.get(row.metric)
        if row.change == "regression" and metric is not None and metric.sampled:
            times.setdefault(row.point, []).append(row)
    named = {}
    for first, *others in times.values():
        shown = [f"{row.metric} {percent(row.ratio)}" for row in others if row.ratio is not None]
        named[id(first)] = msgspec.structs.replace(first, reason=", ".join([first.reason, *shown]))
    return [named.get(id(row), row) for row in rows]


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
