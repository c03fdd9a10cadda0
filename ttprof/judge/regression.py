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
"""Fewest samples per run for the normal approximation of the test and a 10th percentile."""

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
        return f"{self.reason} (--force compares them all the same, and says so)"

    @property
    def reason(self) -> str:
        """The message without the hint at --force."""
        return f"the runs can't be compared: {'; '.join(self.differences)}"


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
        placeholder = StoredTrial(case="(all)", point=Point(), status=Status.ERROR, measurements=[])
        reason = "no metric of any case is in both runs"
        rows.append(_trial_row(placeholder, "not measured", Status.ERROR, VerdictCode.NOTHING_IN_COMMON, reason))
    return Comparison(
        base=f"{base.name} of {base.started}",
        new=f"{new.name} of {new.started}",
        threshold=threshold,
        forced=unlike,
        software=_software_differences(base.environment, new.environment),
        rows=sorted(rows, key=severity),
    )


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
            reason = "it ended as ERROR, and was not measured"
            rows.append(_trial_row(old, "not measured", Status.ERROR, VerdictCode.NO_LONGER_MEASURED, reason))
        elif old is not None and old.measurements:
            reason = "it is in the baseline, and did not run"
            rows.append(_trial_row(old, "removed", Status.INCONCLUSIVE, VerdictCode.NO_LONGER_RUN, reason))
        elif old is not None and now is not None:
            rows.append(_never_measured(old, now))
        elif now is not None and now.case not in base_cases:
            reason = "the baseline does not have it"
            rows.append(_trial_row(now, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, reason))
        elif now is not None and now.measurements:
            reason = "the baseline did not measure it"
            rows.append(_trial_row(now, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, reason))
        elif old is not None and old.case not in new_cases:
            reason = f"the baseline did not measure it either ({old.status})"
            rows.append(_trial_row(old, "removed", Status.SKIP, VerdictCode.NEVER_MEASURED, reason))
    return rows


def _never_measured(old: StoredTrial, now: StoredTrial) -> ComparedMetric:
    """The row for a trial of both runs without measurements in the baseline."""
    if now.measurements:
        reason = f"the baseline did not measure it ({old.status})"
        return _trial_row(now, "new", Status.SKIP, VerdictCode.NOT_IN_BASELINE, reason)
    reason = f"neither run measured it ({old.status}, and now {now.status})"
    return _trial_row(now, "same", Status.SKIP, VerdictCode.NEVER_MEASURED, reason)


def _describe_overload(base: Environment, new: Environment) -> str:
    """Describe a load at which even CPU times are unreliable; empty if there is none, or if the baseline had it too.

    Threads of one op spin at barriers: if one of them waits for a core, the CPU time of the others rises with the wall
    time (measured: 300-fold for a layer norm on two loaded cores).
    """
    if new.device.partition(":")[0] != "cpu" or new.threads < 2 or not _overloaded(new) or _overloaded(base):
        return ""
    before = "" if base.load_average is None else f", and {significant(round(base.load_average, 1))} in the baseline"
    load = significant(round(new.load_average or 0.0, 1))
    return f"the load average was {load} on {new.cpu_count} CPUs{before}: its {new.threads} threads waited for them"


def _overloaded(machine: Environment) -> bool:
    return machine.load_average is not None and machine.load_average > OVERLOADED * machine.cpu_count


def _on_overloaded_machine(row: ComparedMetric, overload: str) -> ComparedMetric:
    """Turn the regression of a sampled metric into "undecided", because the machine was overloaded."""
    if row.change != "regression" or row.p_value is None:
        return row
    return _undecided(row, VerdictCode.MACHINE_OVERLOADED, f"{row.reason}; {overload}")


def _undecided(row: ComparedMetric, code: VerdictCode, reason: str) -> ComparedMetric:
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
    return [f"{name} was {a!r} and is {b!r}" for name, (a, b) in pairs.items() if a != b]


def _software_differences(base: Environment, new: Environment) -> list[str]:
    names = sorted(base.versions.keys() | new.versions.keys())
    pairs = ((name, base.versions.get(name, "absent"), new.versions.get(name, "absent")) for name in names)
    return [f"{name} {a} → {b}" for name, a, b in pairs if a != b]


def severity(row: ComparedMetric) -> tuple[int, str, str, str]:
    """Sort key of a row in a comparison: the most severe change first."""
    order: Sequence[Change] = ("regression", "not measured", "drift", "undecided", "removed", "new", "win", "same")
    return order.index(row.change), row.case, str(sorted(row.point.items())), row.metric


