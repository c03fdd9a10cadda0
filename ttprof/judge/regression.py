"""Regressions: a run against a baseline, trial by trial and metric by metric.

Two baselines enter (every result is one); a row for each metric of each trial leaves, with its status and a sentence.

A time has regressed when its median, its 10th percentile and its minimum are all worse by more than the threshold and
the one-sided Mann-Whitney test of the samples gives p < 0.01 (Mann and Whitney, 1947): the first three keep a shift
from counting that does not matter, is in the tail only, or comes from a busy machine, the last one chance. On a CPU a
wall time counts only where the CPU time regressed too: other processes make the wall clock slow; and no time of several
threads counts on a machine that had more to do than its cores can, while the baseline's had not. What is counted
exactly has regressed when it is worse at all. A metric that was measured before and is not any more is an ERROR. Wins
are told, and are never failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from ttprof import baseline
from ttprof.baseline import Baseline, Stored, StoredTrial
from ttprof.errors import TtprofError
from ttprof.judge.mann_whitney import mann_whitney
from ttprof.judge.verdicts import worst
from ttprof.metrics import REGISTRY
from ttprof.result import CaseResult, Environment, Status, SuiteResult, Verdict
from ttprof.units import significant

THRESHOLD = 0.05
P_VALUE = 0.01
MIN_SAMPLES = 10
CROWDED = 1.5
"""The load average, as a multiple of the cores, beyond which threads of one call wait for each other."""

SAMPLED = ("median",)
EXPECTATION = "baseline"

Change = Literal["regression", "win", "same", "drift", "undecided", "not measured", "new", "removed"]


class UnlikeHardware(TtprofError):
    """Two runs on machines that can't be compared."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one trial in both runs, in the metric's public unit.

    ``ratio`` is new / base, and ``low_ratio`` that of the 10th percentiles; ``effect`` is the probability that a sample
    of the new run is larger less that it is smaller (rank-biserial, -1 … 1). Null where it does not apply.
    """

    case: str
    point: dict[str, int]
    metric: str
    unit: str
    change: Change
    status: Status
    reason: str
    base: float | None = None
    new: float | None = None
    ratio: float | None = None
    low_ratio: float | None = None
    p_value: float | None = None
    effect: float | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, regressions first. ``forced`` names the differences in hardware that were overridden.

    ``oldest`` names the run that drift was looked for against, null where there is no history.
    """

    version: int = 1
    base: str
    new: str
    oldest: str | None = None
    threshold: float
    forced: list[str]
    software: list[str]
    rows: list[Row]

    def passes(self, strict: bool = False) -> bool:
        """Whether nothing regressed and no measurement went missing; when *strict*, also nothing is undecided."""
        failing = {Status.FAIL, Status.ERROR} | ({Status.INCONCLUSIVE} if strict else set())
        return not any(row.status in failing for row in self.rows)


def compare(base: Baseline, new: Baseline, threshold: float = THRESHOLD, force: bool = False) -> Comparison:
    """The comparison of *new* with *base*; *threshold* is a share, 0.05 for 5 %.

    Raises UnlikeHardware where the two ran on different hardware, unless *force*.
    """
    unlike = hardware_differences(base.environment, new.environment)
    if unlike and not force:
        raise UnlikeHardware(
            f"the runs can't be compared: {'; '.join(unlike)} (--force compares them all the same, and says so)"
        )
    crowd = _crowd(base.environment, new.environment)
    rows = [_in_a_crowd(row, crowd) if crowd else row for row in _paired(base, new, threshold)]
    if not any(row.metric for row in rows):
        nothing = StoredTrial(case="(all)", point={}, status=Status.ERROR, measurements=[])
        rows.append(_alone(nothing, "not measured", Status.ERROR, "no metric of any case is in both runs"))
    return Comparison(
        base=f"{base.name} of {base.started}",
        new=f"{new.name} of {new.started}",
        threshold=threshold,
        forced=unlike,
        software=_software_differences(base.environment, new.environment),
        rows=sorted(rows, key=severity),
    )


