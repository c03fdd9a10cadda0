"""Judges kernel budgets: the time and the count, per iteration, of the kernels whose name matches a glob.

A glob that matches no kernel is an ERROR.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import msgspec
import numpy as np

from ttprof.bounds import Bound
from ttprof.codes import Kind, VerdictCode
from ttprof.judge.limits import (
    CODES,
    bootstrap_interval,
    compared,
    ends,
    interval_text,
    phrase,
    status_of,
    undecided_text,
)
from ttprof.metrics.kernels import on_device
from ttprof.observation import Observation
from ttprof.spec import KernelBudget
from ttprof.trace.analyses.tables import dominant
from ttprof.trace.events import UNKNOWN, Int, Mask
from ttprof.trace.iterations import Iterations
from ttprof.units import COUNT, MS, Unit
from ttprof.verdict import Status, Verdict

MAX_NAMES_IN_REASON = 3
"""Maximum number of kernels named in a reason if the glob matches none."""


def judge(budget: KernelBudget, observation: Observation) -> Iterator[Verdict]:
    """Judge a budget: the time by its 95 % bootstrap bounds over the iterations, the count exactly."""
    subject = f"kernels {budget.pattern}"
    iterations = on_device(observation)
    if iterations is None:
        yield _error(
            VerdictCode.NOT_MEASURED,
            subject,
            f"no kernels were measured on {observation.device}: a kernel budget needs a complete trace with kernels, "
            "which torch.profiler records on CUDA, ROCm and XPU devices",
        )
        return
    matching = _matching(iterations, budget.pattern)
    counts = iterations.counts(np.where(matching, iterations.of_kernels, UNKNOWN))
    forbidden = budget.time_ms is None and budget.count is not None and budget.count.high == 0
    if not counts.any() and not forbidden:
        names = ", ".join(name for name, _ in dominant(iterations, MAX_NAMES_IN_REASON))
        yield _error(
            VerdictCode.NO_KERNEL_MATCHES,
            subject,
            f"no kernel in any iteration matches {budget.pattern!r}; the longest are {names}",
        )
        return
    if budget.time_ms is not None:
        times = iterations.sums(np.where(matching, iterations.of_kernels, UNKNOWN), iterations.trace.kernels.dur)
        yield _time(f"{subject} time", budget.time_ms, times)
    if budget.count is not None:
        fewest, most = float(counts.min()), float(counts.max())
        worst = fewest if most <= budget.count.high and fewest < budget.count.low else most
        yield _verdict(f"{subject} count", budget.count, worst, (worst, worst), COUNT)


def _matching(iterations: Iterations, pattern: str) -> Mask:
    trace = iterations.trace
    hits = np.array([fnmatch.fnmatchcase(name.lower(), pattern.lower()) for name in trace.names], dtype=np.bool_)
    return hits[trace.kernels.name]


def _time(subject: str, bound: Bound, times: Int) -> Verdict:
    low, high = (MS.public(end) for end in bootstrap_interval(times, np.median))
    value = MS.public(float(np.median(times)))
    verdict = _verdict(subject, bound, value, (low, high), MS)
    if verdict.status is Status.INCONCLUSIVE:
        reason = undecided_text(verdict.expectation, MS.format(value), (low, high), MS, len(times))
    else:
        reason = f"{verdict.reason} {interval_text(low, high, MS, len(times))}"
    return msgspec.structs.replace(verdict, reason=reason)


def _verdict(subject: str, bound: Bound, value: float, interval: tuple[float, float], unit: Unit) -> Verdict:
    status = status_of(bound, interval)
    return Verdict(
        kind=Kind.KERNELS,
        code=CODES[status],
        expectation=phrase(subject, bound, unit),
        status=status,
        reason=f"{subject} is {unit.format(value)} per iteration, {compared(value, bound, unit)}",
        measured=value,
        bound=ends(bound),
    )


def _error(code: VerdictCode, expectation: str, reason: str) -> Verdict:
    return Verdict(kind=Kind.KERNELS, code=code, expectation=expectation, status=Status.ERROR, reason=reason)
