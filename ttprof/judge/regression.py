"""Compares a run with a baseline, one row per trial and metric.

A time has regressed if its median, 10th percentile and minimum are all worse by more than the threshold and the
one-sided Mann-Whitney test of the samples gives p < 0.01 (Mann and Whitney, 1947). The first three rule out shifts that
are small, only in the tail or caused by a busy machine; the test rules out chance. On a CPU, a wall time regresses only
if the CPU time does too, because other processes slow the wall clock. Times of several threads do not count if the
machine was overloaded and the baseline's was not. An exact count has regressed if it is worse at all. A metric that is
no longer measured is an ERROR. Improvements are reported and never fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from ttprof.baseline import Baseline, Stored, StoredTrial
from ttprof.codes import VerdictCode
from ttprof.errors import TtprofError
from ttprof.judge.mann_whitney import mann_whitney
from ttprof.metrics import REGISTRY
from ttprof.result import Environment
from ttprof.trial_key import Point, TrialKey
from ttprof.units import significant
from ttprof.verdict import Status

THRESHOLD = 0.05
"""Default relative change that counts as a regression, as a fraction; smaller shifts rarely matter."""

P_VALUE = 0.01
"""Significance level of the one-sided test; low, because a comparison tests many metrics."""

MIN_SAMPLES = 10
"""Minimum number of samples per run for the normal approximation of the test and a 10th percentile."""

OVERLOADED = 1.5
"""Load average per core above which the threads of one call wait for each other."""

SAMPLED = ("median",)
"""Statistics of metrics that vary between iterations and so need a test; all others are exact."""

Change = Literal["regression", "win", "same", "drift", "undecided", "not measured", "new", "removed"]


class UnlikeHardware(TtprofError):
    """Raised for runs on different hardware; ``differences`` holds one clause per difference."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__(differences)
        self.differences = differences

    def __str__(self) -> str:
        return f"{self.reason} (pass --force to compare them anyway)"

    @property
    def reason(self) -> str:
        """The message without the hint at --force."""
        return f"the runs are from different hardware: {'; '.join(self.differences)}"


class ComparedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one trial in both runs, in the metric's public unit.

    ``ratio`` is new / base, and ``low_ratio`` the same for the 10th percentiles. ``effect`` is the probability that a
    new sample is larger, minus the probability that it is smaller (rank-biserial, -1 … 1). Null if not applicable.
    """

    case: str
    point: Point
    metric: str
    unit: str
    change: Change
    status: Status
    code: VerdictCode
    reason: str
    base: float | None = None
    new: float | None = None
    ratio: float | None = None
    low_ratio: float | None = None
    p_value: float | None = None
    effect: float | None = None

    @property
    def key(self) -> TrialKey:
        """The key of the trial."""
        return TrialKey(self.case, self.point)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, regressions first. ``forced`` lists the hardware differences that were overridden.

    ``oldest`` names the run that drift is measured from, null without a history.
    """

    version: int = 1
    base: str
    new: str
    oldest: str | None = None
    threshold: float
    forced: list[str]
    software: list[str]
    rows: list[ComparedMetric]

    def passes(self, strict: bool = False) -> bool:
        """Whether nothing regressed or went missing and, if *strict*, nothing is undecided."""
        failing = {Status.FAIL, Status.ERROR} | ({Status.INCONCLUSIVE} if strict else set())
        return not any(row.status in failing for row in self.rows)


def compare(base: Baseline, new: Baseline, threshold: float = THRESHOLD, force: bool = False) -> Comparison:
    """Compare *new* with *base*; *threshold* is a fraction, 0.05 for 5 %.

    Raises:
        UnlikeHardware: The two ran on different hardware, and *force* is not set.
    """
    unlike = hardware_differences(base.environment, new.environment)
    if unlike and not force:
        raise UnlikeHardware(unlike)
    rows = rows_of(base, new, threshold)
    if not any(row.metric for row in rows):
        rows.append(nothing_in_common())
    return Comparison(
        base=f"{base.name} of {base.started}",
        new=f"{new.name} of {new.started}",
        threshold=threshold,
        forced=unlike,
        software=software_differences(base.environment, new.environment),
        rows=sorted(rows, key=severity),
    )


def nothing_in_common() -> ComparedMetric:
    """The row, on the case ``(all)``, for two runs without a common metric."""
    reason = "the two runs have no metric in common"
    return _trial_row(TrialKey("(all)", Point()), "not measured", Status.ERROR, VerdictCode.NOTHING_IN_COMMON, reason)


def rows_of(base: Baseline, new: Baseline, threshold: float = THRESHOLD) -> list[ComparedMetric]:
    """Compare the metrics of all trials of both runs, taking the machine's load into account."""
    overload = _describe_overload(base.environment, new.environment)
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


