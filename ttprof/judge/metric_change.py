"""Compares one metric of a trial with a baseline.

A time has regressed if its median, 10th percentile and minimum are all worse by more than the threshold, the one-sided
Mann-Whitney test of the samples gives p < 0.01 (Mann and Whitney, 1947) and, where the baseline holds several
processes, the spread between them does not explain it (``spread``). The first three rule out shifts that are small,
only in the tail or caused by a busy machine; the tests rule out chance. Of fewer than ``MIN_SAMPLES`` samples, all must
be worse than all of the baseline's by more than the threshold. An exact count has regressed if it is worse at all, or
by more than a threshold of its own.
"""

from __future__ import annotations

from math import comb
from typing import Any, Literal

import msgspec
import numpy as np

from ttprof.baseline import Stored
from ttprof.codes import VerdictCode
from ttprof.judge import spread
from ttprof.judge.mann_whitney import mann_whitney
from ttprof.thresholds import SAMPLED
from ttprof.trial_key import Point, TrialKey
from ttprof.units import apart, percent, significant
from ttprof.verdict import Status

P_VALUE = 0.01
"""Significance level of the one-sided tests; low, because a comparison tests many metrics."""

MIN_SAMPLES = 10
"""Minimum number of samples per run for the normal approximation of the test and a 10th percentile."""

LONG = 1e6
"""The value from which a change is only given in percent."""

SHOWN = 0.0005
"""The least change that percents with one decimal show."""

WORSE = frozenset({VerdictCode.REGRESSED, VerdictCode.WITHIN_SPREAD})
"""Codes of a comparison in which a time is worse by more than the threshold."""

Change = Literal["regression", "win", "same", "drift", "undecided", "not measured", "new", "removed"]


class ComparedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one trial in both runs, in the metric's public unit.

    ``ratio`` is new / base, and ``low_ratio`` the same for the 10th percentiles. ``effect`` is the probability that a
    new sample is larger, minus the probability that it is smaller (rank-biserial, -1 … 1). ``explained`` is the ratio
    up to which the spread between the processes of the baseline explains a change. Null if not applicable.
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
    explained: float | None = None

    @property
    def key(self) -> TrialKey:
        """The key of the trial."""
        return TrialKey(self.case, self.point)


def compare_metric(key: TrialKey, base: Stored, new: Stored, threshold: float) -> ComparedMetric:
    """Compare one metric of the trial *key* that has the same unit, direction and statistic in both runs.

    *threshold* is the change that is allowed, as a fraction: 0.05 for 5 %.
    """
    if base.statistic not in SAMPLED:
        return _compare_exact(place(key, base), base, new, threshold)
    base_samples, new_samples = (stored.unpacked.astype(np.float64) for stored in (base, new))
    values = _values(base, new)
    if (obstacle := _why_no_ratio(base, base_samples, new_samples)) is not None:
        return _untestable(place(key, base) | values, f"{base.name} {obstacle}")
    if base.better == "higher":
        base_samples, new_samples = 1 / base_samples, 1 / new_samples
    if min(len(base_samples), len(new_samples)) < MIN_SAMPLES:
        return _compare_few(place(key, base) | values, base, new, (base_samples, new_samples), threshold)
    test = mann_whitney(base_samples, new_samples)
    before, after = _summary(base_samples), _summary(new_samples)
    between = spread.between(base, [new])
    values |= {"low_ratio": after[1] / before[1], "p_value": test.larger, "effect": test.effect}
    values |= {"explained": between.explained if between is not None else None}
    row = _decided(place(key, base) | values, "same", changed(base, new))
    if _exceeds(before, after, threshold) and test.larger < P_VALUE:
        if between is not None and between.explains:
            return within_spread(row, between)
        return _redecided(row, "regression")
    if _exceeds(after, before, threshold) and test.smaller < P_VALUE:
        return _redecided(row, "win")
    return row


def undecided(row: ComparedMetric, code: VerdictCode, reason: str) -> ComparedMetric:
    """The row as INCONCLUSIVE, for this reason."""
    return msgspec.structs.replace(row, change="undecided", status=Status.INCONCLUSIVE, code=code, reason=reason)


def cpu_unchanged(wall: ComparedMetric, cpu: ComparedMetric) -> ComparedMetric:
    """The row of a wall time on a CPU, undecided if it regressed and the CPU time of the same iterations did not."""
    if wall.change != "regression" or cpu.code in WORSE:
        return wall
    reason = f"{wall.reason}; cpu_time_ms did not regress, so other processes may have slowed it"
    return undecided(wall, VerdictCode.CPU_TIME_UNCHANGED, reason)


def within_spread(row: ComparedMetric, between: spread.Between) -> ComparedMetric:
    """The row of a change that the spread between processes explains."""
    text = f"the {between.processes} processes of the baseline differ so much that only more than"
    reason = f"{row.reason}; {text} {percent(between.explained)} would tell"
    return undecided(row, VerdictCode.WITHIN_SPREAD, reason)


def regressed(row: ComparedMetric, reason: str) -> ComparedMetric:
    """The row as a regression, for this reason."""
    return msgspec.structs.replace(_redecided(row, "regression"), reason=reason)


def not_worse(row: ComparedMetric, reason: str) -> ComparedMetric:
    """The row as not worse than the baseline, for this reason."""
    return msgspec.structs.replace(_redecided(row, "same"), reason=reason)


