"""The critical kernel chain of an iteration: what had to end before the next could begin, back from the end.

The device work that one iteration launched enters; the time of the chain by kernel, and what it waited for, leave.
From the last piece of work backwards: if a piece was already launched when the work before it ended, it waited for
that work (a trace states no dependencies between streams; the last to end before it is taken); if not, it waited for
the host. The parts add up to the span of the iteration's device work. All times are ns.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, picked
from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.intervals import merged
from ttprof.trace.iterations import Iterations


class Chain(msgspec.Struct, frozen=True):
    """The chain of one iteration on one device.

    ``work_ns`` is the time of the work on the chain. Between it, ``other_work_ns`` is the time in which the device did
    work that is not on the chain (of another iteration, when the device runs behind the host);
    ``waiting_for_launch_ns`` the time in which it did none and the host had not yet launched the next, and
    ``latency_ns`` that in which it had.
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


def chains(owners: Attribution, iterations: Iterations) -> list[Chain]:
    """The chain of the iteration of median length, for each device; none without iterations that launched work."""
    trace, work = owners.trace, owners.trace.device_work
    iteration = iterations.of_work(work)
    launched = np.unique(iteration[iteration != UNKNOWN])
    if not len(launched):
        return []
    middle = int(launched[np.argsort(iterations.windows.dur[launched], kind="stable")[(len(launched) - 1) // 2]])
    mine = work.where(iteration == middle)
    name = iterations.names[middle]
    found = []
    for device in distinct(mine.device):
        everything = work.where(work.device == device)
        busy = merged(everything.ts, everything.end)
        found.append(_chain(trace, name, mine.where(mine.device == device), busy))
    return found


def _chain(trace: Trace, iteration: str, work: Spans, busy: tuple[Int, Int]) -> Chain:
    work = work.where(np.lexsort((work.ts, work.end)))
    launch = picked(trace.runtime.ts, launch_index(work, trace))
    first = int(work.ts.min())
    # the last work that has ended when each piece begins; of pieces that end at one moment, an earlier row
    before = np.minimum(np.searchsorted(work.end, work.ts, side="right") - 1, np.arange(len(work)) - 1).tolist()
    start, end = work.ts.tolist(), work.end.tolist()
    row, rows = len(work) - 1, []
    gaps = []
    while row != UNKNOWN:
        rows.append(row)
        previous = before[row]
        gaps.append((end[previous] if previous != UNKNOWN else first, start[row], launch[row]))
        row = previous
    free, begun, launched = np.array(gaps, dtype=np.int64).T
    busy_meanwhile = _busy_within(free, begun, busy)
    idle, late = begun - free - busy_meanwhile, launched > free
    on_chain = work.where(np.array(rows, dtype=np.int64))
    return Chain(
        iteration=iteration,
        device=int(work.device[0]),
        span_ns=int(work.end.max()) - first,
        length=len(rows),
        work_ns=on_chain.time_ns,
        other_work_ns=int(busy_meanwhile.sum()),
        waiting_for_launch_ns=int(idle[late].sum()),
        latency_ns=int(idle[~late].sum()),
        by_name=by_name(trace, on_chain),
    )


def _busy_within(start: Int, end: Int, busy: tuple[Int, Int]) -> Int:
    """For each window the time in which the device was busy; *busy* are disjoint intervals in order."""
    first, last = busy
    if not len(first):
        return np.zeros_like(start)
    done = np.concatenate(([0], np.cumsum(last - first)))

    def until(moment: Int) -> Int:
        begun = np.searchsorted(first, moment, side="right")
        running = np.where(begun > 0, np.maximum(0, last[begun - 1] - moment), 0)
        return done[begun] - running

    return until(end) - until(start)