def _paired(base: Baseline, new: Baseline, threshold: float) -> list[Row]:
    """The rows of every trial of either run."""
    before, after = ({trial.key: trial for trial in run.trials} for run in (base, new))
    known, present = ({trial.case for trial in run.trials} for run in (base, new))
    broken = {trial.case for trial in new.trials if trial.status is Status.ERROR and not trial.measurements}
    rows: list[Row] = []
    for key in before | after:
        old, now = before.get(key), after.get(key)
        if old is not None and now is not None and old.measurements and now.status is not Status.SKIP:
            rows += _trial(old, now, threshold, new.environment.device)
        elif old is not None and now is None and old.case in broken:
            rows.append(_alone(old, "not measured", Status.ERROR, "it ended as ERROR, and was not measured"))
        elif old is not None and old.measurements:
            rows.append(_alone(old, "removed", Status.INCONCLUSIVE, "it is in the baseline, and did not run"))
        elif old is not None and now is not None:
            rows.append(_never_measured(old, now))
        elif now is not None and now.case not in known:
            rows.append(_alone(now, "new", Status.SKIP, "the baseline does not have it"))
        elif now is not None and now.measurements:
            rows.append(_alone(now, "new", Status.SKIP, "the baseline did not measure it"))
        elif old is not None and old.case not in present:
            rows.append(_alone(old, "removed", Status.SKIP, f"the baseline did not measure it either ({old.status})"))
    return rows


def _never_measured(old: StoredTrial, now: StoredTrial) -> Row:
    """The row of a trial that is in both runs, of which the baseline holds no measurement."""
    if now.measurements:
        return _alone(now, "new", Status.SKIP, f"the baseline did not measure it ({old.status})")
    return _alone(now, "same", Status.SKIP, f"neither run measured it ({old.status}, and now {now.status})")


def _crowd(base: Environment, new: Environment) -> str:
    """A clause that names a load in which not even CPU times hold; empty where there was none, or one in both runs.

    Threads that work together wait for each other at barriers, and spin there: where one of them waits for a core, the
    CPU time of the others rises with the wall time (measured: 300 times as much in a layer norm on two loaded cores).
    """
    if new.device.partition(":")[0] != "cpu" or new.threads < 2 or not _crowded(new) or _crowded(base):
        return ""
    before = "" if base.load_average is None else f", and {significant(round(base.load_average, 1))} in the baseline"
    load = significant(round(new.load_average or 0.0, 1))
    return f"the load average was {load} on {new.cpu_count} CPUs{before}: its {new.threads} threads waited for them"


def _crowded(machine: Environment) -> bool:
    return machine.load_average is not None and machine.load_average > CROWDED * machine.cpu_count


def _in_a_crowd(row: Row, crowd: str) -> Row:
    """A row of a loaded machine: what is sampled there did not regress for sure; what is counted did."""
    if row.change != "regression" or row.p_value is None:
        return row
    reason = f"{row.reason}; {crowd}"
    return msgspec.structs.replace(row, change="undecided", status=Status.INCONCLUSIVE, reason=reason)


def against(base: Baseline, result: SuiteResult) -> SuiteResult:
    """A result with a verdict on each case that the baseline has; on unlike hardware that is an ERROR."""
    try:
        found = verdicts(compare(base, baseline.of(result)))
    except UnlikeHardware as error:
        unlike = Verdict(expectation=EXPECTATION, status=Status.ERROR, reason=str(error).partition(" (--force")[0])
        found = {case.module_name: [unlike] for case in result}
    names = {case.module_name for case in result}
    missing = [_missing(name, told) for name, told in found.items() if name not in names and _was_measured(told)]
    cases = []
    for case in result:
        own = [v for v in found.get(case.module_name, []) if v.status is not Status.SKIP]
        if case.status is Status.SKIP or not own:
            cases.append(case)
            continue
        added = [*case.verdicts, *own]
        cases.append(msgspec.structs.replace(case, verdicts=added, status=worst(added)))
    return msgspec.structs.replace(result, cases=[*cases, *missing])


