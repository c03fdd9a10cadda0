"""Judges the regression of a time by all looks at it, as ``looks`` judges a limit.

It stands only if every look regressed, on undisturbed iterations, by more than the machine was slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from ttprof import baseline
from ttprof.baseline import Baseline, Stored
from ttprof.codes import VerdictCode
from ttprof.judge import regression
from ttprof.judge.looks import MACHINE, confirmed
from ttprof.judge.regression import ComparedMetric
from ttprof.machine import MachineUse
from ttprof.result import CaseResult, Measurement, TrialResult
from ttprof.trial_key import TrialKey
from ttprof.units import significant


@dataclass(frozen=True)
class Confirmation:
    """Confirms the regressions of a run against *base* by more than *threshold*.

    The machine was *slower* than when the baseline was recorded, by a factor.
    """

    base: Baseline
    threshold: float
    slower: float = 1.0

    def of(self, row: ComparedMetric, case: CaseResult) -> ComparedMetric:
        """The comparison of a metric with all looks at it; *row* itself unless it is the regression of a timed one."""
        trial = next((trial for trial in case.trials if trial.point == row.point), None)
        timings = list(_timings(trial, row.metric)) if trial is not None else []
        old = self._stored(row)
        if row.change != "regression" or old is None or not timings:
            return row
        compared = [(timings[0][1].process, self._excused(row, old, *timings[0]))]
        for timing, machine in timings[1:]:
            seen = regression.compare_metric(row.key, old, baseline.stored(timing, machine), self.threshold)
            compared.append((machine.process, self._excused(seen, old, timing, machine)))
        telling = [(process, seen) for process, seen in compared if seen.code not in MACHINE] or compared[:1]
        (at, first), later = telling[0], telling[1:]
        if first.change != "regression" or not later:
            return first
        for process, seen in later:
            if seen.change != "regression":
                where = "in a fresh process" if process != at else "later in the same process"
                reason = f"{first.reason}; but {where} {seen.reason}"
                return regression.undecided(first, VerdictCode.LOOKS_DISAGREE, reason)
        return msgspec.structs.replace(first, reason=f"{first.reason}; {confirmed(p for p, _ in telling)}")

    def _stored(self, row: ComparedMetric) -> Stored | None:
        trials = (trial for trial in self.base.trials if trial.key == row.key)
        return next((stored for trial in trials for stored in trial.measurements if stored.name == row.metric), None)

    def _excused(
        self, seen: ComparedMetric, old: Stored, measurement: Measurement, machine: MachineUse
    ) -> ComparedMetric:
        """The comparison of one look, undecided if a busy or slow machine explains its regression."""
        if seen.change != "regression":
            return seen
        count, disturbed = len(measurement.samples), len(machine.disturbed)
        clean = baseline.stored_samples(measurement, machine.undisturbed(measurement.samples))
        if disturbed and not (machine.is_enough(count) and self._regressed(seen.key, old, clean)):
            text = f"other processes had the CPU in {disturbed} of {count} iterations, and the others don't show it"
            return regression.undecided(seen, VerdictCode.MACHINE_BUSY, f"{seen.reason}; but {text}")
        factor = machine.slowdown * self.slower
        if factor > 1 and not self._regressed(seen.key, old, _faster(clean, factor)):
            times = significant(round(factor, 2))
            text = f"the machine was {times} times slower than when the baseline was recorded"
            return regression.undecided(seen, VerdictCode.MACHINE_SLOW, f"{seen.reason}; but {text}")
        return seen

    def _regressed(self, key: TrialKey, old: Stored, new: Stored) -> bool:
        return regression.compare_metric(key, old, new, self.threshold).change == "regression"


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
