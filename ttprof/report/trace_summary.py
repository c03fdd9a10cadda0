"""Draws the summary of one trace, for ``ttprof analyze TRACE``.

A part of the recording that is missing is named, never shown as zero, and an empty table is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.codes import NoteCode
from ttprof.report import trace_doubts, trace_nvtx, trace_steps
from ttprof.report.trace_cells import (
    add,
    add_rest,
    counted,
    indented,
    memory_device,
    percent,
    percent_of,
    shorten,
    size,
    table,
)
from ttprof.trace.analyses.critical_chain import Chain
from ttprof.trace.analyses.device import Communication, DeviceUse, Gap
from ttprof.trace.analyses.efficiency import Efficiency
from ttprof.trace.analyses.launches import Copies, Synchronisations
from ttprof.trace.analyses.memory import UNATTRIBUTED, Allocations, AllocatorTotals, Holder, Peak
from ttprof.trace.analyses.summary import Summary
from ttprof.trace.analyses.tables import KernelRow, OpRow
from ttprof.units import format_bytes, format_ns, format_rate

SHOWN_GAPS = 3
SHOWN_HOST_EVENTS = 3
MAX_NAME = 40
"""Maximum number of characters of a kernel's name in a line of text."""

MIN_SHARE = 0.005
"""A smaller share of a device's time would be shown as 0 % and is left out, as are gaps that are shorter."""


class Recipe(NamedTuple):
    """How to record each optional part of a trace in one format; None if the format has no such part."""

    operators: str
    modules: str
    memory: str
    steps: str | None


RECIPES = {
    "kineto": Recipe(
        operators="activities=[ProfilerActivity.CPU, ...]",
        modules="with_stack=True",
        memory="profile_memory=True",
        steps="schedule=... and .step()",
    ),
    "nsys": Recipe(
        operators="torch.autograd.profiler.emit_nvtx()",
        modules="ttprof run --backend nsys",
        memory="nsys profile --cuda-memory-usage=true",
        steps=None,
    ),
}


def render(summary: Summary, top: int) -> RenderableType:
    """Everything in the summary, *top* rows of each table, with a blank line before each table."""
    parts: list[RenderableType] = []
    for part in _parts(summary, top):
        parts += [Text(), part] if isinstance(part, Table) else [part]
    return Group(*parts)


def _parts(summary: Summary, top: int) -> Iterator[RenderableType]:
    yield _head(summary)
    yield from trace_doubts.warnings(summary)
    if summary.devices:
        yield from _devices(summary.devices)
        yield from _launches(summary)
        if summary.kernels.count:
            yield _kernels(summary, top)
    else:
        yield Text(trace_doubts.no_work(summary))
    if summary.nvtx:
        yield from trace_nvtx.tables(summary.nvtx, "NVTX range", summary.kernels.time_ns, top)
    if summary.annotations:
        yield from trace_nvtx.tables(summary.annotations, "annotation", summary.kernels.time_ns, top)
    if summary.communication:
        yield _communication(summary.communication)
    if summary.copies:
        yield _copies(summary.copies)
    if summary.synchronisations.count:
        yield _synchronisations(summary.synchronisations, top)
    if summary.ops:
        yield _ops(summary, top)
    if summary.modules or summary.kernels.count:
        yield _modules(summary, top)
    if summary.module_classes:
        yield _classes(summary, top)
    if summary.steps:
        yield from trace_steps.tables(summary, top)
    for chain in summary.chains:
        yield from _chain(chain, top)
    if summary.memory:
        yield _memory(summary.memory)
        yield from _peaks(summary.allocations, top)
    yield from _not_recorded(summary)


def _head(summary: Summary) -> Text:
    source = summary.source
    devices = ", ".join(dict.fromkeys(source.devices)) or "device not named"
    rank = "" if source.rank is None else f" · rank {source.rank}"
    rank = f" · {len(source.ranks)} ranks" if source.ranks else rank
    return Text(f"{source.path} · {source.format} · {counted(summary.events, 'event')} · {devices}{rank}", style="bold")


