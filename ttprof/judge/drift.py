"""Detects drift: small regressions, each below the threshold, that add up over a history of runs.

A metric that regressed since the oldest run, but not since the newest, gets an INCONCLUSIVE row, because one of the
steps may have been intended.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ttprof import thresholds
from ttprof.baseline import Baseline
from ttprof.codes import VerdictCode
from ttprof.errors import ResultFileError
from ttprof.judge import regression
from ttprof.judge.environments import hardware_differences
from ttprof.judge.metric_change import ComparedMetric
from ttprof.judge.regression import Comparison
from ttprof.result import SuiteResult
from ttprof.system.instants import instant
from ttprof.trial_key import TrialKey
from ttprof.verdict import Status


def compare(
    history: Sequence[Baseline],
    new: Baseline,
    threshold: float = thresholds.DEFAULT,
    force: bool = False,
    results: Sequence[SuiteResult] = (),
) -> Comparison:
    """Compare *new* with the newest earlier run of its suite on the same hardware, or on any hardware with *force*.

    Raises:
        ResultFileError: The history has no earlier run of the suite.
        UnlikeHardware: All earlier runs of the suite ran on different hardware.
    """
    earlier = [run for run in history if run.name == new.name and instant(run.started) < instant(new.started)]
    if not earlier:
        names = ", ".join(sorted({f"{run.name} of {run.started}" for run in history}))
        raise ResultFileError(f"the history has no run of {new.name!r} before {new.started}, only {names}")
    comparable = [run for run in earlier if force or not hardware_differences(run.environment, new.environment)]
    comparable = comparable or earlier[-1:]  # different hardware only: the comparison then raises
    comparison = regression.compare(comparable[-1], new, threshold, force, results)
    if len(comparable) == 1:
        return comparison
    regressed = {_key(row) for row in comparison.rows if row.change == "regression"}
    since_oldest = regression.compare(comparable[0], new, threshold, force, results).rows
    drifted = {_key(row): row for row in since_oldest if row.change == "regression" and _key(row) not in regressed}
    rows = [_drift(drifted[key], comparable) if (key := _key(row)) in drifted else row for row in comparison.rows]
    oldest = f"{comparable[0].name} of {comparable[0].started}, the oldest of {len(comparable)}"
    return msgspec.structs.replace(comparison, oldest=oldest, rows=sorted(rows, key=regression.severity))


def _key(row: ComparedMetric) -> tuple[TrialKey, str]:
    return row.key, row.metric


def _drift(row: ComparedMetric, history: Sequence[Baseline]) -> ComparedMetric:
    """Turn the regression since the oldest run of *history* into drift."""
    reason = f"drift since {history[0].started}, the oldest of {len(history)} runs: {row.reason}"
    return msgspec.structs.replace(
        row, change="drift", status=Status.INCONCLUSIVE, code=VerdictCode.DRIFTED, reason=reason
    )
