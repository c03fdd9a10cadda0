"""Finds the iterations of a recording and assigns device work and memory events to them.

Device work belongs to the iteration in which the host launched it, even if it ran later.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote, unquote

import numpy as np

from ttprof.trace import step_names
from ttprof.trace.correlate import launch_index, row_with_id, take
from ttprof.trace.events import UNKNOWN, Int, Mask, MemoryEvents, Spans, Trace
from ttprof.trace.groups import sums
from ttprof.trace.intervals import window_of
from ttprof.trace.nesting import Nesting

ITERATION = "ttprof.iteration#"
MODULE = "module: "
COMPILED = "ttprof.compiled"
"""The annotation of a call, from Python, of a module or function that torch.compile has compiled."""

_LITERAL = (string.ascii_letters + string.digits + string.punctuation + " ").translate({ord(c): None for c in '"\\%'})
"""Characters that torch.profiler writes unchanged: a quote makes the JSON invalid, non-ASCII becomes ``unknown``."""

_ANNOTATED = re.compile(re.escape(ITERATION))


@dataclass(frozen=True)
class Iterations:
    """The iterations of *trace* in time order, as windows on the host; ``rule`` says which ranges they are."""

    trace: Trace
    windows: Spans
    rule: str | None = None

    @classmethod
    def of(cls, trace: Trace, glob: str | None = None) -> Iterations:
        """The iterations that ttprof annotated or, without any, the steps; with a *glob*, the ranges of such a name."""
        annotated = trace.annotations.where(trace.named(trace.annotations, _ANNOTATED))
        if len(annotated) and glob is None:
            return cls(trace, _without_repeats(annotated), f"{ITERATION}N")
        return steps(trace, glob)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def names(self) -> list[str]:
        """The name of each iteration's annotation."""
        return self.trace.name_of(self.windows)

    def of_work(self, work: Spans) -> Int:
        """For each event of *work*, the iteration whose window contains its launch, or -1."""
        return take(self.of_moments(self.trace.runtime.ts), launch_index(work, self.trace))

    def of_moments(self, moment: Int) -> Int:
        """For each host time, the iteration whose window contains it, or -1; if windows overlap, the last to begin."""
        if (self.windows.ts[1:] >= self.windows.end[:-1]).all():
            return window_of(moment, self.windows.ts, self.windows.end)
        nested = Nesting(replace(self.windows, thread=np.zeros_like(self.windows.thread)))
        return nested.innermost(moment, np.zeros_like(moment))

    def sums(self, iteration: Int, values: Int) -> Int:
        """The sum of *values* in each iteration; rows of iteration -1 are ignored."""
        inside = iteration != UNKNOWN
        return sums(iteration[inside], values[inside], len(self))

    def counts(self, iteration: Int) -> Int:
        """The number of rows in each iteration."""
        return self.sums(iteration, np.ones(len(iteration), dtype=np.int64))

    @cached_property
    def of_kernels(self) -> Int:
        """The iteration of each kernel of the trace, or -1."""
        return self.of_work(self.trace.kernels)

    def device_windows(self) -> tuple[Spans, Mask]:
        """The window of each iteration on the device, and a mask of those that the trace states.

        The profiler repeats an annotation on the device: on CUDA it lasts from the start of the first kernel launched
        in it to the end of the last; on ROCm it may be much shorter. Without it, or if several iterations have the same
        name, the host window is used.
        """
        trace, windows = self.trace, self.windows
        of_windows, counts = np.unique(windows.name, return_counts=True)
        repeated = trace.device_annotations.where(np.isin(trace.device_annotations.name, of_windows[counts == 1]))
        order = np.lexsort((-repeated.dur, repeated.name))
        names, first = np.unique(repeated.name[order], return_index=True)
        rows = take(order[first], row_with_id(windows.name, names))
        stated = rows != UNKNOWN
        ts = np.where(stated, take(repeated.ts, rows), windows.ts)
        dur = np.where(stated, take(repeated.dur, rows), windows.dur)
        return replace(windows, ts=ts, dur=dur), stated

    def memory(self, device_type: int) -> list[MemoryEvents]:
        """For each iteration, the allocator events of one device type, in time order."""
        events = self.trace.memory.where(self.trace.memory.device_type == device_type)
        iteration = self.of_moments(events.ts)
        return [events.where(iteration == i) for i in range(len(self))]


def module_annotation(path: str) -> str:
    """The annotation of a module's calls; characters of its path that a trace can't represent are percent-encoded."""
    return MODULE + quote(path, safe=_LITERAL, errors="replace")


def module_path(annotation: str) -> str:
    """The module path in an annotation made by ``module_annotation``."""
    return unquote(annotation.removeprefix(MODULE))


def steps(trace: Trace, glob: str | None = None) -> Iterations:
    """The steps of a trace (``step_names``), without duplicates."""
    found = step_names.find(trace, glob)
    return Iterations(trace, _without_repeats(found.spans), found.rule)


def _without_repeats(windows: Spans) -> Spans:
    """The windows in time order, without repeats of a name that is still open (a step may be in two tables)."""
    ordered = windows.where(np.argsort(windows.ts, kind="stable"))
    end_of_name: dict[int, int] = {}
    rows = []
    for row, (name, start, end) in enumerate(
        zip(*(c.tolist() for c in (ordered.name, ordered.ts, ordered.end)), strict=True)
    ):
        if start >= end_of_name.get(name, start):
            rows.append(row)
            end_of_name[name] = end
    return ordered.where(np.array(rows, dtype=np.int64))