def _devices(devices: list[DeviceUse]) -> Iterator[RenderableType]:
    rows = table("device", "kernels and copies", "total time", "busy", "idle", "overlap", "span")
    for device in devices:
        count = sum(stream.count for stream in device.streams)
        total_ns = sum(stream.time_ns for stream in device.streams)
        times = (total_ns, device.busy_ns, device.idle_ns, device.overlap_ns, device.span_ns)
        add(rows, f"device {device.device}", [str(count), *map(format_ns, times)])
        for stream in device.streams if len(device.streams) > 1 else []:
            cells = [str(stream.count), format_ns(stream.time_ns), format_ns(stream.busy_ns)]
            add(rows, f"stream {stream.stream}", cells, indent=1)
    yield rows
    for device in devices:
        yield _bound(device)
        for gaps in _like_gaps(device)[:SHOWN_GAPS]:
            yield indented(_gap(gaps))


_VERDICTS = {
    "idle": "mostly idle, but not because of late launches",
    "idle-unknown": "mostly idle, and the trace does not say why: the launches of the work after it are unknown",
}


def _bound(device: DeviceUse) -> Text:
    bound = device.bound
    if bound is None:
        memsets = counted(sum(stream.count for stream in device.streams), "memset")
        return Text(f"device {device.device} ran {memsets}, no kernel and no copy")
    shares = {
        "computing": bound.compute,
        "exposed communication": bound.communication_alone,
        "exposed copies": bound.copies_alone,
        "memsets": bound.memsets_alone,
        "waiting for a launch": bound.waiting_for_launch,
        "otherwise idle": bound.other_idle,
        "idle for unknown reasons": bound.unknown_idle,
    }
    parts = ", ".join(f"{label} {percent(share, 0)}" for label, share in shares.items() if share >= MIN_SHARE)
    if bound.verdict is None:
        return Text(f"device {device.device} worked too little to be judged ({format_ns(device.busy_ns)}): {parts}")
    verdict = _VERDICTS.get(bound.verdict, bound.verdict)
    return Text(f"device {device.device} is {verdict}: {parts}")


def _like_gaps(device: DeviceUse) -> list[list[Gap]]:
    """The longest gaps that are worth a line, those between the same work for the same reason together."""
    like: dict[tuple[str, str, bool | None], list[Gap]] = {}
    for gap in device.idle.longest:
        if gap.time_ns >= MIN_SHARE * device.span_ns:
            like.setdefault((gap.after, gap.before, gap.launched_late), []).append(gap)
    return list(like.values())


def _gap(gaps: list[Gap]) -> Text:
    gap = gaps[0]
    if gap.launched_late is None:
        reason = "the launch of the next work is unknown"
    elif gap.launched_late:
        reason = "the next work was launched late"
    else:
        reason = "the next work was already launched"
    after, before = (shorten(name, MAX_NAME, tail=0) for name in (gap.after, gap.before))
    host = ", ".join(f"{row.name} {format_ns(row.time_ns)}" for row in gap.host[:SHOWN_HOST_EVENTS])
    meanwhile = f"; meanwhile on the host: {host}" if host else ""
    others = f" ({len(gaps) - 1} more like it)" if len(gaps) > 1 else ""
    text = f"gap of {format_ns(gap.time_ns)} between {after} and {before}{others}: {reason}{meanwhile}"
    return Text(text, style="dim")


def _launches(summary: Summary) -> Iterator[RenderableType]:
    launches, efficiency = summary.launches, summary.efficiency
    if launches.delay:
        yield Text(
            f"launch delay: median {format_ns(launches.delay.median_ns)}, p99 {format_ns(launches.delay.p99_ns)}; "
            f"queue depth: median {launches.median_queue_depth}, max {launches.max_queue_depth}"
        )
    estimates = {"SM efficiency": efficiency.sm_efficiency_percent, "occupancy": efficiency.occupancy_percent}
    stated = [f"{name} {value:.0f} %" for name, value in estimates.items() if value is not None]
    if stated:
        yield Text(f"{', '.join(stated)} (the profiler's estimates, weighted by time){_unknown_occupancy(efficiency)}")
    if efficiency.tensor_core_share is not None:
        yield Text(
            f"matrix units: at least {percent(efficiency.tensor_core_share)} of kernel time, judging by kernel names"
        )


def _unknown_occupancy(efficiency: Efficiency) -> str:
    """A clause on the kernels whose occupancy the profiler does not know."""
    known = efficiency.stated_share
    if known is None or efficiency.sm_efficiency_percent is None or known > 1 - MIN_SHARE:
        return ""
    return f"; occupancy unknown for {percent(1 - known, 0)} of kernel time"


