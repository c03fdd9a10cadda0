"""Judges whether a trace is complete: one that lost iterations, kernels or records is an ERROR."""

from __future__ import annotations

import numpy as np

from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.metrics import memory
from ttprof.observation import Observation
from ttprof.system.device_types import device_type
from ttprof.trace.analyses import integrity
from ttprof.trace.iterations import Iterations
from ttprof.units import format_bytes, significant
from ttprof.verdict import Status, Verdict

EXPECTATION = "complete trace"

PEAK_MARGIN = 0.01
"""Relative difference between two memory peaks above which a note reports it."""

MIN_WAIT_FACTOR = 2.0
"""Ratio of wall to CPU time from which a note reports a wait."""

MIN_WAIT_NS = 100_000
"""Difference between wall and CPU time, in ns, from which a note reports a wait: ops wait less for their threads."""


def judge(observation: Observation) -> Verdict | None:
    """An ERROR if the trace is incomplete; None if it is complete, or if nothing was recorded."""
    trace = observation.trace
    if trace is None:
        return None
    if observation.iterations is None:
        count = len(Iterations.of(trace))
        text = f"the trace contains {count} of {observation.recorded} recorded iterations: {trace.path}"
        return _error(VerdictCode.ITERATIONS_MISSING, text)
    missing = integrity.check(trace, observation.iterations).reasons
    if missing:
        text = f"the trace is incomplete: {'; '.join(map(str, missing))}: {trace.path}"
        return _error(VerdictCode.TRACE_INCOMPLETE, text)
    if device_type(observation.device).always_records and not len(trace.kernels):
        return _error(
            VerdictCode.NO_KERNELS,
            f"the trace contains no kernels, although ttprof launched some on {observation.device} "
            f"(is another profiler attached, or is access to CUPTI denied?): {trace.path}",
        )
    return None


def notes(observation: Observation) -> list[Note]:
    """Notes on contradictory numbers: wall and CPU time, or the peaks of the allocator and of its traced events."""
    return [*_waited(observation), *_peaks(observation)]


def _waited(observation: Observation) -> list[Note]:
    """A note if a call on a CPU took much longer than the CPU time of its thread."""
    timing = observation.timing
    if observation.device != "cpu" or timing is None:
        return []
    wall, cpu = float(np.median(timing.latency_ns)), float(np.median(timing.cpu_ns))
    if wall < MIN_WAIT_FACTOR * cpu or wall < cpu + MIN_WAIT_NS:
        return []
    factor = f"{significant(wall / cpu)} times" if cpu else "far above"
    text = f"latency_ms is {factor} cpu_time_ms: other processes used the CPU, or the module waits (I/O, locks, sleep)"
    return [Note(NoteCode.WAITED, text)]


def _peaks(observation: Observation) -> list[Note]:
    traced = memory.memory_mb(observation)
    if traced is None or observation.peak_added is None or len(observation.peak_added) < 2:
        return []
    from_events, reported = int(traced.max()), int(observation.peak_added[1:].max())
    if abs(from_events - reported) <= PEAK_MARGIN * max(from_events, reported):
        return []
    text = (
        f"the allocator events in the trace peak at {format_bytes(from_events)}, but the allocator reports "
        f"{format_bytes(reported)}: memory_mb may be incomplete"
    )
    return [Note(NoteCode.PEAKS_DISAGREE, text)]


def _error(code: VerdictCode, reason: str) -> Verdict:
    return Verdict(kind=Kind.TRACE, code=code, expectation=EXPECTATION, status=Status.ERROR, reason=reason)
