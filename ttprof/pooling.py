"""Pools the runs of several processes into one baseline, so that the spread between them is known."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ttprof.baseline import Baseline, Stored, StoredTrial, pack
from ttprof.errors import ResultFileError
from ttprof.thresholds import SAMPLED
from ttprof.trial_key import Point, TrialKey
from ttprof.verdict import SEVERITY

QUARTILES_APART = 1.349
"""The distance between the quartiles of a normal distribution, in standard deviations."""


def pooled(runs: Sequence[Baseline]) -> Baseline:
    """Pool runs of one suite, each of a process of its own, on the same machine and commit.

    A time is the median of the values of the processes, and its samples are those of all of them. An exact count is the
    worst of its values: only what is worse than all of them has regressed.

    Raises:
        ResultFileError: the runs are of different suites, machines, versions or commits, or one lacks a trial or a
            metric of another.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    for number, run in enumerate(runs[1:], 2):
        if unlike := _differences(first, run):
            raise ResultFileError(f"run {number} can't be pooled with the first: its {unlike}")
    trials = [{trial.key: trial for trial in run.trials} for run in runs]
    keys = list(dict.fromkeys(key for of_run in trials for key in of_run))
    return Baseline(
        name=first.name,
        started=first.started,
        environment=first.environment,
        trials=[_pooled_trial(key, [of_run.get(key) for of_run in trials]) for key in keys],
        yardstick={
            part: min(run.yardstick[part] for run in runs)
            for part in first.yardstick
            if all(part in run.yardstick for run in runs)
        },
        processes=sum(run.processes for run in runs),
    )


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    """How the latency of a trial varied: its ``values`` in processes and its median, and standard deviations.

    ``between`` is the standard deviation of the values as a part of their median, ``within`` that of the iterations
    within a process, by their interquartile range. Null if there are no samples.
    """

    case: str
    point: Point
    unit: str
    value: float
    values: list[float]
    between: float
    within: float | None


class Variations(msgspec.Struct, frozen=True, kw_only=True):
    """Those of all trials of a baseline, of ``processes`` processes."""

    processes: int
    trials: list[Variation]


def variations(baseline: Baseline) -> Variations:
    """How the latencies of a baseline of several processes varied."""
    latencies = [
        _variation(trial, stored)
        for trial in baseline.trials
        for stored in trial.measurements
        if stored.name == "latency_ms" and len(stored.values) > 1 and stored.value
    ]
    return Variations(processes=baseline.processes, trials=latencies)


def _variation(trial: StoredTrial, stored: Stored) -> Variation:
    ends = np.cumsum(stored.counts)
    quartiles = [
        np.quantile(of_process, [0.25, 0.5, 0.75])
        for of_process in (np.split(stored.unpacked, ends[:-1]) if len(ends) else [])
        if len(of_process)
    ]
    widths = [(high - low) / (QUARTILES_APART * middle) for low, middle, high in quartiles if middle]
    return Variation(
        case=trial.case,
        point=trial.point,
        unit=stored.unit,
        value=stored.value,
        values=stored.values,
        between=float(np.std(stored.values, ddof=1)) / stored.value,
        within=float(np.median(widths)) if widths else None,
    )


def _differences(first: Baseline, run: Baseline) -> str:
    """What distinguishes a run from the first, as a clause; empty if nothing does."""
    before, now = _identity(first), _identity(run)
    return "; its ".join(f"{what} is {now[what]}, not {before[what]}" for what in now if now[what] != before[what])


def _identity(run: Baseline) -> dict[str, str]:
    """What must be the same in all runs."""
    environment = run.environment
    return {
        "suite": run.name,
        "device": environment.device_name,
        "CPU": environment.cpu,
        "number of CPUs": str(environment.cpu_count),
        "number of threads": str(environment.threads),
        "software": ", ".join(f"{name} {version}" for name, version in sorted(environment.versions.items())),
        "commit": str(environment.git_commit),
    }


def _pooled_trial(key: TrialKey, trials: Sequence[StoredTrial | None]) -> StoredTrial:
    measured = [trial for trial in trials if trial is not None]
    where = f"{key.case} {key.point}".rstrip()
    names = {stored.name for trial in measured for stored in trial.measurements}
    for number, trial in enumerate(trials, 1):
        missing = names - {stored.name for stored in trial.measurements} if trial is not None else {"the trial"}
        if missing:
            raise ResultFileError(f"run {number} did not measure {', '.join(sorted(missing))} of {where}")
    if len({trial.inputs for trial in measured}) > 1:
        raise ResultFileError(f"the inputs of {where} are not the same in all runs")
    by_name = [{stored.name: stored for stored in trial.measurements} for trial in measured]
    return msgspec.structs.replace(
        measured[0],
        status=min((trial.status for trial in measured), key=SEVERITY.index),
        measurements=[_pooled([of_run[name] for of_run in by_name]) for name in sorted(names)],
        disturbed=float(np.mean([trial.disturbed for trial in measured])),
    )


def _pooled(stored: Sequence[Stored]) -> Stored:
    values = [value for one in stored for value in (one.values or [one.value])]
    worst = max(values) if stored[0].better == "lower" else min(values)
    samples = [one.unpacked for one in stored]
    counts = [count for one, of_run in zip(stored, samples, strict=True) for count in (one.counts or [len(of_run)])]
    complete = all(counts)
    return msgspec.structs.replace(
        stored[0],
        value=float(np.median(values)) if stored[0].statistic in SAMPLED else worst,
        values=values,
        samples=pack(np.concatenate(samples)) if complete else "",
        counts=counts if complete else [],
    )
