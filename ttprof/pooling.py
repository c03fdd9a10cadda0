"""Pools the runs of several processes into one baseline, so that the spread between them is known."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof.baseline import Baseline, Stored, StoredTrial, pack
from ttprof.errors import ResultFileError
from ttprof.metrics import REGISTRY
from ttprof.slowness import agreed_slowdown, fastest_parts
from ttprof.thresholds import SAMPLED
from ttprof.trial_key import Point, TrialKey
from ttprof.verdict import SEVERITY

MIN_DISTINCT = 5
"""From this many different samples on, those of two processes are never the same by chance."""

MAX_SLOWDOWN = 1.1
"""A process whose machine was slower than this by the yardstick is not alike to those on the fastest one."""

MIN_ALIKE = 3
"""Processes on a machine of one speed, from which those on a slower one are left out of the times."""

QUARTILES_APART = 1.349
"""The distance between the quartiles of a normal distribution, in standard deviations."""


def pooled(runs: Sequence[Baseline]) -> Baseline:
    """Pool runs of one suite, each of a process of its own, on the same machine and commit.

    A time is the median of the values of the processes, and its samples are those of all of them, but for the processes
    in which the machine was slower meanwhile. An exact count is the worst of its values: only what is worse than all of
    them has regressed.

    Raises:
        ResultFileError: the runs are of different suites, machines, versions or commits, two contain the same
            measurement, or one lacks a trial or a metric of another.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    for number, run in enumerate(runs[1:], 2):
        if unlike := _differences(first, run):
            raise ResultFileError(f"run {number} can't be pooled with the first: its {unlike}")
    _check_distinct(runs)
    trials = [{trial.key: trial for trial in run.trials} for run in runs]
    keys = list(dict.fromkeys(key for of_run in trials for key in of_run))
    return Baseline(
        name=first.name,
        started=first.started,
        environment=first.environment,
        trials=[_pooled_trial(key, [of_run.get(key) for of_run in trials]) for key in keys],
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
    quartiles = [np.quantile(samples, [0.25, 0.5, 0.75]) for samples in _by_process(stored) if len(samples)]
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


def _check_distinct(runs: Sequence[Baseline]) -> None:
    """Raise ResultFileError if a process is in two runs: its samples of a time, in ns, are in no other."""
    seen: dict[tuple[TrialKey, str, bytes], int] = {}
    for number, run in enumerate(runs, 1):
        for trial in run.trials:
            for stored in trial.measurements:
                for samples in _by_process(stored) if stored.statistic in SAMPLED else ():
                    if len(np.unique(samples)) < MIN_DISTINCT:
                        continue
                    other = seen.setdefault((trial.key, stored.name, samples.tobytes()), number)
                    if other != number:
                        raise ResultFileError(f"run {number} contains the same measurements as run {other}")


def _by_process(stored: Stored) -> list[NDArray[np.int64]]:
    """The samples of each process."""
    return np.split(stored.unpacked, np.cumsum(stored.counts)[:-1]) if stored.counts else [stored.unpacked]


def _pooled_trial(key: TrialKey, trials: Sequence[StoredTrial | None]) -> StoredTrial:
    measured = [trial for trial in trials if trial is not None]
    where = f"{key.case} {key.point}".rstrip()
    names = set[str]().union(*map(_names, measured))
    common = names.intersection(*map(_names, measured))
    for number, trial in enumerate(trials, 1):
        absent = names - _names(trial) if trial is not None else {"the trial"}
        missing = [name for name in absent if name not in REGISTRY or REGISTRY[name].regresses]
        if missing:
            raise ResultFileError(f"run {number} did not measure {', '.join(sorted(missing))} of {where}")
    if len({trial.inputs for trial in measured}) > 1:
        raise ResultFileError(f"the inputs of {where} are not the same in all runs")
    alike = _alike(measured)
    return msgspec.structs.replace(
        measured[0],
        status=min((trial.status for trial in measured), key=SEVERITY.index),
        measurements=[_pooled(_stored(name, measured, alike)) for name in sorted(common)],
        disturbed=float(np.mean([trial.disturbed for trial in alike])),
        yardstick={
            part: float(np.median([trial.yardstick[part] for trial in alike]))
            for part in alike[0].yardstick
            if all(part in trial.yardstick for trial in alike)
        },
        left_out=sum(trial.left_out for trial in measured) + len(measured) - len(alike),
    )


def _alike(trials: Sequence[StoredTrial]) -> list[StoredTrial]:
    """The trials that were timed while the machine was fast; all of them if these are too few to tell."""
    fastest = fastest_parts([trial.yardstick for trial in trials])
    alike = [trial for trial in trials if agreed_slowdown(trial.yardstick, fastest) <= MAX_SLOWDOWN]
    return alike if len(alike) >= MIN_ALIKE else list(trials)


def speeds_differ(runs: Sequence[Baseline]) -> list[str]:
    """The cases for which too few of the *runs* were made on a machine of one speed: a further run might help."""
    by_key: dict[TrialKey, list[StoredTrial]] = {}
    for run in runs:
        for trial in run.trials:
            by_key.setdefault(trial.key, []).append(trial)
    mixed = []
    for key, trials in by_key.items():
        alike, fastest = _alike(trials), fastest_parts([trial.yardstick for trial in trials])
        if any(agreed_slowdown(trial.yardstick, fastest) > MAX_SLOWDOWN for trial in alike):
            mixed.append(key.case)
    return list(dict.fromkeys(mixed))


def _stored(name: str, trials: Sequence[StoredTrial], alike: Sequence[StoredTrial]) -> list[Stored]:
    """A metric in all trials; a time only in those that are *alike*."""
    of = {id(trial): next(stored for stored in trial.measurements if stored.name == name) for trial in trials}
    timed = name in REGISTRY and REGISTRY[name].timed != "never"
    return [of[id(trial)] for trial in (alike if timed else trials)]


def _pooled(stored: Sequence[Stored]) -> Stored:
    values = [value for one in stored for value in (one.values or [one.value])]
    worst = max(values) if stored[0].better == "lower" else min(values)
    samples = [one.unpacked for one in stored]
    counts = [count for one, of_run in zip(stored, samples, strict=True) for count in (one.counts or [len(of_run)])]
    return msgspec.structs.replace(
        stored[0],
        value=float(np.median(values)) if stored[0].statistic in SAMPLED else worst,
        values=values,
        samples=pack(np.concatenate(samples)) if any(counts) else "",
        counts=counts if any(counts) else [],
    )


def _names(trial: StoredTrial) -> set[str]:
    return {stored.name for stored in trial.measurements}