def _kernels(summary: Summary, top: int) -> Table:
    kernels = summary.kernels
    rows = table("kernel", "count", "time", "share", "mean", "median", "p99")
    for row in kernels.by_name[:top]:
        times = (row.mean_ns, row.spread.median_ns, row.spread.p99_ns)
        cells = [str(row.count), format_ns(row.time_ns), percent_of(row.time_ns, kernels.time_ns)]
        add(rows, row.name, [*cells, *map(format_ns, times)])
    rest = kernels.by_name[top:]
    _add_rest_of_names(rows, rest, sum(row.time_ns for row in rest), kernels.time_ns)
    add(rows, "all kernels", [str(kernels.count), format_ns(kernels.time_ns)])
    return rows


def _communication(communication: Communication) -> Text:
    times = (communication.time_ns, communication.union_ns, communication.with_compute_ns, communication.alone_ns)
    total, union, overlapped, exposed = map(format_ns, times)
    return Text(
        f"communication, by kernel names at least: {counted(communication.count, 'kernel')}, {total} in total; running "
        f"for {union}, of which {overlapped} overlapped with compute and {exposed} exposed"
    )


def _copies(copies: list[Copies]) -> Table:
    rows = table("memory copy", "count", "time", "size", "rate")
    for row in copies:
        rate = "" if row.bytes_per_s is None else format_rate(row.bytes_per_s)
        cells = [str(row.count), format_ns(row.time_ns), size(row.bytes, unknown="not stated"), rate]
        add(rows, row.direction, cells)
    return rows


def _synchronisations(waits: Synchronisations, top: int) -> Table:
    rows = table("host waits for device in", "calls", "time")
    for row in waits.by_call[:top]:
        add(rows, row.name, [str(row.count), format_ns(row.time_ns)])
    add_rest(rows, len(waits.by_call) - top, "call")
    for row in waits.by_op[:top]:
        add(rows, f"from {row.name}", [str(row.count), format_ns(row.time_ns)], indent=1)
    add_rest(rows, len(waits.by_op) - top, "op")
    return rows


def _ops(summary: Summary, top: int) -> Table:
    total_ns = sum(row.self_ns for row in summary.ops)
    device = ["kernels", "kernel time"] if summary.kernels.count else []
    rows = table("operator (host time)", "count", "self", "share", "total", *device)
    for row in summary.ops[:top]:
        cells = [str(row.count), format_ns(row.self_ns), percent_of(row.self_ns, total_ns), format_ns(row.time_ns)]
        if row.kernel_count:
            cells += [str(row.kernel_count), format_ns(row.kernel_ns)]
        add(rows, row.name, cells)
    rest = summary.ops[top:]
    _add_rest_of_names(rows, rest, sum(row.self_ns for row in rest), total_ns)
    lost_ns = summary.unattributed.without_launch_ns + summary.unattributed.without_op_ns
    if device and lost_ns:
        add(rows, UNATTRIBUTED, ["", "", "", "", "", format_ns(lost_ns)])
    return rows


def _add_rest_of_names(rows: Table, rest: list[KernelRow] | list[OpRow], time_ns: int, total_ns: int) -> None:
    count = sum(row.count for row in rest)
    add_rest(rows, len(rest), "name", [str(count), format_ns(time_ns), percent_of(time_ns, total_ns)])


def _modules(summary: Summary, top: int) -> Table:
    """The *top* modules by time in the order of the tree; the modules left out between them are counted."""
    modules, unattributed = summary.modules, summary.unattributed
    times = [module.forward_ns + module.backward_ns for module in modules]
    longest = sorted(range(len(modules)), key=lambda i: -times[i])[:top]
    total_ns = unattributed.time_ns + sum(time for module, time in zip(modules, times, strict=True) if not module.depth)
    measured = "kernel time" if unattributed.measured == "kernels" else "operator time"
    rows = table("module", "calls", "host time", f"{measured} forward", "backward", "share")
    last = -1
    for i in sorted(longest):
        add_rest(rows, i - last - 1, "module")
        module, last = modules[i], i
        name = module.path.rpartition(".")[2] if module.depth else module.path
        cells = [str(module.calls), *map(format_ns, (module.host_ns, module.forward_ns, module.backward_ns))]
        add(rows, name, [*cells, percent_of(times[i], total_ns)], module.depth)
    add_rest(rows, len(modules) - last - 1, "module")
    add(rows, UNATTRIBUTED, ["", "", format_ns(unattributed.time_ns), "", percent(unattributed.share)])
    for reason, time_ns in (
        ("no launch", unattributed.without_launch_ns),
        ("no op", unattributed.without_op_ns),
        ("no module", unattributed.without_module_ns),
    ):
        if time_ns:
            add(rows, reason, ["", "", format_ns(time_ns), "", percent_of(time_ns, total_ns)], indent=1)
    return rows


