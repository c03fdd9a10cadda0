"""Judges the regression of a time by all looks at it, as ``looks`` judges a limit.

It stands only if every look regressed, on undisturbed iterations, by more than the machine was slower. Where the
baseline holds several processes, all processes of the run together must differ from them by more than their spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from ttprof import baseline
from ttprof.baseline import Baseline, Stored
from ttprof.codes import VerdictCode
from ttprof.judge import gpu_use, metric_change, spread
from ttprof.judge.environments import software_differences
from ttprof.judge.looks import DOUBTFUL, MACHINE, confirmed
from ttprof.judge.metric_change import WORSE, ComparedMetric, cpu_unchanged
from ttprof.machine import Environment, MachineUse
from ttprof.measurement import Measurement
from ttprof.result import CaseResult, TrialResult
from ttprof.slowness import agreed_slowdown, least_slowdown
from ttprof.thresholds import Thresholds
from ttprof.units import percent, significant

SILENT = MACHINE | {VerdictCode.CPU_TIME_UNCHANGED, VerdictCode.TOO_FEW_SAMPLES}
"""Codes of looks that say nothing about the module."""


@dataclass(frozen=True)
class Confirmation:
    """Confirms the regressions of a run against *base*; *threshold* is for cases that have none of their own.

    ``alike``: both ran the same versions of the software, so that the yardsticks can be compared.
    """

    base: Baseline
    threshold: float
    alike: bool = True

    @classmethod
    def against(cls, base: Baseline, threshold: float, environment: Environment) -> Confirmation:
        """That of a run in *environment*."""
        return cls(base, threshold, not software_differences(base.environment, environment))

    def of(self, row: ComparedMetric, case: CaseResult) -> ComparedMetric:
        """The comparison of a metric with all looks at it; *row* itself if it is not timed.

        A time that is not worse is undecided if it would be on a machine as slow as the baseline's.
        """
        trial = next((trial for trial in case.trials if trial.point == row.point), None)
        old, yardstick = self._stored(row, row.metric), self._yardstick(row)
        if old is None or trial is None:
            return row
        allowed = case.thresholds.of(row.metric, old.statistic, self.threshold)
        if row.code not in WORSE:
            return self._unless_hidden(row, trial, old, allowed)
        looks = []
        for index, (timings, machine) in enumerate(_timings(trial)):
            timing = timings.get(row.metric)
            if timing is not None:
                seen = self._compared(row, timings, machine, case.thresholds) if index else row
                slower = _slower(machine, yardstick)
                excused = _excused(seen, old, allowed, _Timed(timing, machine, slower))
                looks.append(_Look(machine.process, baseline.stored(timing, machine), excused))
        return _together(old, allowed, looks) if looks else row

    def _unless_hidden(self, row: ComparedMetric, trial: TrialResult, old: Stored, allowed: float) -> ComparedMetric:
        """The comparison of a time that is not worse, undecided if a slow machine of the baseline's may hide it."""
        timings, machine = next(_timings(trial))
        timing = timings.get(row.metric)
        if timing is None or timing.timed not in ("wall", "cpu") or self.base.environment.device != "cpu":
            return row
        slower = least_slowdown(self._yardstick(row), machine.yardstick)
        as_slow = _faster(baseline.stored(timing, machine), 1 / slower)
        if slower <= 1 or metric_change.compare_metric(row.key, old, as_slow, allowed).code not in WORSE:
            return row
        times = significant(round(slower, 2))
        text = f"the machine was {times} times slower when the baseline was recorded, which may hide a regression"
        return metric_change.undecided(row, VerdictCode.BASELINE_SLOW, f"{row.reason}; but {text}")

    def _compared(
        self, row: ComparedMetric, timings: Mapping[str, Measurement], machine: MachineUse, thresholds: Thresholds
    ) -> ComparedMetric:
        """The comparison of the metric of *row* in a later look."""

        def compared(metric: str) -> ComparedMetric | None:
            old, timing = self._stored(row, metric), timings.get(metric)
            if old is None or timing is None:
                return None
            allowed = thresholds.of(metric, old.statistic, self.threshold)
            return metric_change.compare_metric(row.key, old, baseline.stored(timing, machine), allowed)

        seen, cpu = compared(row.metric), compared("cpu_time_ms")
        assert seen is not None  # the caller has looked
        on_cpu = row.metric == "latency_ms" and self.base.environment.device == "cpu"
        return cpu_unchanged(seen, cpu) if on_cpu and cpu is not None else seen

    def _stored(self, row: ComparedMetric, metric: str) -> Stored | None:
        trials = (trial for trial in self.base.trials if trial.key == row.key)
        return next((stored for trial in trials for stored in trial.measurements if stored.name == metric), None)

    def _yardstick(self, row: ComparedMetric) -> dict[str, float]:
        """The yardstick in the trial of the baseline; empty if it was not timed, or with other software."""
        return next((trial.yardstick for trial in self.base.trials if trial.key == row.key and self.alike), {})


@dataclass(frozen=True)
class _Timed:
    """A metric in one look, and what the machine did: it was *slower* than in the baseline, by a factor."""

    measurement: Measurement
    machine: MachineUse
    slower: float


