"""The iterations of a recording, and what each of them launched and allocated.

A trace enters; one window per iteration, and device work and memory events assigned to windows, leave.
Device work belongs to the iteration in which the host launched it, whenever it ran.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote, unquote

import numpy as np

from ttprof.trace.correlate import launch_index, picked, row_with_id
from ttprof.trace.events import UNKNOWN, Int, Mask, MemoryEvents, Spans, Trace
from ttprof.trace.groups import sums
from ttprof.trace.intervals import window_of
from ttprof.trace.nesting import Nesting

ITERATION = "ttprof.iteration#"
MODULE = "module: "

_LITERAL = (string.ascii_letters + string.digits + string.punctuation + " ").translate({ord(c): None for c in '"\\%'})
"""What torch.profiler writes as it is: a quote would make the trace invalid JSON, what is not ASCII ``unknown``."""

_OURS = re.compile(re.escape(ITERATION))
STEP = re.compile(r"ProfilerStep#")


@dataclass(frozen=True)
class Iterations:
    """The iterations of *trace*, in time order: host windows that do not overlap."""

    trace: Trace
    windows: Spans

    @classmethod
    def of(cls, trace: Trace) -> Iterations:
        """Ttprof's own iterations where the trace has them, else the steps of torch.profiler."""
        ours = trace.annotations.where(trace.named(trace.annotations, _OURS))
        return cls(trace, _once(ours)) if len(ours) else steps(trace)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def names(self) -> list[str]:
        """The annotation of each iteration."""
        return self.trace.name_of(self.windows)

    def of_work(self, work: Spans) -> Int:
        """For each event of *work* the iteration whose window holds its launch, or -1."""
        return picked(self.of_moments(self.trace.runtime.ts), launch_index(work, self.trace))

    def of_moments(self, moment: Int) -> Int:
        """For each host time the iteration whose window holds it, or -1; where windows overlap, the last to begin."""
        if (self.windows.ts[1:] >= self.windows.end[:-1]).all():
            return window_of(moment, self.windows.ts, self.windows.end)
        nested = Nesting(replace(self.windows, thread=np.zeros_like(self.windows.thread)))
        return nested.innermost(moment, np.zeros_like(moment))

    def sums(self, iteration: Int, values: Int) -> Int:
        """The sum of *values* in each iteration; rows of iteration -1 count nowhere."""
        inside = iteration != UNKNOWN
        return sums(iteration[inside], values[inside], len(self))

    def counts(self, iteration: Int) -> Int:
        """The number of rows in each iteration."""
        return self.sums(iteration, np.ones(len(iteration), dtype=np.int64))

    @cached_property
    def of_kernels(self) -> Int:
        """For each kernel of the trace its iteration, or -1."""
        return self.of_work(self.trace.kernels)

    def device_windows(self) -> tuple[Spans, Mask]:
        """The window of each iteration on the device, and which of them the trace states.

        The profiler repeats an annotation on the device: on CUDA from the start of the first kernel that was launched
        in it to the end of the last; what ROCm states may be much shorter. Else the host window stands in.
        """
        trace, windows = self.trace, self.windows
        repeated = trace.device_annotations.where(np.isin(trace.device_annotations.name, windows.name))
        order = np.lexsort((-repeated.dur, repeated.name))
        names, first = np.unique(repeated.name[order], return_index=True)
        rows = picked(order[first], row_with_id(windows.name, names))
        stated = rows != UNKNOWN
        ts = np.where(stated, picked(repeated.ts, rows), windows.ts)
        dur = np.where(stated, picked(repeated.dur, rows), windows.dur)
        return replace(windows, ts=ts, dur=dur), stated

    def memory(self, device_type: int) -> list[MemoryEvents]:
        """The allocator events of one device type, in time order, for each iteration."""
        events = self.trace.memory.where(self.trace.memory.device_type == device_type)
        iteration = self.of_moments(events.ts)
        return [events.where(iteration == i) for i in range(len(self))]


def module_annotation(path: str) -> str:
    """The annotation of a module's calls; what a trace can't hold of its path is percent-encoded."""
    return MODULE + quote(path, safe=_LITERAL, errors="replace")


def module_path(annotation: str) -> str:
    """The path of the module in an annotation of ``module_annotation``."""
    return unquote(annotation.removeprefix(MODULE))


def steps(trace: Trace) -> Iterations:
    """The ``ProfilerStep#`` windows of a trace, each once."""
    tables = (trace.annotations, trace.ops)
    return Iterations(trace, _once(Spans.concat(table.where(trace.named(table, STEP)) for table in tables)))


def _once(windows: Spans) -> Spans:
    """The windows in time order, without those that repeat a name while it lasts (as another kind of row, say)."""
    ordered = windows.where(np.argsort(windows.ts, kind="stable"))
    lasts: dict[int, int] = {}
    kept = []
    for row, (name, start, end) in enumerate(
        zip(*(c.tolist() for c in (ordered.name, ordered.ts, ordered.end)), strict=True)
    ):
        if start >= lasts.get(name, start):
            kept.append(row)
            lasts[name] = end
    return ordered.where(np.array(kept, dtype=np.int64))
