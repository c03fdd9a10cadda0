"""Draws the kernels of an Nsight Compute report, the slowest first, for ``ttprof ncu-explain``.

A number that was not measured is a dash in the table, and is named below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ttprof.nsight.compute_report import Kernel, Launch, Report, Rule, slowest_first
from ttprof.report.trace_cells import UNKNOWN, add, add_rest, counted, indented, shorten, table
from ttprof.units import format_bytes, format_ns

SHOWN_RULES = 2
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
COLOURS = {"memory": "yellow", "compute": "green", "balanced": "green", "latency": "red", None: "magenta"}


def render(report: Report, top: int) -> RenderableType:
    """A table of the slowest *top* kernels, what limits each, and the numbers that the report lacks."""
    kernels = slowest_first(report)
    parts: list[RenderableType] = [_head(report), Text(), _table(kernels, top)]
    for kernel in kernels[:top]:
        parts += [Text(), *_explain(kernel)]
    return Group(*parts, *_missing(kernels))


def rate(value: float | None) -> str:
    """A rate with three digits and an SI prefix, to be followed by its unit; a dash if it is unknown."""
    if value is None:
        return UNKNOWN
    scale, prefix = next(((scale, prefix) for scale, prefix in PREFIXES if value >= scale), (1.0, ""))
    number = value / scale
    return f"{f'{number:.0f}' if number >= 100 else f'{number:.3g}'} {prefix}"


def format_percent(value: float | None) -> str:
    """A percentage; a dash if it was not measured."""
    return UNKNOWN if value is None else f"{value:.1f} %"


def limiter(kernel: Kernel) -> str:
    """The unit or the kind of work that limits a kernel."""
    return kernel.bottleneck.unit or kernel.bottleneck.bound or "not known"


def _head(report: Report) -> Text:
    devices = dict.fromkeys(_device(kernel) for kernel in report.kernels)
    return Text(f"{report.path} · {counted(len(report.kernels), 'kernel')} · {', '.join(devices)}", style="bold")


def _device(kernel: Kernel) -> str:
    version = f" (compute capability {kernel.compute_capability})" if kernel.compute_capability else ""
    return f"{kernel.device or 'device not named'}{version}"


def _table(kernels: list[Kernel], top: int) -> RenderableType:
    rows = table("kernel", "time", "SM", "memory", "DRAM", "occupancy", "FLOP/s", "DRAM B/s", "FLOP/B", "bound by")
    for kernel in kernels[:top]:
        use = kernel.use
        cells = [
            UNKNOWN if kernel.time_ns is None else format_ns(kernel.time_ns),
            *map(format_percent, (use.sm, use.memory, use.dram, use.occupancy)),
            _flops(kernel),
            rate(kernel.traffic.bytes_per_s).rstrip(),
            UNKNOWN if kernel.roof is None else f"{kernel.roof.intensity:.3g}",
            limiter(kernel),
        ]
        add(rows, kernel.function, cells)
    add_rest(rows, len(kernels) - top, "kernel")
    return rows


def _flops(kernel: Kernel) -> str:
    """The rate of the kind of work that a kernel does most; a dash if some of its work was not counted."""
    if not kernel.work or kernel.uncounted:
        return UNKNOWN
    most = kernel.work[0]
    return f"{rate(most.flops_per_s)} {most.kind if most.flops_per_s else ''}"


def _explain(kernel: Kernel) -> Iterator[RenderableType]:
    workload = "" if kernel.workload == "kernel" else f"{kernel.workload} "
    yield Text(f"{workload}{shorten(kernel.name)}", style="bold")
    yield indented(Text(kernel.bottleneck.sentence, style=COLOURS.get(kernel.bottleneck.bound, "")))
    yield indented(Text("; ".join(_launch(kernel.launch)), style="dim"))
    if kernel.nvtx:
        yield indented(Text(f"in {', '.join(kernel.nvtx)}", style="dim"))
    for rule in kernel.rules[:SHOWN_RULES]:
        yield indented(Text(_rule(rule), style="dim"))
    hidden = len(kernel.rules) - SHOWN_RULES
    if hidden > 0:
        yield indented(Text(f"{counted(hidden, 'more rule')} in --json", style="dim"))


def _rule(rule: Rule) -> str:
    scope = "" if rule.scope == "global" else " of a part"
    estimate = "" if rule.speedup_percent is None else f", estimated speedup{scope} {rule.speedup_percent:.0f} %"
    return f"NVIDIA, {rule.name}{estimate}: {rule.message}"


def _launch(launch: Launch) -> Iterator[str]:
    for name, sizes in (("grid", launch.grid), ("block", launch.block)):
        if sizes is not None:
            yield f"{name} {' x '.join(map(str, sizes))}"
    if launch.registers_per_thread is not None:
        yield f"{launch.registers_per_thread} registers per thread"
    if launch.shared_bytes_per_block is not None:
        yield f"{format_bytes(launch.shared_bytes_per_block)} shared memory per block"
    limits = launch.occupancy_limits
    if limits:
        least = min(limits.values())
        names = [name.replace("_mem", " memory") for name, limit in limits.items() if limit == least]
        yield f"{counted(least, 'block')} per SM, limited by {' and '.join(names)}"


def _missing(kernels: list[Kernel]) -> Iterator[RenderableType]:
    """The numbers that the report lacks, for how many kernels, and the section that collects them."""
    counts = Counter((number.what, number.section) for kernel in kernels for number in kernel.missing)
    names: dict[tuple[str, int], list[str]] = {}
    for (name, section), count in counts.items():
        names.setdefault((section, count), []).append(name)
    if names:
        yield Text()
    for (section, count), missing in names.items():
        scope = "" if count == len(kernels) else f" of {count} of {counted(len(kernels), 'kernel')}"
        text = f"not in this report: {', '.join(missing)}{scope}; collect with ncu --section {section}"
        yield Text(text, style="dim")
