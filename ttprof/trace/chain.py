"""The critical kernel chain of an iteration: what had to end before the next could begin, back from the end.

The device work that one iteration launched enters; the time of the chain by kernel, and what it waited for, leave.
From the last piece of work backwards: if a piece was already launched when the work before it ended, it waited for
that work (a trace states no dependencies between streams; the last to end before it is taken); if not, it waited for
the host. The parts add up to the span of the iteration's device work. All times are ns.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, picked
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.iterations import Iterations
from ttprof.trace.tables import Named, by_name


class Chain(msgspec.Struct, frozen=True):
    """The chain of one iteration on one device.

    ``work_ns`` is the time of the work on the chain, ``waiting_for_launch_ns`` the time in which the host had not yet
    launched the next, ``latency_ns`` the time between work and the next that was launched already.
    """

    iteration: str
    device: int
    span_ns: int
    length: int
    work_ns: int
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
    return [_chain(trace, name, mine.where(mine.device == device)) for device in distinct(mine.device)]


def _chain(trace: Trace, iteration: str, work: Spans) -> Chain:
    work = work.where(np.lexsort((work.ts, work.end)))
    launch = picked(trace.runtime.ts, launch_index(work, trace.runtime))
    first = int(work.ts.min())
    # the last work that has ended when each piece begins; of pieces that end at one moment, an earlier row
    before = np.minimum(np.searchsorted(work.end, work.ts, side="right") - 1, np.arange(len(work)) - 1).tolist()
    start, end = work.ts.tolist(), work.end.tolist()
    row, rows = len(work) - 1, []
    waiting = latency = 0
    while row != UNKNOWN:
        rows.append(row)
        previous = before[row]
        free = end[previous] if previous != UNKNOWN else first
        if launch[row] > free:
            waiting += start[row] - free
        else:
            latency += start[row] - free
        row = previous
    on_chain = work.where(np.array(rows, dtype=np.int64))
    return Chain(
        iteration=iteration,
        device=int(work.device[0]),
        span_ns=int(work.end.max()) - first,
        length=len(rows),
        work_ns=on_chain.time_ns,
        waiting_for_launch_ns=waiting,
        latency_ns=latency,
        by_name=by_name(trace, on_chain),
    )
