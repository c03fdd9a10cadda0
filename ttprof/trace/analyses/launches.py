"""The way from the host to the device: launch delays, queue depth, copies and synchronising calls.

A trace with its attribution enters; small tables leave. All times are ns, all sizes bytes.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, Spread, by_name, spread_of, totals
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import picked
from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.groups import distinct, quantiles

_DIRECTION = re.compile(r"\b([HDAP])to([HDAP])\b")
SYNCHRONISES = re.compile(
    r"(cuda|cu|hip)(Device|Stream|Event|Ctx|Thread)Synchronize|(cudaMemcpy|cudaMemset|hipMemcpy|hipMemset)(2D|3D)?(_v\d+)?$"
    r"|cuMemcpy[HDA]to[HDA](_v\d+)?$|hipMemcpyWithStream$"
)
"""Calls that return only when the device has reached them. (cudaMemcpyAsync to pageable memory also waits.)"""


class Launches(msgspec.Struct, frozen=True):
    """From the start of a launch call to the start of its kernel, and how many launches were waiting meanwhile.

    ``queue_depth`` is, at each launch, the number of kernels of its stream that were launched and had not begun, with
    the one being launched; null without kernels that have a launch.
    """

    count: int
    delay: Spread | None
    median_queue_depth: int | None
    max_queue_depth: int | None


class Copies(msgspec.Struct, frozen=True):
    """Memory copies in one direction (H host, D device, P peer); null ``bytes`` where a copy states none."""

    direction: str
    count: int
    time_ns: int
    bytes: int | None
    bytes_per_s: float | None


class Synchronisations(msgspec.Struct, frozen=True):
    """Calls in which the host waited for the device, by call and by the op that made them."""

    count: int
    time_ns: int
    by_call: list[Named]
    by_op: list[Named]


def launches(owners: Attribution) -> Launches:
    """The delays of all kernels that have a launch; a graph launch is the launch of each of its kernels."""
    kernels, calls = owners.trace.kernels, owners.trace.runtime
    known = np.flatnonzero(owners.launch_of_kernel != UNKNOWN)
    began = calls.ts[owners.launch_of_kernel[known]]
    depth = _queue_depth(began, kernels.where(known))
    median, most = quantiles(np.zeros_like(depth), depth, (0.5, 1.0)).get(0, (None, None))
    return Launches(len(known), spread_of(kernels.ts[known] - began), median, most)


def copies(trace: Trace) -> list[Copies]:
    """The memory copies by direction, the longest in all first; a name that tells no direction is its own."""
    labels = [f"{m[1]}to{m[2]}" if (m := _DIRECTION.search(name)) else name for name in trace.names]
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    direction = picked(np.array([numbers[label] for label in labels], dtype=np.int64), trace.memcpy.name)
    found = []
    for row in totals(numbers, direction, trace.memcpy.dur):
        sizes = trace.copied_bytes[direction == numbers[row.name]]
        size = int(sizes.sum()) if (sizes >= 0).all() else None
        rate = 1e9 * size / row.time_ns if size is not None and row.time_ns else None
        found.append(Copies(row.name, row.count, row.time_ns, size, rate))
    return found


def synchronisations(owners: Attribution) -> Synchronisations:
    """The calls that wait for the device."""
    trace = owners.trace
    rows = np.flatnonzero(trace.named(trace.runtime, SYNCHRONISES))
    calls = trace.runtime.where(rows)
    op_name = picked(trace.ops.name, owners.op_of_call[rows])
    no_op = len(trace.names)
    by_op = totals([*trace.names, "(no op)"], np.where(op_name == UNKNOWN, no_op, op_name), calls.dur)
    return Synchronisations(len(calls), calls.time_ns, by_name(trace, calls), by_op)


def _queue_depth(launched: Int, kernels: Spans) -> Int:
    """At each launch the launches of its stream so far less the kernels of it that have begun."""
    depth = np.zeros(len(launched), dtype=np.int64)
    for device in distinct(kernels.device):
        for stream in distinct(kernels.stream[kernels.device == device]):
            mine = (kernels.device == device) & (kernels.stream == stream)
            so_far = np.searchsorted(np.sort(launched[mine], kind="stable"), launched[mine], side="right")
            begun = np.searchsorted(np.sort(kernels.ts[mine], kind="stable"), launched[mine], side="right")
            depth[mine] = so_far - begun
    return depth