def _was_measured(told: list[Verdict]) -> bool:
    return any(verdict.status is not Status.SKIP for verdict in told)


def _missing(name: str, told: list[Verdict]) -> CaseResult:
    """A case of the baseline that the run does not have, so that it is seen that nothing compares it."""
    return CaseResult(module_name=name, module_type="", status=worst(told), source="baseline", verdicts=told)


def hardware_differences(base: Environment, new: Environment) -> list[str]:
    """What makes two machines unlike, each as a clause."""
    pairs = {
        "device": (base.device.partition(":")[0], new.device.partition(":")[0]),
        "device name": (base.device_name, new.device_name),
        "CPU": (base.cpu, new.cpu),
        "number of CPUs": (base.cpu_count, new.cpu_count),
        "threads": (base.threads, new.threads),
    }
    return [f"{what} was {a!r} and is {b!r}" for what, (a, b) in pairs.items() if a != b]


def _software_differences(base: Environment, new: Environment) -> list[str]:
    names = sorted(base.versions.keys() | new.versions.keys())
    pairs = ((name, base.versions.get(name, "absent"), new.versions.get(name, "absent")) for name in names)
    return [f"{name} {a} → {b}" for name, a, b in pairs if a != b]


def severity(row: Row) -> tuple[int, str, str, str]:
    """The place of a row in a comparison: what matters most comes first."""
    order: Sequence[Change] = ("regression", "not measured", "drift", "undecided", "removed", "new", "win", "same")
    return order.index(row.change), row.case, str(sorted(row.point.items())), row.metric


def _alone(trial: StoredTrial, change: Change, status: Status, reason: str) -> Row:
    return Row(case=trial.case, point=trial.point, metric="", unit="", change=change, status=status, reason=reason)


def _trial(base: StoredTrial, new: StoredTrial, threshold: float, device: str) -> list[Row]:
    if base.inputs and new.inputs and base.inputs != new.inputs:
        reason = f"its inputs were {base.inputs} and are {new.inputs}: update the baseline"
        return [_alone(new, "undecided", Status.INCONCLUSIVE, reason)]
    before, after = ({m.name: m for m in trial.measurements if _compared(m.name)} for trial in (base, new))
    rows = {}
    for name, old in before.items():
        place: dict[str, Any] = {"case": new.case, "point": new.point, "metric": name, "unit": old.unit}
        if name not in after:
            reason = f"{name} was {_shown(old)} in the baseline, and was not measured now"
            rows[name] = Row(**place, change="not measured", status=Status.ERROR, reason=reason, base=old.value)
        elif (old.unit, old.better, old.statistic) != (after[name].unit, after[name].better, after[name].statistic):
            reason = f"{name} is stored in another way than it is measured now: update the baseline"
            rows[name] = Row(**place, change="not measured", status=Status.ERROR, reason=reason)
        else:
            rows[name] = _pair(place, old, after[name], threshold)
    wall, cpu = rows.get("latency_ms"), rows.get("cpu_time_ms")
    if device == "cpu" and wall and cpu and wall.change == "regression" and cpu.change != "regression":
        reason = f"{wall.reason}; its CPU time is not slower, so the machine may have been busy"
        change: Change = "undecided"
        rows["latency_ms"] = msgspec.structs.replace(wall, change=change, status=Status.INCONCLUSIVE, reason=reason)
    return list(rows.values())


def _compared(name: str) -> bool:
    """Whether a metric is compared: what is derived from others, or judged by a tolerance in each run, is not."""
    return name not in REGISTRY or REGISTRY[name].regresses


