"""The summary of one trace that ``ttprof analyze`` prints.

A trace enters; plain structs leave, whose JSON is the documented shape of ``ttprof analyze --json``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ttprof.trace import chain, device, efficiency, integrity, launches, memory, modules, tables
from ttprof.trace.attribution import Attribution
from ttprof.trace.chain import Chain
from ttprof.trace.device import Communication, DeviceUse
from ttprof.trace.efficiency import Efficiency
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.integrity import Integrity
from ttprof.trace.intervals import union_ns, window_of
from ttprof.trace.iterations import Iterations, steps
from ttprof.trace.launches import Copies, Launches, Synchronisations
from ttprof.trace.memory import Allocations, DeviceMemory
from ttprof.trace.modules import ModuleRow, Unattributed
from ttprof.trace.tables import KernelRow, OpRow

VERSION = 1

THREADS = 2
"""Analyses that run beside each other: each needs memory while it runs."""


class Source(msgspec.Struct, frozen=True):
    """The file, the devices it names, and the rank that recorded it (null where it is not stated)."""

    format: str
    path: str
    devices: list[str]
    rank: int | None


class Kernels(msgspec.Struct, frozen=True):
    """The kernels: ``union_ns`` is the time in which at least one ran, on any device."""

    count: int
    time_ns: int
    union_ns: int
    without_launch: int
    distinct_names: int
    by_name: list[KernelRow]


class Total(msgspec.Struct, frozen=True):
    """A number of events and the sum of their durations."""

    count: int
    time_ns: int


class Step(msgspec.Struct, frozen=True):
    """A profiler step: its host time, and the kernels that were launched inside it."""

    name: str
    time_ns: int
    kernel_count: int
    kernel_time_ns: int


class StepWindow(msgspec.Struct, frozen=True):
    """A profiler step by its window on the device: the kernels that began inside it, whoever launched them.

    ``stated`` says whether the trace states that window; else it is the host's.
    """

    name: str
    time_ns: int
    stated: bool
    kernel_count: int
    kernel_time_ns: int


class Summary(msgspec.Struct, frozen=True):
    """Everything ``ttprof analyze`` says about a trace."""

    version: int
    source: Source
    events: int
    trace: Integrity
    kernels: Kernels
    device_busy_ns: int
    memcpy: Total
    memset: Total
    steps: list[Step]
    steps_by_window: list[StepWindow]
    memory: list[DeviceMemory]
    allocations: list[Allocations]
    devices: list[DeviceUse]
    communication: Communication | None
    efficiency: Efficiency
    launches: Launches
    copies: list[Copies]
    synchronisations: Synchronisations
    ops: list[OpRow]
    modules: list[ModuleRow]
    unattributed: Unattributed
    chains: list[Chain]


def summarise(trace: Trace) -> Summary:
    """The summary of *trace*; all times in ns, all sizes in bytes.

    The analyses do not depend on each other and spend their time in numpy, which lets threads run beside each other.
    """
    owners = Attribution(trace)
    iterations = Iterations.of(trace)
    profiler_steps = steps(trace)
    busy = trace.device_work
    source = Source(trace.format, trace.path, list(trace.devices), trace.rank)
    analyses: dict[str, Callable[[], Any]] = {  # the longest first
        "allocations": lambda: memory.allocations(owners),
        "devices": lambda: device.use(owners),
        "launches": lambda: launches.launches(owners),
        "ops": lambda: tables.ops(owners),
        "modules": lambda: modules.tree(owners),
        "unattributed": lambda: modules.unattributed(owners),
        "trace": lambda: integrity.check(trace, iterations),
        "kernels": lambda: _kernels(owners),
        "device_busy_ns": lambda: union_ns(busy.ts, busy.end),
        "steps": lambda: _by_launch(profiler_steps),
        "steps_by_window": lambda: _by_window(profiler_steps),
        "memory": lambda: memory.by_device(trace.memory),
        "communication": lambda: device.communication(trace),
        "efficiency": lambda: efficiency.efficiency(trace),
        "copies": lambda: launches.copies(trace),
        "synchronisations": lambda: launches.synchronisations(owners),
        "chains": lambda: chain.chains(owners, iterations),
        "memcpy": lambda: _total(trace.memcpy),
        "memset": lambda: _total(trace.memset),
    }
    with ThreadPoolExecutor(THREADS) as pool:
        found = {name: pool.submit(analysis) for name, analysis in analyses.items()}
    results = {name: each.result() for name, each in found.items()}
    return Summary(version=VERSION, source=source, events=trace.events, **results)


def _kernels(owners: Attribution) -> Kernels:
    kernels = owners.trace.kernels
    return Kernels(
        count=len(kernels),
        time_ns=kernels.time_ns,
        union_ns=union_ns(kernels.ts, kernels.end),
        without_launch=int((owners.launch_of_kernel == UNKNOWN).sum()),
        distinct_names=len(distinct(kernels.name)),
        by_name=tables.kernels(owners.trace),
    )


def _total(spans: Spans) -> Total:
    return Total(len(spans), spans.time_ns)


def _by_launch(found: Iterations) -> list[Step]:
    counts = found.counts(found.of_kernels)
    times = found.sums(found.of_kernels, found.trace.kernels.dur)
    columns = (found.windows.dur, counts, times)
    return [Step(name, *(int(column[i]) for column in columns)) for i, name in enumerate(found.names)]


def _by_window(found: Iterations) -> list[StepWindow]:
    windows, stated = found.device_windows()
    kernels = found.trace.kernels
    began_in = window_of(kernels.ts, windows.ts, windows.end)
    counts, times = found.counts(began_in), found.sums(began_in, kernels.dur)
    return [
        StepWindow(name, int(windows.dur[i]), bool(stated[i]), int(counts[i]), int(times[i]))
        for i, name in enumerate(found.names)
    ]