def _trial_row(trial: StoredTrial, change: Change, status: Status, code: VerdictCode, reason: str) -> ComparedMetric:
    """A row for a whole trial rather than one of its metrics."""
    place: dict[str, Any] = {"case": trial.case, "point": trial.point, "metric": "", "unit": ""}
    return ComparedMetric(**place, change=change, status=status, code=code, reason=reason)


def _missing(place: dict[str, Any], code: VerdictCode, reason: str, base: float | None = None) -> ComparedMetric:
    return ComparedMetric(**place, change="not measured", status=Status.ERROR, code=code, reason=reason, base=base)


def _compare_trial(base: StoredTrial, new: StoredTrial, threshold: float, device: str) -> list[ComparedMetric]:
    if base.inputs and new.inputs and base.inputs != new.inputs:
        reason = f"its inputs were {base.inputs} and are {new.inputs}: update the baseline"
        return [_trial_row(new, "undecided", Status.INCONCLUSIVE, VerdictCode.INPUTS_DIFFER, reason)]
    before, after = ({m.name: m for m in trial.measurements if _is_compared(m.name)} for trial in (base, new))
    rows = {}
    for name, old in before.items():
        place: dict[str, Any] = {"case": new.case, "point": new.point, "metric": name, "unit": old.unit}
        if name not in after:
            reason = f"{name} was {_format_value(old)} in the baseline, and was not measured now"
            rows[name] = ComparedMetric(
                **place,
                change="not measured",
                status=Status.ERROR,
                code=VerdictCode.NO_LONGER_MEASURED,
                reason=reason,
                base=old.value,
            )
        elif (old.unit, old.better, old.statistic) != (after[name].unit, after[name].better, after[name].statistic):
            reason = f"{name} is stored in another way than it is measured now: update the baseline"
            rows[name] = _missing(place, VerdictCode.STORED_DIFFERENTLY, reason)
        else:
            rows[name] = _compare_metric(place, old, after[name], threshold)
    wall, cpu = rows.get("latency_ms"), rows.get("cpu_time_ms")
    if device == "cpu" and wall and cpu and wall.change == "regression" and cpu.change != "regression":
        reason = f"{wall.reason}; its CPU time is not slower, so the machine may have been busy"
        rows["latency_ms"] = _undecided(wall, VerdictCode.CPU_TIME_UNCHANGED, reason)
    return list(rows.values())


def _is_compared(name: str) -> bool:
    """Whether a metric is compared; derived metrics and those with a tolerance in each run are not."""
    return name not in REGISTRY or REGISTRY[name].regresses


def _compare_metric(place: dict[str, Any], base: Stored, new: Stored, threshold: float) -> ComparedMetric:
    if base.statistic not in SAMPLED:
        return _compare_exact(place, base, new)
    base_samples, new_samples = (stored.unpacked.astype(np.float64) for stored in (base, new))
    ratio = new.value / base.value if base.value else None
    values: dict[str, Any] = {"base": base.value, "new": new.value, "ratio": ratio}
    positive = bool((base_samples > 0).all() and (new_samples > 0).all())
    if min(len(base_samples), len(new_samples)) < MIN_SAMPLES or ratio is None or not positive:
        counts = f"{len(base_samples)} and {len(new_samples)} samples"
        reason = f"{place['metric']} has {counts}; {MIN_SAMPLES} of each are needed to compare"
        return ComparedMetric(
            **place,
            **values,
            change="undecided",
            status=Status.INCONCLUSIVE,
            code=VerdictCode.TOO_FEW_SAMPLES,
            reason=reason,
        )
    if base.better == "higher":
        base_samples, new_samples = 1 / base_samples, 1 / new_samples
    test = mann_whitney(base_samples, new_samples)
    before, after = _summary(base_samples), _summary(new_samples)
    low_ratio = after[1] / before[1]
    values |= {"low_ratio": low_ratio, "p_value": test.larger, "effect": test.effect}
    text = f"{place['metric']} is {_format_value(new)}, {_format_value(base)} in the baseline: {_percent(ratio)}"
    evidence = f"10th percentile {_percent(low_ratio)}, p = {significant(min(test.larger, test.smaller))}"
    if _exceeds(before, after, threshold) and test.larger < P_VALUE:
        return _decided_row(place, values, "regression", f"{text} ({evidence})")
    if _exceeds(after, before, threshold) and test.smaller < P_VALUE:
        return _decided_row(place, values, "win", f"{text} ({evidence})")
    return _decided_row(place, values, "same", text)


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
    text = f"{place['metric']} is {_format_value(new)}, {_format_value(base)} in the baseline"
    if new.value == base.value:
        return _decided_row(place, values, "same", f"{place['metric']} is {_format_value(new)}, as in the baseline")
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