def _describe_overload(base: Environment, new: Environment) -> str:
    """Describe a load at which even CPU times are unreliable; empty if there is none, or if the baseline had it too.

    Threads of one op spin at barriers: if one of them waits for a core, the CPU time of the others rises with the wall
    time (measured: 300-fold for a layer norm on two loaded cores).
    """
    if new.device.partition(":")[0] != "cpu" or new.threads < 2 or not _overloaded(new) or _overloaded(base):
        return ""
    before = "" if base.load_average is None else f" ({significant(round(base.load_average, 1))} in the baseline)"
    load, limit = significant(round(new.load_average or 0.0, 1)), significant(OVERLOADED * new.cpu_count)
    return (
        f"the load average was {load}{before}, limit {limit} on {new.cpu_count} CPUs, "
        f"so its {new.threads} threads competed for CPUs"
    )


def _overloaded(machine: Environment) -> bool:
    return machine.load_average is not None and machine.load_average > OVERLOADED * machine.cpu_count


def _on_overloaded_machine(row: ComparedMetric, overload: str) -> ComparedMetric:
    """Turn the regression of a sampled metric into "undecided", because the machine was overloaded."""
    if row.change != "regression" or row.p_value is None:
        return row
    return undecided(row, VerdictCode.MACHINE_OVERLOADED, f"{row.reason}; {overload}")


def undecided(row: ComparedMetric, code: VerdictCode, reason: str) -> ComparedMetric:
    """The row as INCONCLUSIVE, for this reason."""
    return msgspec.structs.replace(row, change="undecided", status=Status.INCONCLUSIVE, code=code, reason=reason)


def hardware_differences(base: Environment, new: Environment) -> list[str]:
    """The hardware differences between two machines, one clause per difference."""
    pairs = {
        "device": (base.device.partition(":")[0], new.device.partition(":")[0]),
        "device name": (base.device_name, new.device_name),
        "CPU": (base.cpu, new.cpu),
        "number of CPUs": (base.cpu_count, new.cpu_count),
        "threads": (base.threads, new.threads),
    }
    return [f"{name} was {a!r}, now {b!r}" for name, (a, b) in pairs.items() if a != b]


def software_differences(base: Environment, new: Environment) -> list[str]:
    """The differences in the versions of packages and drivers, one clause per difference."""
    names = sorted(base.versions.keys() | new.versions.keys())
    pairs = ((name, base.versions.get(name, "absent"), new.versions.get(name, "absent")) for name in names)
    return [f"{name} {a} → {b}" for name, a, b in pairs if a != b]


def severity(row: ComparedMetric) -> tuple[int, str, str, str]:
    """Sort key of a row in a comparison: the most severe change first."""
    order: Sequence[Change] = ("regression", "not measured", "drift", "undecided", "removed", "new", "win", "same")
    return order.index(row.change), row.case, str(sorted(row.point.items())), row.metric


def _trial_row(key: TrialKey, change: Change, status: Status, code: VerdictCode, reason: str) -> ComparedMetric:
    """A row for a whole trial rather than one of its metrics."""
    return ComparedMetric(
        case=key.case, point=key.point, metric="", unit="", change=change, status=status, code=code, reason=reason
    )


def _not_measured(
    key: TrialKey, old: Stored, code: VerdictCode, reason: str, base: float | None = None
) -> ComparedMetric:
    place = _place(key, old)
    return ComparedMetric(**place, change="not measured", status=Status.ERROR, code=code, reason=reason, base=base)


def _place(key: TrialKey, stored: Stored) -> dict[str, Any]:
    """The fields of a row that identify its trial and metric."""
    return {"case": key.case, "point": key.point, "metric": stored.name, "unit": stored.unit}


def _compare_trial(base: StoredTrial, new: StoredTrial, threshold: float, device: str) -> list[ComparedMetric]:
    if base.inputs and new.inputs and base.inputs != new.inputs:
        reason = f"its inputs were {base.inputs}, now {new.inputs}: update the baseline"
        return [_trial_row(new.key, "undecided", Status.INCONCLUSIVE, VerdictCode.INPUTS_DIFFER, reason)]
    before, after = ({m.name: m for m in trial.measurements if _is_compared(m.name)} for trial in (base, new))
    rows = {}
    for name, old in before.items():
        if name not in after:
            reason = f"{name} was {_format_value(old)} in the baseline, but was not measured now"
            row = _not_measured(new.key, old, VerdictCode.NO_LONGER_MEASURED, reason, old.value)
            permitted = name in REGISTRY and REGISTRY[name].permitted
            rows[name] = msgspec.structs.replace(row, status=Status.INCONCLUSIVE) if permitted else row
        elif differences := _definition_differences(old, after[name]):
            reason = f"{name} is defined differently in the baseline ({differences}): update the baseline"
            rows[name] = _not_measured(new.key, old, VerdictCode.STORED_DIFFERENTLY, reason)
        else:
            rows[name] = compare_metric(new.key, old, after[name], threshold)
    wall, cpu = rows.get("latency_ms"), rows.get("cpu_time_ms")
    if device == "cpu" and wall and cpu and wall.change == "regression" and cpu.change != "regression":
        reason = f"{wall.reason}; cpu_time_ms did not regress, so other processes may have slowed it"
        rows["latency_ms"] = undecided(wall, VerdictCode.CPU_TIME_UNCHANGED, reason)
    return list(rows.values())


