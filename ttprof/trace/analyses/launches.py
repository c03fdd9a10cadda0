"""Between host and device: launch delays, queue depth, copies and synchronising calls.

All times are ns, all sizes bytes.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, Spread, by_name, spread_of, totals
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.groups import distinct, quantiles

_DIRECTION = re.compile(r"\b([HDAP])to([HDAP])\b")
SYNCHRONISES = re.compile(
    r"(cuda|cu|hip)(Device|Stream|Event|Ctx|Thread)Synchronize|(cudaMemcpy|cudaMemset|hipMemcpy|hipMemset)(2D|3D)?(_v\d+)?$"
    r"|cuMemcpy[HDA]to[HDA](_v\d+)?$|hipMemcpyWithStream$"
)
"""Calls that block until the device has caught up (cudaMemcpyAsync from pageable memory may too; not counted)."""


class Launches(msgspec.Struct, frozen=True):
    """Delays from the start of a launch call to the start of its kernel, and queue depths.

    The queue depth at a launch is the number of kernels of its stream that were launched but had not begun, including
    the new one. Delays and depths are null if no kernel has a launch.
    """

    count: int
    delay: Spread | None
    median_queue_depth: int | None
    max_queue_depth: int | None


class Copies(msgspec.Struct, frozen=True):
    """Memory copies in one direction (H host, D device, P peer); ``bytes`` is null if a copy does not state them."""

    direction: str
    count: int
    time_ns: int
    bytes: int | None
    bytes_per_s: float | None


class Synchronisations(msgspec.Struct, frozen=True):
    """Calls that waited for the device, by call and by the op that made them."""

    count: int
    time_ns: int
    by_call: list[Named]
    by_op: list[Named]


def launches(attribution: Attribution) -> Launches:
    """Launch delays in ns over all kernels with a launch; a graph launch is the launch of each of its kernels."""
    kernels, calls = attribution.trace.kernels, attribution.trace.runtime
    rows = np.flatnonzero(attribution.launch_of_kernel != UNKNOWN)
    launched = calls.ts[attribution.launch_of_kernel[rows]]
    depth = _queue_depth(launched, kernels.where(rows))
    median, most = quantiles(np.zeros_like(depth), depth, (0.5, 1.0)).get(0, (None, None))
    return Launches(len(rows), spread_of(kernels.ts[rows] - launched), median, most)


def copies(trace: Trace) -> list[Copies]:
    """Memory copies by direction, the longest total time first; copies without a direction are grouped by name."""
    labels = [f"{m[1]}to{m[2]}" if (m := _DIRECTION.search(name)) else name for name in trace.names]
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    direction = take(np.array([numbers[label] for label in labels], dtype=np.int64), trace.memcpy.name)
    rows = []
    for row in totals(numbers, direction, trace.memcpy.dur):
        sizes = trace.copied_bytes[direction == numbers[row.name]]
        size = int(sizes.sum()) if (sizes >= 0).all() else None
        rate = 1e9 * size / row.time_ns if size is not None and row.time_ns else None
        rows.append(Copies(row.name, row.count, row.time_ns, size, rate))
    return rows


def synchronisations(attribution: Attribution) -> Synchronisations:
    """The calls that wait for the device, with their times in ns."""
    trace = attribution.trace
    rows = np.flatnonzero(trace.named(trace.runtime, SYNCHRONISES))
    calls = trace.runtime.where(rows)
    op_name = take(trace.ops.name, attribution.op_of_call[rows])
    no_op = len(trace.names)
    by_op = totals([*trace.names, "(no op)"], np.where(op_name == UNKNOWN, no_op, op_name), calls.dur)
    return Synchronisations(len(calls), calls.time_ns, by_name(trace, calls), by_op)


def _queue_depth(launched: Int, kernels: Spans) -> Int:
    """At each launch, the number of launches on its stream so far, minus its kernels that have begun."""
    depth = np.zeros(len(launched), dtype=np.int64)
    for device in distinct(kernels.device):
        for stream in distinct(kernels.stream[kernels.device == device]):
            rows = (kernels.device == device) & (kernels.stream == stream)
            so_far = np.searchsorted(np.sort(launched[rows], kind="stable"), launched[rows], side="right")
            begun = np.searchsorted(np.sort(kernels.ts[rows], kind="stable"), launched[rows], side="right")
            depth[rows] = so_far - begun
    return depth
