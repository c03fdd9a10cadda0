"""Metrics that count what one iteration does: its operators, copies, graph breaks, compilations and instructions.

But for the instructions they are the same in every run of the same code, so any growth is a regression.
"""

from __future__ import annotations

import re

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.trace.correlate import launch_index, take
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.iterations import COMPILED, Iterations
from ttprof.trace.nesting import Nesting
from ttprof.units import COUNT, MB

_OPERATOR = re.compile(r"(?!autograd::|torch::autograd::|profiler::)\w+::\w+$")
"""Operators have a namespace and a name, as ``aten::add``; the others are nodes of autograd, ranges and annotations."""

_COPY = re.compile(r"aten::copy_$")
_COMPILED_REGION = re.compile(r"Torch-Compiled Region")
_COMPILED_CALL = re.compile(re.escape(COMPILED) + "$")
_ON_ONE_DEVICE = re.compile(r".*(DtoD|Device -> Device)")


def _recorded(o: Observation) -> Iterations | None:
    """The iterations of a trace with operators; without any, the operators were not recorded."""
    return o.iterations if o.trace is not None and len(o.trace.ops) else None


def _settled(samples: Int) -> Int:
    """The samples without that of the first iteration, which may still fill caches, if there are others."""
    return samples[1:] if len(samples) > 1 else samples


def _outermost(nesting: Nesting, rows: Mask) -> Mask:
    """Mask of those of the *rows* that no other of them contains."""
    inside: Mask = take(nesting.nearest(rows), nesting.parent) != UNKNOWN
    return rows & ~inside


@metric("operators", COUNT, needs="operators in the trace", statistic="max")
def op_count(o: Observation) -> Samples:
    """Number of operators that one iteration calls, as ``aten::linear``, by itself or by autograd.

    Those that operators call in turn do not count: which these are depends on torch's version and the device. The first
    recorded iteration is left out if there are others.
    """
    iterations = _recorded(o)
    if iterations is None:
        return None
    ops, operators = iterations.trace.ops, iterations.trace.named(iterations.trace.ops, _OPERATOR)
    return _settled(iterations.counts(iterations.of_moments(ops.ts[_outermost(o.op_nesting, operators)])))


@metric("copied", MB, needs="operators with shapes in the trace", statistic="max")
def copied_mb(o: Observation) -> Samples:
    """Memory that the copies of one iteration write, in MB: ``aten::copy_`` and memcpys within a device.

    ``contiguous``, ``clone``, ``to`` and many ``reshape`` copy; ``cat`` and compiled kernels don't. A copy that another
    makes for itself counts once. The first recorded iteration is left out if there are others.
    """
    iterations = _recorded(o)
    if iterations is None:
        return None
    trace = iterations.trace
    copies = trace.named(trace.ops, _COPY)
    outermost = _outermost(o.op_nesting, copies)
    iteration, nbytes = iterations.of_moments(trace.ops.ts[outermost]), trace.op_details.copied[outermost]
    if (nbytes[iteration != UNKNOWN] == UNKNOWN).any():
        return None
    memcpys, sizes = _other_memcpys(trace, o.op_nesting, copies)
    of_memcpys = iterations.of_work(memcpys)
    if (sizes[of_memcpys != UNKNOWN] == UNKNOWN).any():
        return None
    return _settled(iterations.sums(iteration, nbytes) + iterations.sums(of_memcpys, sizes))


def _other_memcpys(trace: Trace, nesting: Nesting, copies: Mask) -> tuple[Spans, Int]:
    """The memcpys within a device that no ``aten::copy_`` launched, and their bytes."""
    within = trace.named(trace.memcpy, _ON_ONE_DEVICE)
    launch = launch_index(trace.memcpy, trace)
    around = nesting.innermost(take(trace.runtime.ts, launch), take(trace.runtime.thread, launch))
    others = within & (take(nesting.nearest(copies), around) == UNKNOWN)
    return trace.memcpy.where(others), trace.copied_bytes[others]


@metric(
    "graph breaks",
    COUNT,
    needs="a module that torch.compile has compiled, recorded by torch.profiler, and of which nothing that is called "
    "compiled is left to Python",
    statistic="max",
)
def graph_break_count(o: Observation) -> Samples:
    """Number of breaks in compiled code in one iteration: the compiled regions that run, less one for each call of it.

    A break within a function also breaks its callers, and counts in each. One after the last operator of a function
    starts no other region, so it does not count. The first recorded iteration is left out if there are others.
    """
    iterations = _recorded(o)
    if iterations is None:
        return None
    trace = iterations.trace
    regions = trace.ops.where(trace.named(trace.ops, _COMPILED_REGION))
    calls = trace.annotations.where(trace.named(trace.annotations, _COMPILED_CALL))
    of_regions, of_calls = iterations.of_moments(regions.ts), iterations.of_moments(calls.ts)
    around = Nesting(calls).innermost(regions.ts, regions.thread)[of_regions != UNKNOWN]
    called = np.flatnonzero(of_calls != UNKNOWN)
    if not len(called) or not np.array_equal(np.unique(around), called):
        return None  # a call that runs no compiled code, or compiled code that a call runs of which nobody knows
    return _settled(iterations.counts(of_regions) - iterations.counts(of_calls))


@metric("recompilations", COUNT, needs="a module that torch.compile has compiled", statistic="max")
def recompile_count(o: Observation) -> Samples:
    """Number of functions that torch.compile compiled during the timed iterations, after the warm-up."""
    return np.array([o.recompilations]) if o.recompilations is not None else None


@metric(
    "instructions",
    COUNT,
    needs="a module that is not compiled, and a CPU under Linux that counts instructions for users: "
    "most virtual machines do not, and /proc/sys/kernel/perf_event_paranoid may forbid it",
    permitted=True,
)
def instructions(o: Observation) -> Samples:
    """Median number of instructions in user space that the calling thread runs in one iteration, on one thread.

    It varies by less than times do, but it varies: Python's hashes and the alignment of memory change it a little.
    """
    return o.instructions
