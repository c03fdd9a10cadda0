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
from ttprof.judge.interference import slowdown
from ttprof.judge.looks import MACHINE, confirmed
from ttprof.judge.metric_change import ComparedMetric
from ttprof.machine import Environment, MachineUse
from ttprof.measurement import Measurement
from ttprof.result import CaseResult, TrialResult
from ttprof.units import percent, significant

WORSE = frozenset({VerdictCode.REGRESSED, VerdictCode.WITHIN_SPREAD})
"""Codes of a look in which the time is worse by more than the threshold."""


@dataclass(frozen=True)
class Confirmation:
    """Confirms the regressions of a run against *base*; *threshold* is for cases that have none of their own.

    The machine was *slower* than when the baseline was recorded, by a factor.
    """

    base: Baseline
    threshold: float
    slower: float = 1.0

    @classmethod
    def against(
        cls, base: Baseline, threshold: float, environment: Environment, yardstick: Mapping[str, float]
    ) -> Confirmation:
        """That of a run in *environment*; *yardstick* are the times of the fixed workload when its machine was fast.

        They are only compared between the same versions of the software.
        """
        unlike = software_differences(base.environment, environment)
        return cls(base, threshold, 1.0 if unlike else slowdown([yardstick], base.yardstick))

    def of(self, row: ComparedMetric, case: CaseResult) -> ComparedMetric:
        """The comparison of a metric with all looks at it; *row* itself unless a timed metric is worse."""
        trial = next((trial for trial in case.trials if trial.point == row.point), None)
        timings = list(_timings(trial, row.metric)) if trial is not None else []
        old = self._stored(row)
        if row.code not in WORSE or old is None or not timings:
            return row
        allowed = case.thresholds.of(row.metric, old.statistic, self.threshold)
        looks = []
        for index, (timing, machine) in enumerate(timings):
            now = baseline.stored(timing, machine)
            seen = metric_change.compare_metric(row.key, old, now, allowed) if index else row
            looks.append(_Look(machine.process, now, self._excused(seen, old, allowed, timing, machine)))
        telling = [look for look in looks if look.row.code not in MACHINE] or looks[:1]
        return _together(old, allowed, telling)

    def _stored(self, row: ComparedMetric) -> Stored | None:
        trials = (trial for trial in self.base.trials if trial.key == row.key)
        return next((stored for trial in trials for stored in trial.measurements if stored.name == row.metric), None)

    def _excused(
        self, seen: ComparedMetric, old: Stored, allowed: float, measurement: Measurement, machine: MachineUse
    ) -> ComparedMetric:
        """The comparison of one look, undecided if a busy or slow machine explains that it is worse."""
        if seen.code not in WORSE:
            return seen

        def worse(new: Stored) -> bool:
            return metric_change.compare_metric(seen.key, old, new, allowed).code in WORSE

        count, disturbed = len(measurement.samples), len(machine.disturbed)
        clean = baseline.stored_samples(measurement, machine.undisturbed(measurement.samples))
        if disturbed and not (machine.is_enough(count) and worse(clean)):
            text = f"other processes had the CPU in {disturbed} of {count} iterations, and the others don't show it"
            return metric_change.undecided(seen, VerdictCode.MACHINE_BUSY, f"{seen.reason}; but {text}")
        factor = machine.slowdown * self.slower
        if factor > 1 and not worse(_faster(clean, factor)):
            times = significant(round(factor, 2))
            text = f"the machine was {times} times slower than when the baseline was recorded"
            return metric_change.undecided(seen, VerdictCode.MACHINE_SLOW, f"{seen.reason}; but {text}")
        factor = gpu_use.slowdown(machine.gpu, old.statistic) if measurement.timed != "paired" else 1.0
        fast = _faster(clean, factor if measurement.better == "lower" else 1 / factor)
        if machine.gpu is not None and factor > 1 and not worse(fast):
            text = gpu_use.clause(machine.gpu, old.statistic)
            return metric_change.undecided(seen, VerdictCode.GPU_SLOWED, f"{seen.reason}; but {text}")
        return seen


@dataclass(frozen=True)
class _Look:
    """One look at a metric: its process, what was measured, and its comparison with the baseline."""

    process: int
    now: Stored
    row: ComparedMetric


def _together(old: Stored, allowed: float, looks: Sequence[_Look]) -> ComparedMetric:
    """The comparison by all looks that say something about the module."""
    first, later = looks[0], looks[1:]
    if first.row.code not in WORSE or not later:
        return first.row
    processes: dict[int, list[float]] = {}
    for look in looks:
        processes.setdefault(look.process, []).append(look.now.value)
    values = [float(np.median(of_process)) for of_process in processes.values()]
    between = spread.between(old, [msgspec.structs.replace(first.now, values=values)])
    contrary = next((look for look in later if look.row.code not in WORSE), None)
    text = metric_change.changed(old, first.now)
    if contrary is None:
        row = msgspec.structs.replace(first.row, reason=text)
        if between is not None and between.explains:
            return metric_change.within_spread(row, between)
        return metric_change.regressed(
            row, metric_change.changed(old, first.now, confirmed(look.process for look in looks))
        )
    if between is not None and between.ratio <= 1 + allowed:
        count = f"{len(values)} processes" if len(values) > 1 else f"{len(looks)} looks"
        return metric_change.not_worse(first.row, f"{text}; {percent(between.ratio)} in the mean of {count}")
    where = "in a fresh process" if contrary.process != first.process else "later in the same process"
    return metric_change.undecided(first.row, VerdictCode.LOOKS_DISAGREE, f"{text}; but {where} {contrary.row.reason}")


def _timings(trial: TrialResult, metric: str) -> Iterator[tuple[Measurement, MachineUse]]:
    """The measurements of a timed metric in all looks at a trial, the first one first, and what the machine did."""
    looks = [(trial.measurements, trial.machine or MachineUse())]
    looks += [(look.measurements, look.machine) for look in trial.looks]
    for measurements, machine in looks:
        yield from ((m, machine) for m in measurements if m.name == metric and m.timed != "never")


def _faster(stored: Stored, factor: float) -> Stored:
    """The time on a machine that is faster by a factor."""
    samples = np.rint(stored.unpacked / factor).astype(np.int64)
    return msgspec.structs.replace(stored, value=stored.value / factor, samples=baseline.pack(samples))
