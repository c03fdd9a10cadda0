"""Which annotations of a trace are its steps.

In this order: those that the user names by a glob; the ``ProfilerStep#`` of torch.profiler; the steps of a known
engine; and otherwise a family of ranges that repeat like steps. A family are the names that differ only in numbers, and
in what stands in brackets after a word. It repeats like steps if it has at least ``MIN_REPEATS`` ranges, all on one
thread, none of which overlap, and covers at least ``MIN_COVERED`` of the time from the first to the last annotation of
that thread; of several such families, it is the one that covers most.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Spans, Trace

STEP = re.compile(r"ProfilerStep#")

ENGINES = (
    re.compile(r"execute_context_\d+\(.*\)_generation_\d+\("),  # vLLM
    re.compile(r"step\[.*\]$"),  # SGLang
    re.compile(r"\[pl\]\[(profile|module)\].*run_training_batch$|\[Strategy\].*training_step$"),  # Lightning
    re.compile(r"## forward ##$"),  # TorchRec's and other training loops
)
"""The steps of engines, by their names."""

MIN_KNOWN, MIN_REPEATS = 2, 3
MIN_COVERED = 0.5

_PARTS = re.compile(r"Optimizer\.|nccl:|enumerate\(|DistributedDataParallel|FullyShardedDataParallel|autograd::")
"""Ranges that torch itself makes inside of steps."""

_NUMBER, _BRACKETS = re.compile(r"\d+"), re.compile(r"(?<=\w)\[[^\]]*\]")


@dataclass(frozen=True)
class StepRanges:
    """The ranges that are steps, and what they are named: a glob, or names with # for numbers; None without steps."""

    spans: Spans
    rule: str | None


def find(trace: Trace, glob: str | None = None) -> StepRanges:
    """The steps of a trace; with a *glob*, the annotations with such a name."""
    if glob is not None:
        wanted = np.array([fnmatchcase(name, glob) for name in trace.names], dtype=np.bool_)
        spans = trace.annotations.where(wanted[trace.annotations.name])
        return StepRanges(spans, glob if len(spans) else None)
    tables = (trace.annotations, trace.ops)
    profiler = Spans.concat(table.where(trace.named(table, STEP)) for table in tables)
    if len(profiler):
        return StepRanges(profiler, f"{STEP.pattern}N")
    for engine in ENGINES:
        spans = trace.annotations.where(trace.named(trace.annotations, engine))
        if len(spans) >= MIN_KNOWN:
            return StepRanges(spans, family(trace.names[spans.name[0]]))
    return _repeating(trace)


def family(name: str) -> str:
    """The name with # for numbers, and for what stands in brackets."""
    return _NUMBER.sub("#", _BRACKETS.sub("[#]", name))


def _repeating(trace: Trace) -> StepRanges:
    best, covered, rule = np.zeros(0, dtype=np.int64), 0.0, None
    ranges = trace.annotations
    used, place = np.unique(ranges.name, return_inverse=True)
    families = ["" if _PARTS.match(name) else family(name) for name in (trace.names[i] for i in used.tolist())]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(filter(None, families)))}
    of_range = np.array([numbers.get(name, UNKNOWN) for name in families], dtype=np.int64)[place]
    counts = np.bincount(of_range[of_range >= 0], minlength=len(numbers))
    for name, i in numbers.items():
        if counts[i] >= MIN_REPEATS:
            rows = np.flatnonzero(of_range == i)
            share = _covered(ranges, rows)
            if share > covered:
                best, covered, rule = rows, share, name
    return StepRanges(ranges.where(best), rule) if covered >= MIN_COVERED else StepRanges(ranges.where(best[:0]), None)


def _covered(ranges: Spans, rows: Int) -> float:
    """The part of the annotated time of their thread that some ranges cover; 0 if they can't be steps."""
    thread = ranges.thread[rows[0]]
    if (ranges.thread[rows] != thread).any():
        return 0.0
    order = rows[np.argsort(ranges.ts[rows], kind="stable")]
    if (ranges.ts[order][1:] < ranges.end[order][:-1]).any():
        return 0.0
    beside = ranges.where(ranges.thread == thread)
    whole = int(beside.end.max() - beside.ts.min())
    return float(ranges.dur[rows].sum()) / whole if whole else 0.0
