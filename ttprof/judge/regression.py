"""Compares a run with a baseline, one row per trial and metric (``metric_change``).

On a CPU, a wall time regresses only if the CPU time does too, because other processes slow the wall clock. Times of
several threads do not count if the machine was overloaded and the baseline's was not. A metric that is no longer
measured is an ERROR. Improvements are reported and never fail. The thresholds of a case are those of the new run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ttprof import baseline, operators, thresholds
from ttprof.baseline import Baseline, Stored, StoredTrial
from ttprof.codes import VerdictCode
from ttprof.judge import metric_change
from ttprof.judge.confirmation import Confirmation
from ttprof.judge.environments import UnlikeHardware, describe_overload, hardware_differences, software_differences
from ttprof.judge.metric_change import Change, ComparedMetric, compare_metric, cpu_unchanged, format_value, place
from ttprof.metrics import REGISTRY
from ttprof.operators import OperatorChange, OperatorUse
from ttprof.result import SuiteResult
from ttprof.trial_key import Point, TrialKey
from ttprof.units import MS
from ttprof.verdict import Status


class ChangedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial that regressed calls otherwise than in the baseline."""

    case: str
    point: Point
    operators: list[OperatorChange]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, regressions first. ``forced`` lists the hardware differences that were overridden.

    ``oldest`` names the run that drift is measured from, null without a history. ``changed`` has what trials that
    regressed call otherwise, ``caveats`` what makes the times of either run doubtful.
    """

    version: int = 1
    base: str
    new: str
    oldest: str | None = None
    threshold: float
    forced: list[str]
    software: list[str]
    rows: list[ComparedMetric]
    changed: list[ChangedTrial] = []
    caveats: list[str] = []

    def passes(self, strict: bool = False) -> bool:
        """Whether nothing regressed or went missing and, if *strict*, nothing is undecided."""
        failing = {Status.FAIL, Status.ERROR} | ({Status.INCONCLUSIVE} if strict else set())
        return not any(row.status in failing for row in self.rows)


def compare(
    base: Baseline,
    new: Baseline,
    threshold: float = thresholds.DEFAULT,
    force: bool = False,
    results: Sequence[SuiteResult] = (),
) -> Comparison:
    """Compare *new* with *base*; *threshold* is for the times of cases that have none of their own, 0.05 for 5 %.

    *results* are those that *new* was made of: their looks and what the machine did then count as in a run.

    Raises:
        UnlikeHardware: The two ran on different hardware, and *force* is not set.
    """
    unlike = hardware_differences(base.environment, new.environment)
    if unlike and not force:
        raise UnlikeHardware(unlike)
    rows = rows_of(base, new, threshold)
    for result in results:
        confirmation = Confirmation.against(base, threshold, result.environment)
        cases = {baseline.case_name(result, case.module_name, results): case for case in result}
        rows = [confirmation.of(row, cases[row.case]) if row.case in cases else row for row in rows]
    if not any(row.metric for row in rows):
        rows.append(nothing_in_common())
    return Comparison(
        base=f"{base.name} of {base.started}",
        new=f"{new.name} of {new.started}",
        threshold=threshold,
        forced=unlike,
        software=software_differences(base.environment, new.environment),
        rows=sorted(rows, key=severity),
        changed=list(_changed_trials(base, new, rows)),
        caveats=[f"{name} was {run.caveat}" for name, run in (("base", base), ("new", new)) if run.caveat],
    )


def _changed_trials(base: Baseline, new: Baseline, rows: Sequence[ComparedMetric]) -> Iterator[ChangedTrial]:
    before = {trial.key: trial for trial in base.trials}
    for trial in new.trials:
        if trial.key in before:
            of_case = [row for row in rows if row.case == trial.case]
            changed = changed_operators(before[trial.key], trial.operators, of_case)
            if changed:
                yield ChangedTrial(case=trial.case, point=trial.point, operators=changed)


def changed_operators(
    base: StoredTrial, now: Sequence[OperatorUse], rows: Sequence[ComparedMetric]
) -> list[OperatorChange]:
    """How the operators of a trial changed, if one of its *rows* is a regression."""
    regressed = [row for row in rows if row.point == base.point and row.change == "regression"]
    times = [row for row in regressed if row.unit == MS.symbol and row.metric in REGISTRY]
    growth_ns = max((MS.scale * ((row.new or 0.0) - (row.base or 0.0)) for row in times), default=0.0)
    return operators.changes(base.operators, now, growth_ns) if regressed else []


def nothing_in_common() -> ComparedMetric:
    """The row, on the case ``(all)``, for two runs without a common metric."""
    reason = "the two runs have no metric in common"
    return _trial_row(TrialKey("(all)", Point()), "not measured", Status.ERROR, VerdictCode.NOTHING_IN_COMMON, reason)


def rows_of(base: Baseline, new: Baseline, threshold: float = thresholds.DEFAULT) -> list[ComparedMetric]:
    """Compare the metrics of all trials of both runs, taking the machine's load into account."""
    overload = describe_overload(base.environment, new.environment)
    rows = _compare_trials(base, new, threshold)
    return [_on_overloaded_machine(row, overload) for row in rows] if overload else rows


