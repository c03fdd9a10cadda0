"""Adds the times of a trace to the operators of an iteration, and its kernels. Must not import torch."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from ttprof.observation import Observation
from ttprof.operators import OperatorUse
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, Spans
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting


def operators_of(observation: Observation) -> list[OperatorUse]:
    """The operators of one iteration, with their times if they were recorded, then its kernels."""
    iterations = observation.iterations
    if iterations is None:
        return list(observation.operators)
    times = _operator_times(iterations, observation.op_nesting, {use.name for use in observation.operators})
    timed = (msgspec.structs.replace(use, time_ns=times.get(use.name, 0.0)) for use in observation.operators)
    return [*timed, *_kernels(iterations)]


def _operator_times(iterations: Iterations, nesting: Nesting, names: set[str]) -> dict[str, float]:
    """The time of an iteration in the operators of each of these *names*; one in another counts as the outer one."""
    trace = iterations.trace
    wanted = np.isin(trace.ops.name, [index for index, name in enumerate(trace.names) if name in names])
    outermost = wanted & (take(nesting.nearest(wanted), nesting.parent) == UNKNOWN)
    rows = trace.ops.where(outermost)
    return {name: time_ns for name, _, time_ns in _medians(iterations, rows, iterations.of_moments(rows.ts))}


def _kernels(iterations: Iterations) -> Iterator[OperatorUse]:
    for name, count, time_ns in _medians(iterations, iterations.trace.kernels, iterations.of_kernels):
        yield OperatorUse(name=name, kind="kernel", count=count, time_ns=time_ns)


def _medians(iterations: Iterations, spans: Spans, iteration: Int) -> Iterator[tuple[str, float, float]]:
    """For each name: the median over the iterations of the number of *spans* and of their time, in ns."""
    inside = iteration != UNKNOWN
    for name in np.unique(spans.name[inside]).tolist():
        of_name = np.where(spans.name == name, iteration, UNKNOWN)
        count, time_ns = np.median(iterations.counts(of_name)), np.median(iterations.sums(of_name, spans.dur))
        yield iterations.trace.names[name], float(count), float(time_ns)
