"""The summary of one trace that ``ttprof analyze`` prints; its JSON is that of ``ttprof analyze --json``."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ttprof.errors import printable
from ttprof.trace.analyses import (
    critical_chain,
    device,
    efficiency,
    integrity,
    launches,
    memory,
    modules,
    nvtx,
    steps,
    tables,
)
from ttprof.trace.analyses.critical_chain import Chain
from ttprof.trace.analyses.device import Communication, DeviceUse
from ttprof.trace.analyses.efficiency import Efficiency
from ttprof.trace.analyses.integrity import Integrity
from ttprof.trace.analyses.launches import Copies, Launches, Synchronisations
from ttprof.trace.analyses.memory import Allocations, AllocatorTotals
from ttprof.trace.analyses.modules import ModuleClass, ModuleRow, Unattributed
from ttprof.trace.analyses.nvtx import Ranges
from ttprof.trace.analyses.steps import Step, StepPhases, StepWindow
from ttprof.trace.analyses.tables import KernelRow, OpRow
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.intervals import union_ns
from ttprof.trace.iterations import Iterations
from ttprof.trace.iterations import steps as steps_of

VERSION = 3
"""Version of the JSON of ``ttprof analyze``. History: 1, the first; 2, reasons and notes have codes; 3, records that
were left out, unknown rows, bounds with memsets and unknown idleness, or null."""

THREADS = 2
"""Number of analyses that run at the same time; more would need more memory."""


class TraceSource(msgspec.Struct, frozen=True):
    """The file, the devices it names, and the rank that recorded it (null if not stated).

    ``ranks`` are the names of the ranks in a file that was merged of several.
    """

    format: str
    path: str
    devices: list[str]
    rank: int | None
    ranks: list[str] = []


class Kernels(msgspec.Struct, frozen=True):
    """All kernels; ``union_ns`` is the time in which at least one ran, on any device."""

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


class Summary(msgspec.Struct, frozen=True):
    """Everything that ``ttprof analyze`` reports about a trace; times in ns, sizes in bytes."""

    version: int
    source: TraceSource
    events: int
    trace: Integrity
    kernels: Kernels
    device_busy_ns: int
    memcpy: Total
    memset: Total
    steps_rule: str | None
    steps: list[Step]
    step_phases: list[StepPhases]
    steps_by_window: list[StepWindow]
    memory: list[AllocatorTotals]
    allocations: list[Allocations]
    devices: list[DeviceUse]
    communication: Communication | None
    efficiency: Efficiency
    launches: Launches
    copies: list[Copies]
    synchronisations: Synchronisations
    ops: list[OpRow]
    modules: list[ModuleRow]
    module_classes: list[ModuleClass]
    unattributed: Unattributed
    chains: list[Chain]
    nvtx: Ranges | None
    annotations: Ranges | None


def summarise(trace: Trace, communication: re.Pattern[str] | None = None, steps_glob: str | None = None) -> Summary:
    """Summarise *trace*; times in ns, sizes in bytes.

    Kernels with a name like *communication* communicate, too. The steps are the annotations that *steps_glob* matches.

    The analyses are independent and spend their time in numpy, which releases the GIL, so they run in threads.
    """
    attribution = Attribution(trace)
    iterations = Iterations.of(trace, steps_glob)
    profiler_steps = steps_of(trace, steps_glob)
    busy, collective = trace.device_work, device.collectives(trace, communication)
    source = TraceSource(trace.format, printable(trace.path), list(trace.devices), trace.rank, list(trace.ranks))
    analyses: dict[str, Callable[[], Any]] = {  # the longest first
        "allocations": lambda: memory.allocations(attribution),
        "devices": lambda: device.use(attribution, collective),
        "launches": lambda: launches.launches(attribution),
        "ops": lambda: tables.ops(attribution),
        "unattributed": lambda: modules.unattributed(attribution),
        "trace": lambda: integrity.check(trace, iterations),
        "kernels": lambda: _kernels(attribution),
        "device_busy_ns": lambda: union_ns(busy.ts, busy.end),
        "steps": lambda: steps.by_launch(profiler_steps),
        "step_phases": lambda: steps.phases(attribution, profiler_steps, collective),
        "steps_by_window": lambda: steps.by_window(profiler_steps),
        "memory": lambda: memory.by_device(trace.memory),
        "communication": lambda: device.communication(trace, collective),
        "efficiency": lambda: efficiency.efficiency(trace),
        "copies": lambda: launches.copies(trace),
        "synchronisations": lambda: launches.synchronisations(attribution),
        "chains": lambda: critical_chain.chains(attribution, iterations),
        "memcpy": lambda: _total(trace.memcpy),
        "memset": lambda: _total(trace.memset),
        "nvtx": lambda: nvtx.nvtx_ranges(attribution),
        "annotations": lambda: nvtx.annotated(attribution),
    }
    with ThreadPoolExecutor(THREADS) as pool:
        futures = {name: pool.submit(analysis) for name, analysis in analyses.items()}
        tree = modules.tree(attribution)
    results = {name: future.result() for name, future in futures.items()}
    results |= {"steps_rule": profiler_steps.rule if len(profiler_steps) else None}
    results |= {"modules": tree, "module_classes": modules.by_class(tree)}
    return Summary(version=VERSION, source=source, events=trace.events, **results)


def _kernels(attribution: Attribution) -> Kernels:
    kernels = attribution.trace.kernels
    return Kernels(
        count=len(kernels),
        time_ns=kernels.time_ns,
        union_ns=union_ns(kernels.ts, kernels.end),
        without_launch=int((attribution.launch_of_kernel == UNKNOWN).sum()),
        distinct_names=len(distinct(kernels.name)),
        by_name=tables.kernels(attribution.trace),
    )


def _total(spans: Spans) -> Total:
    return Total(len(spans), spans.time_ns)
