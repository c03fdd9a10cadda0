"""The critical chain of an iteration: from its last device work backwards, the work that each piece waited for.

A piece that was already launched when the work before it ended waited for that work; otherwise it waited for the host.
A trace states no dependencies between streams, so the last work to end before a piece is taken as its predecessor. The
parts of a chain add up to the span of the iteration's device work. All times are ns.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, take
from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.intervals import merged
from ttprof.trace.iterations import Iterations


class Chain(msgspec.Struct, frozen=True):
    """The chain of one iteration on one device.

    ``work_ns`` is the time of the work on the chain. The gaps between it are ``other_work_ns``, in which the device did
    work that is not on the chain (of another iteration, if the device lags behind the host); and idle time, in which
    the host had not yet launched the next work (``waiting_for_launch_ns``) or had (``latency_ns``).
    """

    iteration: str
    device: int
    span_ns: int
    length: int
    work_ns: int
    other_work_ns: int
    waiting_for_launch_ns: int
    latency_ns: int
    by_name: list[Named]


def chains(attribution: Attribution, iterations: Iterations) -> list[Chain]:
    """The chain of the iteration of median length on each device; empty if no iteration launched device work."""
    trace, work = attribution.trace, attribution.trace.device_work
    iteration = iterations.of_work(work)
    launched = np.unique(iteration[iteration != UNKNOWN])
    if not len(launched):
        return []
    median = int(launched[np.argsort(iterations.windows.dur[launched], kind="stable")[(len(launched) - 1) // 2]])
    launched_work = work.where(iteration == median)
    name = iterations.names[median]
    result = []
    for device in distinct(launched_work.device):
        all_work = work.where(work.device == device)
        busy = merged(all_work.ts, all_work.end)
        result.append(_chain(trace, name, launched_work.where(launched_work.device == device), busy))
    return result


def _chain(trace: Trace, iteration: str, work: Spans, busy: tuple[Int, Int]) -> Chain:
    work = work.where(np.lexsort((work.ts, work.end)))
    launch = take(trace.runtime.ts, launch_index(work, trace))
    first = int(work.ts.min())
    # the last work to end before each piece begins; of pieces that end at the same moment, an earlier row
    before = np.minimum(np.searchsorted(work.end, work.ts, side="right") - 1, np.arange(len(work)) - 1).tolist()
    start, end = work.ts.tolist(), work.end.tolist()
    row, rows = len(work) - 1, []
    gaps = []
    while row != UNKNOWN:
        rows.append(row)
        previous = before[row]
        gaps.append((end[previous] if previous != UNKNOWN else first, start[row], launch[row]))
        row = previous
    gap_start, gap_end, launched = np.array(gaps, dtype=np.int64).T
    other_work = _busy_within(gap_start, gap_end, busy)
    idle, late = gap_end - gap_start - other_work, launched > gap_start
    on_chain = work.where(np.array(rows, dtype=np.int64))
    return Chain(
        iteration=iteration,
        device=int(work.device[0]),
        span_ns=int(work.end.max()) - first,
        length=len(rows),
        work_ns=on_chain.time_ns,
        other_work_ns=int(other_work.sum()),
        waiting_for_launch_ns=int(idle[late].sum()),
        latency_ns=int(idle[~late].sum()),
        by_name=by_name(trace, on_chain),
    )


def _busy_within(start: Int, end: Int, busy: tuple[Int, Int]) -> Int:
    """The time that the device was busy in each window; *busy* are disjoint intervals in order."""
    first, last = busy
    if not len(first):
        return np.zeros_like(start)
    total = np.concatenate(([0], np.cumsum(last - first)))

    def busy_until(moment: Int) -> Int:
        begun = np.searchsorted(first, moment, side="right")
        still_to_come = np.where(begun > 0, np.maximum(0, last[begun - 1] - moment), 0)
        return total[begun] - still_to_come

    return busy_until(end) - busy_until(start)
