"""Finds drift: metrics that no single run made worse by more than the threshold, but a series of runs did.

The new run is compared with the newest run of its history; a metric that is worse than in the oldest is added as drift.
Drift is INCONCLUSIVE, because a step on the way may have been intended.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ttprof.baseline import Baseline
from ttprof.codes import VerdictCode
from ttprof.errors import ResultFileError
from ttprof.judge import regression
from ttprof.judge.regression import THRESHOLD, ComparedMetric, Comparison, hardware_differences
from ttprof.result import Status
from ttprof.trial_key import TrialKey


def compare(
    history: Sequence[Baseline], new: Baseline, threshold: float = THRESHOLD, force: bool = False
) -> Comparison:
    """The comparison of *new* with a history of one run or more.

    Of the earlier runs of the same suite on like hardware the newest is the base; with *force* on any hardware. Raises
    ResultFileError when there is none of the suite, UnlikeHardware when none of them is on like hardware.
    """
    same = [run for run in history if run.name == new.name and run.started < new.started]
    if not same:
        names = ", ".join(sorted({f"{run.name} of {run.started}" for run in history}))
        raise ResultFileError(f"the history holds no run of {new.name!r} before {new.started}, only {names}")
    like = [run for run in same if force or not hardware_differences(run.environment, new.environment)] or same[-1:]
    found = regression.compare(like[-1], new, threshold, force)
    if len(like) == 1:
        return found
    told = {_key(row) for row in found.rows if row.change == "regression"}
    since = regression.compare(like[0], new, threshold, force).rows
    drifted = {_key(row): row for row in since if row.change == "regression" and _key(row) not in told}
    rows = [_drift(drifted[key], like) if (key := _key(row)) in drifted else row for row in found.rows]
    oldest = f"{like[0].name} of {like[0].started}, the oldest of {len(like)}"
    return msgspec.structs.replace(found, oldest=oldest, rows=sorted(rows, key=regression.severity))


def _key(row: ComparedMetric) -> tuple[TrialKey, str]:
    return row.key, row.metric


def _drift(row: ComparedMetric, like: Sequence[Baseline]) -> ComparedMetric:
    reason = f"since the oldest of {len(like)} runs, of {like[0].started}: {row.reason}"
    return msgspec.structs.replace(
        row, change="drift", status=Status.INCONCLUSIVE, code=VerdictCode.DRIFTED, reason=reason
    )
