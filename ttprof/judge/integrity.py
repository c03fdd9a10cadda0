"""Judges whether a trace is complete: one that lost iterations, kernels or records is an ERROR."""

from __future__ import annotations

import numpy as np

from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.metrics import memory
from ttprof.observation import Observation
from ttprof.trace.analyses import integrity
from ttprof.trace.iterations import Iterations
from ttprof.units import format_bytes, significant
from ttprof.verdict import Status, Verdict

EXPECTATION = "complete trace"
PEAK_AGREEMENT = 0.01

MUCH_LONGER = 2.0
NOTICEABLE_NS = 100_000
"""A call that took twice as long as its thread worked, and so much longer, is told."""


def judge(observation: Observation) -> Verdict | None:
    """An ERROR for an incomplete trace; None for a complete one, or when nothing was recorded."""
    trace = observation.trace
    if trace is None:
        return None
    if observation.iterations is None:
        count = len(Iterations.of(trace))
        text = f"the trace holds {count} of {observation.recorded} recorded iterations: {trace.path}"
        return _error(VerdictCode.ITERATIONS_MISSING, text)
    missing = integrity.check(trace, observation.iterations).reasons
    if missing:
        text = f"the trace is incomplete: {'; '.join(map(str, missing))}: {trace.path}"
        return _error(VerdictCode.TRACE_INCOMPLETE, text)
    if observation.device == "cuda" and not len(trace.kernels):
        return _error(
            VerdictCode.NO_KERNELS,
            f"the trace holds no kernel at all, though ttprof itself launched some on {observation.device}: is another "
            f"profiler attached, or CUPTI not permitted? {trace.path}",
        )
    return None


def notes(observation: Observation) -> list[Note]:
    """Notes on numbers that don't agree: of wall and CPU time, and of the allocator and its events in the trace."""
    return [*_waited(observation), *_peaks(observation)]


def _waited(observation: Observation) -> list[Note]:
    """A note when a call on a CPU took much longer than its thread worked; ops wait for no thread that long."""
    timing = observation.timing
    if observation.device != "cpu" or timing is None:
        return []
    wall, cpu = float(np.median(timing.latency_ns)), float(np.median(timing.cpu_ns))
    if wall < MUCH_LONGER * cpu or wall < cpu + NOTICEABLE_NS:
        return []
    factor = significant(wall / cpu) if cpu else "infinitely many"
    text = f"latency_ms is {factor} times cpu_time_ms: other processes had the CPU, or the module waits for something"
    return [Note(NoteCode.WAITED, text)]


def _peaks(observation: Observation) -> list[Note]:
    traced = memory.memory_mb(observation)
    if traced is None or observation.peak_added is None:
        return []
    ours, theirs = int(traced.max()), int(observation.peak_added[1:].max())
    if abs(ours - theirs) <= PEAK_AGREEMENT * max(ours, theirs):
        return []
    text = (
        f"the trace's allocator events peak at {format_bytes(ours)}, the allocator itself reports "
        f"{format_bytes(theirs)}: memory_mb may be incomplete"
    )
    return [Note(NoteCode.PEAKS_DISAGREE, text)]


def _error(code: VerdictCode, reason: str) -> Verdict:
    return Verdict(kind=Kind.TRACE, code=code, expectation=EXPECTATION, status=Status.ERROR, reason=reason)
