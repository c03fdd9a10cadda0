"""The summary of a trace for people: the documented JSON of ``ttprof analyze`` enters, rich renderables leave.

What the trace can't say is named, not shown as zero; a table that would be empty is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report import trace_nvtx
from ttprof.report.trace_cells import add, device_name, more, of, share, shortened, table
from ttprof.units import format_bytes, format_ns

Found = dict[str, Any]

SHOWN_GAPS = 3

HOW_TO_RECORD = {
    "kineto": {
        "ops": "activities=[ProfilerActivity.CPU, ...]",
        "modules": "with_stack=True",
        "memory": "profile_memory=True",
        "steps": "schedule=... and .step()",
    },
    "nsys": {
        "ops": "torch.autograd.profiler.emit_nvtx()",
        "modules": "ttprof run --backend nsys",
        "memory": "nsys profile --cuda-memory-usage=true",
    },
}
"""What a recording may leave out, by its format, and how to have it next time."""

BOUND = {
    "compute": "computing",
    "communication_alone": "communicating alone",
    "copies_alone": "copying alone",
    "waiting_for_launch": "waiting for a launch",
    "other_idle": "idle otherwise",
}


def render(found: Found, top: int) -> RenderableType:
    """Everything that the trace says; an empty line stands before each table."""
    parts: list[RenderableType] = []
    for part in _parts(found, top):
        parts += [Text(), part] if isinstance(part, Table) else [part]
    return Group(*parts)


def _parts(found: Found, top: int) -> Iterator[RenderableType]:
    yield _head(found)
    yield from _warnings(found)
    if found["devices"]:
        yield from _devices(found)
        yield from _launches(found)
        yield _kernels(found, top)
    else:
        yield Text(f"no device activity {'in what could be read' if found['trace']['lost'] else 'in this trace'}")
    if found["nvtx"]:
        yield from trace_nvtx.tables(found["nvtx"], found["kernels"]["time_ns"], top)
    if found["communication"]:
        yield _communication(found["communication"])
    if found["copies"]:
        yield _copies(found["copies"])
    if found["synchronisations"]["count"]:
        yield _synchronisations(found["synchronisations"], top)
    if found["ops"]:
        yield _ops(found, top)
    if found["modules"] or found["kernels"]["count"]:
        yield _modules(found, top)
    if found["modules"]:
        yield _classes(found, top)
    if found["steps"]:
        yield from _steps(found, top)
    for chain in found["chains"]:
        yield from _chain(chain, top)
    if found["memory"]:
        yield _memory(found["memory"])
        on_device = any(row["device_type"] for row in found["allocations"])
        for row in found["allocations"]:
            if row["peak"] and (row["device_type"] or not on_device):
                yield from _peak(row, top)
    yield from _not_recorded(found)


def _head(found: Found) -> Text:
    source = found["source"]
    devices = ", ".join(dict.fromkeys(source["devices"])) or "no device named"
    rank = "" if source["rank"] is None else f" · rank {source['rank']}"
    return Text(f"{source['path']} · {source['format']} · {found['events']} events · {devices}{rank}", style="bold")


def _warnings(found: Found) -> Iterator[Text]:
    for reason in found["trace"]["reasons"]:
        yield Text(f"WARNING incomplete trace: {reason['text']}", style="bold red")
    for note in found["trace"]["notes"]:
        yield Text(f"note: {note['text']}", style="yellow")
    without = found["kernels"]["without_launch"]
    if without:
        text = (
            f"{without} of {found['kernels']['count']} kernels have no launch in this trace (they were launched before "
            "it began, say); they belong to no step, op or module, and count in all totals and shares"
        )
        yield Text(text, style="yellow")


def _devices(found: Found) -> Iterator[RenderableType]:
    made = table("device", "pieces of work", "their time", "busy", "idle", "overlapping", "span")
    for device in found["devices"]:
        streams = device["streams"]
        work, time_ns = (sum(stream[key] for stream in streams) for key in ("count", "time_ns"))
        parts = (time_ns, device["busy_ns"], device["idle_ns"], device["overlap_ns"], device["span_ns"])
        add(made, f"device {device['device']}", [str(work), *map(format_ns, parts)])
        for stream in streams if len(streams) > 1 else []:
            cells = [str(stream["count"]), format_ns(stream["time_ns"]), format_ns(stream["busy_ns"])]
            add(made, f"stream {stream['stream']}", cells, indent=1)
    yield made
    for device in found["devices"]:
        bound = device["bound"]
        shares = ", ".join(f"{label} {share(bound[key], 0)}" for key, label in BOUND.items() if bound[key] >= 0.005)
        verdict = "mostly idle, though not for want of launches" if bound["verdict"] == "idle" else bound["verdict"]
        yield Text(f"device {device['device']} is {verdict}: {shares}")
        yield from _gaps(device)


def _gaps(device: Found) -> Iterator[Text]:
    for gap in device["idle"]["longest"][:SHOWN_GAPS]:
        doing = ", ".join(f"{row['name']} {format_ns(row['time_ns'])}" for row in gap["host"][:3])
        why = {True: "its next launch came late", False: "what came next was launched already", None: "no launch known"}
        between = f"after {shortened(gap['after'])[:40]}, before {shortened(gap['before'])[:40]}"
        text = f"  gap of {format_ns(gap['time_ns'])} {between}: {why[gap['launched_late']]}"
        yield Text(f"{text}{f'; the host was in {doing}' if doing else ''}", style="dim")


def _launches(found: Found) -> Iterator[RenderableType]:
    launches, use = found["launches"], found["efficiency"]
    if launches["delay"]:
        spread = launches["delay"]
        yield Text(
            f"launch to start: median {format_ns(spread['median_ns'])}, p99 {format_ns(spread['p99_ns'])}; "
            f"queue depth: median {launches['median_queue_depth']}, at most {launches['max_queue_depth']}"
        )
    estimates = {"SM efficiency": use["sm_efficiency_percent"], "occupancy": use["occupancy_percent"]}
    told = [f"{name} {percent:.0f} %" for name, percent in estimates.items() if percent is not None]
    if told:
        yield Text(f"{', '.join(told)} (estimates of the profiler, weighted by time)")
    if use["tensor_core_share"] is not None:
        yield Text(f"matrix units, by kernel name: at least {share(use['tensor_core_share'])} of kernel time")


def _kernels(found: Found, top: int) -> Table:
    kernels = found["kernels"]
    made = table("kernel", "count", "time", "share", "mean", "median", "p99")
    for row in kernels["by_name"][:top]:
        spread = row["spread"]
        times = (row["mean_ns"], spread["median_ns"], spread["p99_ns"])
        cells = [str(row["count"]), format_ns(row["time_ns"]), of(row["time_ns"], kernels["time_ns"])]
        add(made, row["name"], [*cells, *map(format_ns, times)])
    _rest(made, kernels["by_name"][top:], "time_ns", kernels["time_ns"])
    add(made, "all kernels", [str(kernels["count"]), format_ns(kernels["time_ns"])])
    return made


def _communication(found: Found) -> Text:
    total, union, beside, alone = (format_ns(found[k]) for k in ("time_ns", "union_ns", "with_compute_ns", "alone_ns"))
    return Text(
        f"communication: {found['count']} kernels, {total} in all, {union} with at least one running; "
        f"{beside} of that beside other kernels, {alone} alone"
    )


def _copies(rows: list[Found]) -> Table:
    made = table("memory copies", "count", "time", "size", "rate")
    for row in rows:
        size = "not stated" if row["bytes"] is None else format_bytes(row["bytes"])
        rate = "" if row["bytes_per_s"] is None else f"{format_bytes(row['bytes_per_s'])}/s"
        add(made, row["direction"], [str(row["count"]), format_ns(row["time_ns"]), size, rate])
    return made


def _synchronisations(found: Found, top: int) -> Table:
    made = table("the host waits for the device in", "calls", "time")
    for row in found["by_call"][:top]:
        add(made, row["name"], [str(row["count"]), format_ns(row["time_ns"])])
    for row in found["by_op"][:top]:
        add(made, f"from {row['name']}", [str(row["count"]), format_ns(row["time_ns"])], indent=1)
    return made


def _ops(found: Found, top: int) -> Table:
    total = sum(row["self_ns"] for row in found["ops"])
    kernels = bool(found["kernels"]["count"])
    made = table("operator (host time)", "count", "self", "share", "total", *(["kernels", "their time"] * kernels))
    for row in found["ops"][:top]:
        cells = [str(row["count"]), format_ns(row["self_ns"]), of(row["self_ns"], total), format_ns(row["time_ns"])]
        if row["kernel_count"]:
            cells += [str(row["kernel_count"]), format_ns(row["kernel_ns"])]
        add(made, row["name"], cells)
    _rest(made, found["ops"][top:], "self_ns", total)
    left = found["unattributed"]
    if kernels and (lost := left["without_launch_ns"] + left["without_op_ns"]):
        add(made, "Unattributed", ["", "", "", "", "", format_ns(lost)])
    return made


def _modules(found: Found, top: int) -> Table:
    """The modules that take longest, in the order of the tree; what is left out between them is counted."""
    rows, left = found["modules"], found["unattributed"]
    longest = sorted(range(len(rows)), key=lambda i: -(rows[i]["forward_ns"] + rows[i]["backward_ns"]))[:top]
    total = left["time_ns"] + sum(r["forward_ns"] + r["backward_ns"] for r in rows if not r["depth"])
    what = "kernel time" if left["measured"] == "kernels" else "operator time"
    made = table("module", "calls", "host time", f"{what} forward", "backward", "share")
    last = -1
    for i in sorted(longest):
        more(made, i - last - 1, "modules")
        row, last = rows[i], i
        times = (row["host_ns"], row["forward_ns"], row["backward_ns"])
        cells = [str(row["calls"]), *map(format_ns, times), of(row["forward_ns"] + row["backward_ns"], total)]
        add(made, row["path"].rpartition(".")[2] if row["depth"] else row["path"], cells, row["depth"])
    more(made, len(rows) - last - 1, "modules")
    add(made, "Unattributed", ["", "", format_ns(left["time_ns"]), "", share(left["share"])])
    for key, why in (
        ("without_launch_ns", "no launch"),
        ("without_op_ns", "no op"),
        ("without_module_ns", "no module"),
    ):
        if left[key]:
            add(made, why, ["", "", format_ns(left[key]), "", of(left[key], total)], indent=1)
    return made


def _classes(found: Found, top: int) -> Table:
    rows = found["module_classes"]
    total = found["unattributed"]["time_ns"] + sum(r["self_forward_ns"] + r["self_backward_ns"] for r in rows)
    made = table("by class of module", "modules", "own time forward", "backward", "share")
    for row in rows[:top]:
        both = row["self_forward_ns"] + row["self_backward_ns"]
        cells = [str(row["modules"]), format_ns(row["self_forward_ns"]), format_ns(row["self_backward_ns"])]
        add(made, row["name"], [*cells, of(both, total)])
    more(made, len(rows) - top, "classes")
    return made


def _steps(found: Found, top: int) -> Iterator[RenderableType]:
    kernels = bool(found["kernels"]["count"])
    device = ["launched kernels", "their time", "span on the device", "began in its window", "their time"]
    made = table("step", "host time", *(device if kernels else []))
    behind = False
    for row, window in list(zip(found["steps"], found["steps_by_window"], strict=True))[:top]:
        cells = [format_ns(row["time_ns"])]
        if kernels:
            span = window["device_span_ns"]
            cells += [str(row["kernel_count"]), format_ns(row["kernel_time_ns"]), format_ns(span)]
            cells += [str(window["kernel_count"]), format_ns(window["kernel_time_ns"])]
            behind = behind or span > row["time_ns"]
        add(made, row["name"], cells)
    times = [row["time_ns"] for row in found["steps"]]
    if len(times) > top:
        more(made, len(times) - top, f"steps, of {format_ns(min(times))} to {format_ns(max(times))}")
    yield made
    if behind:
        yield Text("  the device runs behind the host: a step's host time is not its duration", style="yellow")


def _chain(chain: Found, top: int) -> Iterator[RenderableType]:
    made = table(f"critical chain of {chain['iteration']}", "count", "time")
    for row in chain["by_name"][:top]:
        add(made, row["name"], [str(row["count"]), format_ns(row["time_ns"])], indent=1)
    more(made, len(chain["by_name"]) - top, "kernels")
    yield made
    parts = {
        f"in {chain['length']} pieces of work": chain["work_ns"],
        "beside other work": chain["other_work_ns"],
        "waiting for launches": chain["waiting_for_launch_ns"],
        "latency": chain["latency_ns"],
    }
    said = ", ".join(f"{of(part, chain['span_ns'])} {what}" for what, part in parts.items() if part)
    yield Text(f"  of {format_ns(chain['span_ns'])} on device {chain['device']}: {said}")


def _memory(rows: list[Found]) -> Table:
    made = table("memory", "events", "peak allocated", "peak reserved", "growth")
    for row in rows:
        peaks = [row["peak_allocated_bytes"], row["peak_reserved_bytes"]]
        shown = ["not in this trace" if peak is None else format_bytes(peak) for peak in peaks]
        name = device_name(row["device_type"], row["device_index"])
        add(made, name, [str(row["events"]), *shown, format_bytes(row["net_bytes"])])
    return made


def _peak(row: Found, top: int) -> Iterator[Table]:
    """What was live at the peak by op, and by module where there are modules."""
    peak, name = row["peak"], device_name(row["device_type"], row["device_index"])
    whole = peak["allocated_bytes"]
    for label, holders in (("op", peak["by_op"]), ("module", peak["by_module"])):
        if label == "module" and all(holder["name"] == "Unattributed" for holder in holders):
            continue
        made = table(f"live at the peak of {name}, by {label}", "allocations", "size", "share")
        before = peak["before_trace_bytes"]
        add(made, "allocated before the trace", ["", format_bytes(before), of(before, whole)])
        for holder in holders[:top]:
            cells = [str(holder["count"]), format_bytes(holder["bytes"]), of(holder["bytes"], whole)]
            add(made, holder["name"], cells)
        rest = sum(holder["bytes"] for holder in holders[top:])
        more(made, len(holders) - top, f"{label}s", ["", format_bytes(rest), of(rest, whole)])
        add(made, "all", ["", format_bytes(whole)])
        yield made


def _not_recorded(found: Found) -> Iterator[Text]:
    """What the recording left out."""
    hints = HOW_TO_RECORD[found["source"]["format"]]
    names = [f"{'operators' if part == 'ops' else part} ({how})" for part, how in hints.items() if not found[part]]
    if names:
        yield Text()
        yield Text(f"not recorded: {', '.join(names)}", style="dim")


def _rest(made: Table, rows: list[Found], what: str, total: int) -> None:
    """What the rows that are not shown come to."""
    rest = sum(row[what] for row in rows)
    more(made, len(rows), "names", [str(sum(row["count"] for row in rows)), format_ns(rest), of(rest, total)])