def place(key: TrialKey, stored: Stored) -> dict[str, Any]:
    """The fields of a row that identify its trial and metric."""
    return {"case": key.case, "point": key.point, "metric": stored.name, "unit": stored.unit}


def format_value(measured: Stored) -> str:
    """A value with its unit."""
    return f"{significant(measured.value)} {measured.unit}".rstrip()


def _values(base: Stored, new: Stored) -> dict[str, Any]:
    return {"base": base.value, "new": new.value, "ratio": new.value / base.value if base.value else None}


def changed(base: Stored, new: Stored, evidence: str = "") -> str:
    """The change of a value, as ``latency_ms +36 % (6.29 → 8.56 ms)`` or, for a count, as ``op_count 13 → 14``."""
    sampled = base.statistic in SAMPLED
    before, now = map(significant, (base.value, new.value)) if sampled else apart(base.value, new.value)
    pair = f"{f'{before} → {now}' if before != now else now} {base.unit}".rstrip()
    if not base.unit or not base.value:
        return f"{base.name} {pair}"
    ratio = new.value / base.value
    if abs(ratio - 1) < SHOWN and before != now:
        return f"{base.name} {pair}"
    change = f"{base.name} {percent(ratio)}"
    if base.value >= LONG and abs(ratio - 1) >= SHOWN:
        return change  # FLOPs and bytes in full would hide what changed
    return f"{change} ({', '.join(filter(None, (pair, evidence)))})"


def _why_no_ratio(base: Stored, base_samples: np.ndarray, new_samples: np.ndarray) -> str | None:
    """Why samples have no ratio, as a predicate of the metric; None if they have one."""
    if not base.value:
        return "is 0 in the baseline, so it has no ratio"
    before, now = (int((samples <= 0).sum()) for samples in (base_samples, new_samples))
    if before or now:
        return f"has samples that are not above 0 ({before} in the baseline, {now} now), so it has no ratio"
    return None


def _compare_few(
    placed: dict[str, Any], base: Stored, new: Stored, samples: tuple[np.ndarray, np.ndarray], threshold: float
) -> ComparedMetric:
    """Compare few *samples*, before and now: a slower module has fewer of them, and must not escape by that.

    That all of n new samples exceed all of m has the probability 1 / C(m + n, n) by chance (the exact test of Mann and
    Whitney).
    """
    before, now = samples
    p_value = 1 / comb(len(before) + len(now), len(now))
    if len(before) and len(now) and p_value < P_VALUE and now.min() > (1 + threshold) * before.max():
        between = spread.between(base, [new])
        placed |= {"low_ratio": _summary(now)[1] / _summary(before)[1], "p_value": p_value, "effect": 1.0}
        placed |= {"explained": between.explained if between is not None else None}
        row = _decided(placed, "regression", changed(base, new))
        return within_spread(row, between) if between is not None and between.explains else row
    counts = f"{len(before)} samples in the baseline and {len(now)} now"
    return _untestable(placed, f"{base.name} has {counts}, at least {MIN_SAMPLES} each are needed")


def _untestable(placed: dict[str, Any], reason: str) -> ComparedMetric:
    code = VerdictCode.TOO_FEW_SAMPLES
    return ComparedMetric(**placed, change="undecided", status=Status.INCONCLUSIVE, code=code, reason=reason)


def _summary(samples: np.ndarray) -> tuple[float, float, float]:
    """The median, 10th percentile and minimum of the samples."""
    return float(np.median(samples)), float(np.quantile(samples, 0.1)), float(samples.min())


def _exceeds(base: tuple[float, ...], new: tuple[float, ...], threshold: float) -> bool:
    """Whether each summary statistic exceeds that of *base* by more than the threshold."""
    return all(after / before > 1 + threshold for before, after in zip(base, new, strict=True))


def _compare_exact(placed: dict[str, Any], base: Stored, new: Stored, threshold: float) -> ComparedMetric:
    """Compare an exact count: any change beyond the values of the baseline's processes matters."""
    placed |= _values(base, new)
    low, high = min(base.values, default=base.value), max(base.values, default=base.value)
    if low <= new.value <= high:
        as_before = (
            "as in the baseline" if low == high else f"within the {_interval(low, high, base.unit)} of the baseline"
        )
        return _decided(placed, "same", f"{base.name} {format_value(new)}, {as_before}")
    worse = new.value > high if base.better == "lower" else new.value < low
    limit = (high + abs(high) * threshold) if base.better == "lower" else (low - abs(low) * threshold)
    tolerated = worse and (new.value <= limit if base.better == "lower" else new.value >= limit)
    return _decided(placed, "same" if tolerated else "regression" if worse else "win", changed(base, new))


def _interval(low: float, high: float, unit: str) -> str:
    return f"{significant(low)} to {significant(high)} {unit}".rstrip()


_OUTCOMES: dict[Change, tuple[Status, VerdictCode]] = {
    "regression": (Status.FAIL, VerdictCode.REGRESSED),
    "win": (Status.PASS, VerdictCode.IMPROVED),
    "same": (Status.PASS, VerdictCode.NOT_WORSE),
}


def _decided(fields: dict[str, Any], change: Change, reason: str) -> ComparedMetric:
    status, code = _OUTCOMES[change]
    return ComparedMetric(**fields, change=change, status=status, code=code, reason=reason)


def _redecided(row: ComparedMetric, change: Change) -> ComparedMetric:
    status, code = _OUTCOMES[change]
    return msgspec.structs.replace(row, change=change, status=status, code=code)
