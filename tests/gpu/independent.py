"""Measures what ttprof measures in other ways: events, key_averages(), the allocator's history, and raw JSON.

Nothing here uses ttprof.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

WARMUP, LOOPS = 20, 100

Call = Callable[[], Any]


class Times(NamedTuple):
    """Medians in ms: from event to event, of the host until the device has finished, and of the thread's CPU time."""

    device: float
    host: float
    cpu: float


def event_times(call: Call, before: Call = lambda: None, loops: int = LOOPS) -> Times:
    """Time *call* with CUDA events, the queue empty at its start."""
    device, host, cpu = [], [], []
    with torch.no_grad():
        for i in range(WARMUP + loops):
            before()
            torch.cuda.synchronize()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            wall, busy = time.perf_counter(), time.thread_time()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            wall, busy = time.perf_counter() - wall, time.thread_time() - busy
            if i >= WARMUP:
                device.append(start.elapsed_time(end))
                host.append(wall * 1e3)
                cpu.append(busy * 1e3)
    return Times(*(statistics.median(times) for times in (device, host, cpu)))


class DeviceWork(NamedTuple):
    """Kernels and copies per call: counts, and times in ms."""

    kernels: float
    kernel_ms: float
    memcpy_ms: float


def profiled_work(call: Call, loops: int = 10, grad: bool = False) -> DeviceWork:
    """What ``key_averages()`` of a profiler session without a schedule says of *call*."""
    with torch.set_grad_enabled(grad):
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as session:
            for _ in range(loops):
                call()
            torch.cuda.synchronize()
    return averaged(session.key_averages(), loops)


def averaged(rows: Iterable[Any], loops: int) -> DeviceWork:
    """Kernels and copies per call from the rows of ``key_averages()``, whose times are in µs."""
    on_device = [r for r in rows if r.device_type != DeviceType.CPU and not _is_annotation(r)]
    copies = [row for row in on_device if row.key.startswith("Memcpy")]
    kernels = [row for row in on_device if not row.key.startswith(("Memcpy", "Memset"))]
    return DeviceWork(
        kernels=sum(row.count for row in kernels) / loops,
        kernel_ms=sum(row.self_device_time_total for row in kernels) / loops / 1e3,
        memcpy_ms=sum(row.self_device_time_total for row in copies) / loops / 1e3,
    )


def _is_annotation(row: Any) -> bool:
    return bool(getattr(row, "is_user_annotation", False)) or row.key.startswith("ProfilerStep")


def allocated_peak_mb(call: Call) -> float:
    """The peak of what one call allocates, by the allocator's own statistics, in MB."""
    with torch.no_grad():
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def history_peak_mb(call: Call) -> float:
    """The peak of what one call adds, from the events of ``torch.cuda.memory._record_memory_history``, in MB."""
    with torch.no_grad():
        call()
        torch.cuda.synchronize()
        torch.cuda.memory._record_memory_history(max_entries=100_000)
        try:
            call()
            torch.cuda.synchronize()
            snapshot = torch.cuda.memory._snapshot()
        finally:
            torch.cuda.memory._record_memory_history(enabled=None)
    return peak_of_history(snapshot["device_traces"][torch.cuda.current_device()])


def peak_of_history(entries: Iterable[dict[str, Any]]) -> float:
    """The peak of the running sum of allocations and frees, in MB; a free counts when it is requested."""
    live, peak = 0, 0
    for entry in entries:
        sign = {"alloc": 1, "free_requested": -1}.get(entry["action"], 0)
        live += sign * entry["size"]
        peak = max(peak, live)
    return peak / 2**20


class RawWork(NamedTuple):
    """The kernels that the iterations of a trace launched, per iteration: their number, and their time in ms."""

    kernels: list[int]
    kernel_ms: list[float]


def raw_work(path: Path, prefix: str = "ttprof.iteration#") -> RawWork:
    """Sum the kernels of each iteration from the raw JSON of a Kineto trace, by the correlation of their launches."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        events = [e for e in json.load(file)["traceEvents"] if e.get("ph") == "X"]
    spans = sorted(
        (e["ts"], e["ts"] + e["dur"])
        for e in events
        if e.get("cat") == "user_annotation" and e["name"].startswith(prefix)
    )
    launched: dict[Any, float] = {}
    for e in events:
        if e.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in e.get("args", {}):
            launched.setdefault(e["args"]["correlation"], e["ts"])
    counts, times = [0] * len(spans), [0.0] * len(spans)
    for e in events:
        at = launched.get(e.get("args", {}).get("correlation")) if e.get("cat") == "kernel" else None
        for i, (start, end) in enumerate(spans):
            if at is not None and start <= at <= end:
                counts[i] += 1
                times[i] += e["dur"] / 1e3
    return RawWork(counts, times)
