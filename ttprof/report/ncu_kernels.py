"""The kernels of a Nsight Compute report for people: the JSON of ``ttprof ncu-explain`` enters, rich renderables leave.

The slowest kernels come first. What was not measured is a dash in the table, and is named below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ttprof.report.trace_cells import add, more, shortened, table
from ttprof.units import format_bytes, format_ns

Found = dict[str, Any]

SHOWN_RULES = 2
RATES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
COLOURS = {"memory": "yellow", "compute": "green", "balanced": "green", "latency": "red", None: "magenta"}


def render(found: Found, top: int) -> RenderableType:
    """A table of the slowest *top* kernels, what each is bound by, and what the report lacks."""
    kernels = by_time(found)
    parts: list[RenderableType] = [_head(found), Text(), _table(kernels, top)]
    for kernel in kernels[:top]:
        parts += [Text(), *_explained(kernel)]
    return Group(*parts, *_missing(kernels))


def by_time(found: Found) -> list[Found]:
    """The kernels, the slowest first; those without a time last, each group in the order of launch."""
    return sorted(found["kernels"], key=lambda kernel: -(kernel["time_ns"] or 0))


def rate(value: float | None) -> str:
    """A rate with three digits and a prefix, ready for its unit; a dash where it is not known."""
    if value is None:
        return "–"
    scale, prefix = next(((scale, prefix) for scale, prefix in RATES if value >= scale), (1.0, ""))
    number = value / scale
    return f"{f'{number:.0f}' if number >= 100 else f'{number:.3g}'} {prefix}"


def percent(value: float | None) -> str:
    """A percentage; a dash where it was not measured."""
    return "–" if value is None else f"{value:.1f} %"


def _head(found: Found) -> Text:
    kernels = found["kernels"]
    devices = dict.fromkeys(_device(kernel) for kernel in kernels)
    number = f"{len(kernels)} kernel{'s' if len(kernels) > 1 else ''}"
    return Text(f"{found['path']} · {number} · {', '.join(devices)}", style="bold")


def _device(kernel: Found) -> str:
    version = kernel["compute_capability"]
    return f"{kernel['device'] or 'no device named'}{f' (compute capability {version})' if version else ''}"


def _table(kernels: list[Found], top: int) -> RenderableType:
    made = table("kernel", "time", "SM", "memory", "DRAM", "occupancy", "FLOP/s", "DRAM B/s", "FLOP/B", "bound by")
    for kernel in kernels[:top]:
        use, work, place = kernel["use"], kernel["work"], kernel["roof"]
        most = work[0] if work and not kernel["uncounted"] else None
        cells = [
            "–" if kernel["time_ns"] is None else format_ns(kernel["time_ns"]),
            *(percent(use[key]) for key in ("sm", "memory", "dram", "occupancy")),
            "–" if most is None else f"{rate(most['flops_per_s'])} {most['kind'] if most['flops_per_s'] else ''}",
            rate(kernel["traffic"]["bytes_per_s"]).rstrip(),
            "–" if place is None else f"{place['intensity']:.3g}",
            kernel["bottleneck"]["unit"] or kernel["bottleneck"]["bound"] or "not known",
        ]
        add(made, kernel["function"], cells)
    more(made, len(kernels) - top, "kernels")
    return made


def _explained(kernel: Found) -> Iterator[RenderableType]:
    verdict = kernel["bottleneck"]
    kind = "" if kernel["workload"] == "kernel" else f"{kernel['workload']} "
    yield Text(f"{kind}{shortened(kernel['name'])}", style="bold")
    yield _indented(Text(verdict["sentence"], style=COLOURS.get(verdict["bound"], "")))
    yield _indented(Text("; ".join(_launch(kernel["launch"])), style="dim"))
    if kernel["nvtx"]:
        yield _indented(Text(f"in {', '.join(kernel['nvtx'])}", style="dim"))
    for rule in kernel["rules"][:SHOWN_RULES]:
        scope = "" if rule["scope"] == "global" else " of a part"
        speedup = rule["speedup_percent"]
        estimate = "" if speedup is None else f", estimated speedup{scope} {speedup:.0f} %"
        yield _indented(Text(f"NVIDIA, {rule['name']}{estimate}: {rule['message']}", style="dim"))
    left = len(kernel["rules"]) - SHOWN_RULES
    if left > 0:
        yield _indented(Text(f"{left} more in --json", style="dim"))


def _launch(launch: Found) -> Iterator[str]:
    for name in ("grid", "block"):
        if launch[name] is not None:
            yield f"{name} {' x '.join(map(str, launch[name]))}"
    if launch["registers_per_thread"] is not None:
        yield f"{launch['registers_per_thread']} registers per thread"
    if launch["shared_bytes_per_block"] is not None:
        yield f"{format_bytes(launch['shared_bytes_per_block'])} shared memory per block"
    limits = launch["occupancy_limits"]
    if limits:
        least = min(limits.values())
        names = [name.replace("_mem", " memory") for name, limit in limits.items() if limit == least]
        yield f"{least} blocks fit on an SM, by its {' and '.join(names)}"


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 2), expand=False)


def _missing(kernels: list[Found]) -> Iterator[RenderableType]:
    """What is not in the report, by the section that collects it, and for how many kernels."""
    lacking: dict[tuple[str, str], int] = {}
    for kernel in kernels:
        for each in kernel["missing"]:
            key = each["what"], each["section"]
            lacking[key] = lacking.get(key, 0) + 1
    if lacking:
        yield Text()
    for (what, section), count in lacking.items():
        of = "" if count == len(kernels) else f" of {count} of {len(kernels)} kernels"
        yield Text(f"not in this report: {what}{of}; ncu --section {section} collects it", style="dim")