def _classes(summary: Summary, top: int) -> Table:
    classes = summary.module_classes
    times = [row.self_forward_ns + row.self_backward_ns for row in classes]
    total_ns = summary.unattributed.time_ns + sum(times)
    rows = table("module class", "modules", "self time forward", "backward", "share")
    for row, time_ns in list(zip(classes, times, strict=True))[:top]:
        cells = [str(row.modules), format_ns(row.self_forward_ns), format_ns(row.self_backward_ns)]
        add(rows, row.name, [*cells, percent_of(time_ns, total_ns)])
    add_rest(rows, len(classes) - top, "class")
    return rows


def _chain(chain: Chain, top: int) -> Iterator[RenderableType]:
    rows = table(f"critical chain of {chain.iteration}", "count", "time")
    for row in chain.by_name[:top]:
        add(rows, row.name, [str(row.count), format_ns(row.time_ns)], indent=1)
    add_rest(rows, len(chain.by_name) - top, "name")
    yield rows
    parts = {
        f"in {chain.length} kernels and copies": chain.work_ns,
        "while other work ran": chain.other_work_ns,
        "waiting for launches": chain.waiting_for_launch_ns,
        "latency": chain.latency_ns,
    }
    shares = ", ".join(f"{percent_of(ns, chain.span_ns)} {label}" for label, ns in parts.items() if ns)
    yield indented(Text(f"of {format_ns(chain.span_ns)} on device {chain.device}: {shares}"))


def _memory(devices: list[AllocatorTotals]) -> Table:
    rows = table("memory", "events", "peak allocated", "peak reserved", "growth")
    for row in devices:
        peaks = [size(peak, unknown="not stated") for peak in (row.peak_allocated_bytes, row.peak_reserved_bytes)]
        name = memory_device(row.device_type, row.device_index)
        add(rows, name, [str(row.events), *peaks, format_bytes(row.net_bytes)])
    return rows


def _peaks(allocations: list[Allocations], top: int) -> Iterator[Table]:
    """Live memory at the peak of each GPU, or of the CPU if the trace has no other device."""
    devices = [row for row in allocations if row.device_type] or allocations
    for row in devices:
        if row.peak is not None:
            yield from _peak(row.peak, memory_device(row.device_type, row.device_index), top)


def _peak(peak: Peak, device: str, top: int) -> Iterator[Table]:
    """Live memory at a peak by op, and by module if the trace has modules."""
    yield _holders(peak, peak.by_op, f"live at the peak of {device}, by op", top)
    if any(holder.name != UNATTRIBUTED for holder in peak.by_module):
        yield _holders(peak, peak.by_module, f"live at the peak of {device}, by module", top)


def _holders(peak: Peak, holders: list[Holder], title: str, top: int) -> Table:
    total = peak.allocated_bytes
    rows = table(title, "allocations", "size", "share")
    before = peak.before_trace_bytes
    add(rows, "allocated before the trace", ["", format_bytes(before), percent_of(before, total)])
    for holder in holders[:top]:
        add(rows, holder.name, [str(holder.count), format_bytes(holder.bytes), percent_of(holder.bytes, total)])
    rest = sum(holder.bytes for holder in holders[top:])
    add_rest(rows, len(holders) - top, "name", ["", format_bytes(rest), percent_of(rest, total)])
    add(rows, "total", ["", format_bytes(total)])
    return rows


def _not_recorded(summary: Summary) -> Iterator[Text]:
    """The parts that the recording left out, and how to record them; nothing for a file that is no such recording."""
    if any(note.code is NoteCode.FOREIGN for note in summary.trace.notes):
        return
    recipe = RECIPES[summary.source.format]
    recorded = {
        "operators": (recipe.operators, bool(summary.ops)),
        "modules": (recipe.modules, bool(summary.modules)),
        "memory": (recipe.memory, bool(summary.memory)),
        "steps": (recipe.steps, bool(summary.steps)),
    }
    hints = [f"{part} (use {how})" for part, (how, present) in recorded.items() if how and not present]
    if hints:
        yield Text()
        yield Text(f"not recorded: {', '.join(hints)}", style="dim")