def _excused(seen: ComparedMetric, old: Stored, allowed: float, timed: _Timed) -> ComparedMetric:
    """The comparison of one look, undecided if a busy or slow machine explains that it is worse."""
    if seen.code not in WORSE:
        return seen

    def worse(new: Stored) -> bool:
        return metric_change.compare_metric(seen.key, old, new, allowed).code in WORSE

    measurement, machine = timed.measurement, timed.machine
    count, disturbed = len(measurement.samples), len(machine.disturbed)
    clean = baseline.stored_samples(measurement, machine.undisturbed(measurement.samples))
    if disturbed and not (machine.is_enough(count) and worse(clean)):
        text = f"other processes had the CPU in or around {disturbed} of {count} iterations"
        reason = f"{seen.reason}; but {text}, and the others don't show it"
        return metric_change.undecided(seen, VerdictCode.MACHINE_BUSY, reason)
    if timed.slower > 1 and not worse(_faster(clean, timed.slower)):
        times = significant(round(timed.slower, 2))
        text = f"the machine was {times} times slower than when the baseline was recorded"
        return metric_change.undecided(seen, VerdictCode.MACHINE_SLOW, f"{seen.reason}; but {text}")
    factor = gpu_use.slowdown(machine.gpu, old.statistic) if measurement.timed != "paired" else 1.0
    fast = _faster(clean, factor if measurement.better == "lower" else 1 / factor)
    if machine.gpu is not None and factor > 1 and not worse(fast):
        text = gpu_use.clause(machine.gpu, old.statistic)
        return metric_change.undecided(seen, VerdictCode.GPU_SLOWED, f"{seen.reason}; but {text}")
    return seen


def _slower(machine: MachineUse, yardstick: Mapping[str, float]) -> float:
    """How many times slower the machine was than in the baseline, or than at other times of the run."""
    known = any(part in machine.yardstick for part in yardstick)
    return agreed_slowdown(machine.yardstick, yardstick) if known else machine.slowdown


@dataclass(frozen=True)
class _Look:
    """One look at a metric: its process, what was measured, and its comparison with the baseline."""

    process: int
    now: Stored
    row: ComparedMetric


def _together(old: Stored, allowed: float, all_looks: Sequence[_Look]) -> ComparedMetric:
    """The comparison by all looks that say something about the module; a single one of several is not enough."""
    looks = [look for look in all_looks if look.row.code not in SILENT] or all_looks[:1]
    first, later = looks[0], looks[1:]
    if first.row.code not in WORSE:
        return first.row
    if not later:
        excused = next((look for look in all_looks if look.row.code in DOUBTFUL), None)
        return first.row if excused is None else _alone(old, first, excused)
    processes: dict[int, list[float]] = {}
    for look in looks:
        processes.setdefault(look.process, []).append(look.now.value)
    values = [float(np.median(of_process)) for of_process in processes.values()]
    middle = msgspec.structs.replace(first.now, value=_geometric_mean(values), values=values)
    middle_of = f"mean of {len(values)} processes" if len(values) > 1 else f"median of {len(looks)} looks"
    between = spread.between(old, [middle])
    contrary = next((look for look in later if look.row.code not in WORSE), None)
    text = metric_change.changed(old, first.now)
    if contrary is None:
        if between is not None and between.explains:
            row = msgspec.structs.replace(first.row, reason=metric_change.changed(old, middle, middle_of))
            return metric_change.within_spread(row, between)
        agreed = confirmed(look.process for look in looks)
        return metric_change.regressed(first.row, metric_change.changed(old, first.now, agreed))
    if between is not None and between.ratio <= 1 + allowed:
        return metric_change.not_worse(first.row, f"{text}; {percent(between.ratio)} in the {middle_of}")
    reason = f"{text}; but {_where(first, contrary)} {contrary.row.reason}"
    return metric_change.undecided(first.row, VerdictCode.LOOKS_DISAGREE, reason)


def _alone(old: Stored, only: _Look, excused: _Look) -> ComparedMetric:
    """The comparison by a single look that tells, while the machine excuses another one."""
    text = metric_change.changed(old, only.now)
    return metric_change.undecided(only.row, excused.row.code, f"{text}; {_where(only, excused)} {excused.row.reason}")


def _where(look: _Look, other: _Look) -> str:
    """A clause on when another look was made."""
    return "in a fresh process" if other.process != look.process else "at another time of the same process"


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(values).mean()))  # times that are worse are above 0


def _timings(trial: TrialResult) -> Iterator[tuple[Mapping[str, Measurement], MachineUse]]:
    """The timed metrics of a trial in all looks at it, the first one first, and what the machine did."""
    looks = [(trial.measurements, trial.machine or MachineUse())]
    looks += [(look.measurements, look.machine) for look in trial.looks]
    for measurements, machine in looks:
        yield {m.name: m for m in measurements if m.timed != "never"}, machine


def _faster(stored: Stored, factor: float) -> Stored:
    """The time on a machine that is faster by a factor."""
    samples = np.rint(stored.unpacked / factor).astype(np.int64)
    return msgspec.structs.replace(stored, value=stored.value / factor, samples=baseline.pack(samples))