def _pair(place: dict[str, Any], base: Stored, new: Stored, threshold: float) -> Row:
    if base.statistic not in SAMPLED:
        return _exact(place, base, new)
    old, now = (stored.unpacked.astype(np.float64) for stored in (base, new))
    ratio = new.value / base.value if base.value else None
    known = {"base": base.value, "new": new.value, "ratio": ratio}
    if min(len(old), len(now)) < MIN_SAMPLES or ratio is None or not (old > 0).all() or not (now > 0).all():
        reason = f"{place['metric']} has {len(old)} and {len(now)} samples; {MIN_SAMPLES} of each are needed to compare"
        return _row(place, known, "undecided", Status.INCONCLUSIVE, reason)
    if base.better == "higher":
        old, now = 1 / old, 1 / now
    test = mann_whitney(old, now)
    before, after = _signs(old), _signs(now)
    low_ratio = after[1] / before[1]
    known |= {"low_ratio": low_ratio, "p_value": test.larger, "effect": test.effect}
    text = f"{place['metric']} is {_shown(new)}, {_shown(base)} in the baseline: {_percent(ratio)}"
    evidence = f"10th percentile {_percent(low_ratio)}, p = {significant(min(test.larger, test.smaller))}"
    if _beyond(before, after, threshold) and test.larger < P_VALUE:
        return _row(place, known, "regression", Status.FAIL, f"{text} ({evidence})")
    if _beyond(after, before, threshold) and test.smaller < P_VALUE:
        return _row(place, known, "win", Status.PASS, f"{text} ({evidence})")
    return _row(place, known, "same", Status.PASS, text)


def _signs(samples: np.ndarray) -> tuple[float, float, float]:
    """The median, the 10th percentile and the minimum."""
    return float(np.median(samples)), float(np.quantile(samples, 0.1)), float(samples.min())


def _beyond(base: tuple[float, ...], new: tuple[float, ...], threshold: float) -> bool:
    """Whether all signs are larger than those of *base* by more than the threshold."""
    return all(after / before > 1 + threshold for before, after in zip(base, new, strict=True))


def _exact(place: dict[str, Any], base: Stored, new: Stored) -> Row:
    """What is counted exactly: every change counts."""
    ratio = new.value / base.value if base.value else None
    known = {"base": base.value, "new": new.value, "ratio": ratio}
    worse = new.value > base.value if base.better == "lower" else new.value < base.value
    text = f"{place['metric']} is {_shown(new)}, {_shown(base)} in the baseline"
    if new.value == base.value:
        return _row(place, known, "same", Status.PASS, f"{place['metric']} is {_shown(new)}, as in the baseline")
    text += "" if ratio is None else f": {_percent(ratio)}"
    return _row(place, known, "regression" if worse else "win", Status.FAIL if worse else Status.PASS, text)


def _row(place: dict[str, Any], known: dict[str, float | None], change: Change, status: Status, reason: str) -> Row:
    return msgspec.convert({**place, **known, "change": change, "status": status, "reason": reason}, Row)


def _shown(measured: Stored) -> str:
    return f"{significant(measured.value)} {measured.unit}".rstrip()


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def verdicts(comparison: Comparison) -> dict[str, list[Verdict]]:
    """The verdicts on each case of the new run: one for its regressions, or for what could not be compared."""
    found: dict[str, list[Verdict]] = {}
    for row in comparison.rows:
        verdict = Verdict(
            expectation=EXPECTATION, status=row.status, reason=row.reason, metric=row.metric or None, point=row.point
        )
        found.setdefault(row.case, []).append(verdict)
    return {case: _worth_telling(each) for case, each in found.items()}


def _worth_telling(found: list[Verdict]) -> list[Verdict]:
    """The verdicts that are no PASS, or one PASS that stands for all."""
    told = [verdict for verdict in found if verdict.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)]
    if told:
        return told
    compared = sum(verdict.status is Status.PASS for verdict in found)
    if not compared:
        return found[:1]
    reason = f"none of {compared} metrics is worse than in the baseline"
    return [Verdict(expectation=EXPECTATION, status=Status.PASS, reason=reason)]