def _compare_trials(base: Baseline, new: Baseline, threshold: float) -> list[ComparedMetric]:
    """Compare the metrics of all trials of both runs, paired by trial key."""
    before, after = ({trial.key: trial for trial in run.trials} for run in (base, new))
    base_cases, new_cases = ({trial.case for trial in run.trials} for run in (base, new))
    broken = {trial.case for trial in new.trials if trial.status is Status.ERROR and not trial.measurements}
    rows: list[ComparedMetric] = []
    for key in before | after:
        old, now = before.get(key), after.get(key)
        if old is not None and now is not None and old.measurements and now.status is not Status.SKIP:
            rows += _compare_trial(old, now, threshold, new.environment.device)
        elif old is not None and now is None and old.case in broken:
            reason = "the case ended as ERROR and was not measured"
            rows.append(_trial_row(key, "not measured", Status.ERROR, VerdictCode.NO_LONGER_MEASURED, reason))
        elif old is not None and old.measurements:
            reason = "measured in the baseline, but did not run now"
            rows.append(_trial_row(key, "removed", Status.INCONCLUSIVE, VerdictCode.NO_LONGER_RUN, reason))
        elif old is not None and now is not None:
            rows.append(_never_measured(old, now))
        elif now is not None and now.case not in base_cases:
            rows.append(_trial_row(key, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, "not in the baseline"))
        elif now is not None and now.measurements:
            reason = "not measured in the baseline"
            rows.append(_trial_row(key, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, reason))
        elif old is not None and old.case not in new_cases:
            reason = f"measured in neither run ({old.status} in the baseline)"
            rows.append(_trial_row(key, "removed", Status.SKIP, VerdictCode.NEVER_MEASURED, reason))
    return rows


def _never_measured(old: StoredTrial, now: StoredTrial) -> ComparedMetric:
    """The row for a trial of both runs without measurements in the baseline."""
    if now.measurements:
        reason = f"not measured in the baseline ({old.status})"
        return _trial_row(now.key, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, reason)
    reason = f"measured in neither run ({old.status} in the baseline, {now.status} now)"
    return _trial_row(now.key, "same", Status.SKIP, VerdictCode.NEVER_MEASURED, reason)


def _on_overloaded_machine(row: ComparedMetric, overload: str) -> ComparedMetric:
    """Turn the regression of a sampled metric into "undecided", because the machine was overloaded."""
    if row.change != "regression" or row.p_value is None:
        return row
    return metric_change.undecided(row, VerdictCode.MACHINE_OVERLOADED, f"{row.reason}; {overload}")


def severity(row: ComparedMetric) -> tuple[int, str, str, int, str]:
    """Sort key of a row in a comparison: the most severe change first, then as the metrics are listed."""
    order: Sequence[Change] = ("regression", "not measured", "drift", "undecided", "removed", "new", "win", "same")
    metrics = list(REGISTRY)
    known = metrics.index(row.metric) if row.metric in REGISTRY else len(metrics)
    return order.index(row.change), row.case, str(sorted(row.point.items())), known, row.metric


def _trial_row(key: TrialKey, change: Change, status: Status, code: VerdictCode, reason: str) -> ComparedMetric:
    """A row for a whole trial rather than one of its metrics."""
    return ComparedMetric(
        case=key.case, point=key.point, metric="", unit="", change=change, status=status, code=code, reason=reason
    )


def _not_measured(
    key: TrialKey, old: Stored, code: VerdictCode, reason: str, base: float | None = None
) -> ComparedMetric:
    return ComparedMetric(
        **place(key, old), change="not measured", status=Status.ERROR, code=code, reason=reason, base=base
    )


def _compare_trial(base: StoredTrial, new: StoredTrial, threshold: float, device: str) -> list[ComparedMetric]:
    if base.inputs and new.inputs and base.inputs != new.inputs:
        reason = f"its inputs were {base.inputs}, now {new.inputs}: update the baseline"
        return [_trial_row(new.key, "undecided", Status.INCONCLUSIVE, VerdictCode.INPUTS_DIFFER, reason)]
    before, after = ({m.name: m for m in trial.measurements if _is_compared(m.name)} for trial in (base, new))
    rows = {}
    for name, old in before.items():
        if name not in after:
            reason = f"{name} was {format_value(old)} in the baseline, but was not measured now"
            row = _not_measured(new.key, old, VerdictCode.NO_LONGER_MEASURED, reason, old.value)
            permitted = name in REGISTRY and REGISTRY[name].permitted
            rows[name] = msgspec.structs.replace(row, status=Status.INCONCLUSIVE) if permitted else row
        elif differences := _definition_differences(old, after[name]):
            reason = f"{name} is defined differently in the baseline ({differences}): update the baseline"
            rows[name] = _not_measured(new.key, old, VerdictCode.STORED_DIFFERENTLY, reason)
        else:
            allowed = new.thresholds.of(name, old.statistic, threshold)
            rows[name] = compare_metric(new.key, old, after[name], allowed)
    wall, cpu = rows.get("latency_ms"), rows.get("cpu_time_ms")
    if device == "cpu" and wall is not None and cpu is not None:
        rows["latency_ms"] = cpu_unchanged(wall, cpu)
    return list(rows.values())


def _is_compared(name: str) -> bool:
    """Whether a metric is compared; derived metrics and those with a tolerance in each run are not."""
    return name not in REGISTRY or REGISTRY[name].regresses


def _definition_differences(base: Stored, new: Stored) -> str:
    """The differences in the unit, direction or statistic of a metric, as one clause; empty if there are none."""
    pairs = [(field, getattr(base, field), getattr(new, field)) for field in ("unit", "better", "statistic")]
    return ", ".join(f"{field} was {a!r}, now {b!r}" for field, a, b in pairs if a != b)