def _is_compared(name: str) -> bool:
    """Whether a metric is compared; derived metrics and those with a tolerance in each run are not."""
    return name not in REGISTRY or REGISTRY[name].regresses


def _definition_differences(base: Stored, new: Stored) -> str:
    """The differences in the unit, direction or statistic of a metric, as one clause; empty if there are none."""
    pairs = [(field, getattr(base, field), getattr(new, field)) for field in ("unit", "better", "statistic")]
    return ", ".join(f"{field} was {a!r}, now {b!r}" for field, a, b in pairs if a != b)


def compare_metric(key: TrialKey, base: Stored, new: Stored, threshold: float = THRESHOLD) -> ComparedMetric:
    """Compare one metric of the trial *key* that has the same unit, direction and statistic in both runs.

    *threshold* is a fraction, 0.05 for 5 %.
    """
    place = _place(key, base)
    if base.statistic not in SAMPLED:
        return _compare_exact(place, base, new)
    base_samples, new_samples = (stored.unpacked.astype(np.float64) for stored in (base, new))
    ratio = new.value / base.value if base.value else None
    values: dict[str, Any] = {"base": base.value, "new": new.value, "ratio": ratio}
    if (obstacle := _why_not_testable(base, base_samples, new_samples)) is not None:
        return ComparedMetric(
            **place,
            **values,
            change="undecided",
            status=Status.INCONCLUSIVE,
            code=VerdictCode.TOO_FEW_SAMPLES,
            reason=f"{base.name} {obstacle}",
        )
    if base.better == "higher":
        base_samples, new_samples = 1 / base_samples, 1 / new_samples
    test = mann_whitney(base_samples, new_samples)
    before, after = _summary(base_samples), _summary(new_samples)
    low_ratio = after[1] / before[1]
    values |= {"low_ratio": low_ratio, "p_value": test.larger, "effect": test.effect}
    change = _percent(new.value / base.value)
    text = f"{base.name} is {_format_value(new)}, {_format_value(base)} in the baseline: {change}"
    p_value, limit = significant(min(test.larger, test.smaller)), significant(100 * threshold)
    evidence = f"10th percentile {_percent(low_ratio)}, p = {p_value}, threshold {limit} %"
    if _exceeds(before, after, threshold) and test.larger < P_VALUE:
        return _decided_row(place, values, "regression", f"{text} ({evidence})")
    if _exceeds(after, before, threshold) and test.smaller < P_VALUE:
        return _decided_row(place, values, "win", f"{text} ({evidence})")
    return _decided_row(place, values, "same", text)


def _why_not_testable(base: Stored, base_samples: np.ndarray, new_samples: np.ndarray) -> str | None:
    """Why samples can't be tested, as a predicate of the metric; None if they can."""
    if min(len(base_samples), len(new_samples)) < MIN_SAMPLES:
        counts = f"{len(base_samples)} samples in the baseline and {len(new_samples)} now"
        return f"has {counts}, at least {MIN_SAMPLES} each are needed"
    if not base.value:
        return "is 0 in the baseline, so it has no ratio"
    before, now = (int((samples <= 0).sum()) for samples in (base_samples, new_samples))
    if before or now:
        return f"has samples that are not above 0 ({before} in the baseline, {now} now), so it has no ratio"
    return None


def _summary(samples: np.ndarray) -> tuple[float, float, float]:
    """The median, 10th percentile and minimum of the samples."""
    return float(np.median(samples)), float(np.quantile(samples, 0.1)), float(samples.min())


def _exceeds(base: tuple[float, ...], new: tuple[float, ...], threshold: float) -> bool:
    """Whether each summary statistic exceeds that of *base* by more than the threshold."""
    return all(after / before > 1 + threshold for before, after in zip(base, new, strict=True))


def _compare_exact(place: dict[str, Any], base: Stored, new: Stored) -> ComparedMetric:
    """Compare an exact count: any change matters."""
    ratio = new.value / base.value if base.value else None
    values: dict[str, Any] = {"base": base.value, "new": new.value, "ratio": ratio}
    worse = new.value > base.value if base.better == "lower" else new.value < base.value
    text = f"{base.name} is {_format_value(new)}, {_format_value(base)} in the baseline"
    if new.value == base.value:
        return _decided_row(place, values, "same", f"{base.name} is {_format_value(new)}, as in the baseline")
    text += "" if ratio is None else f": {_percent(ratio)}"
    return _decided_row(place, values, "regression" if worse else "win", text)


_OUTCOMES: dict[Change, tuple[Status, VerdictCode]] = {
    "regression": (Status.FAIL, VerdictCode.REGRESSED),
    "win": (Status.PASS, VerdictCode.IMPROVED),
    "same": (Status.PASS, VerdictCode.NOT_WORSE),
}


def _decided_row(place: dict[str, Any], values: dict[str, Any], change: Change, reason: str) -> ComparedMetric:
    status, code = _OUTCOMES[change]
    return ComparedMetric(**place, **values, change=change, status=status, code=code, reason=reason)


def _format_value(measured: Stored) -> str:
    return f"{significant(measured.value)} {measured.unit}".rstrip()


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"
