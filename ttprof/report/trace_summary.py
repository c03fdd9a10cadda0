"""The summary of a trace for people: the documented JSON of ``ttprof analyze`` enters, rich renderables leave.

What the trace can't say is named, not shown as zero; a table that would be empty is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report.trace_cells import add, device_name, share, table
from ttprof.units import format_bytes, format_ns

Found = dict[str, Any]

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
        yield _launches(found)
        yield _kernels(found, top)
    else:
        yield Text("no device activity in this trace", style="dim")
    if found["communication"]:
        yield _communication(found["communication"])
    if found["copies"]:
        yield _copies(found["copies"])
    if found["synchronisations"]["count"]:
        yield _synchronisations(found["synchronisations"], top)
    if found["ops"]:
        yield _ops(found, top)
    if found["modules"]:
        yield _modules(found, top)
    if found["steps"]:
        yield _steps(found)
    for chain in found["chains"]:
        yield from _chain(chain, top)
    if found["memory"]:
        yield _memory(found["memory"])
        yield from (_peak(row, top) for row in found["allocations"] if row["peak"] and row["device_type"])


def _head(found: Found) -> Text:
    source = found["source"]
    devices = ", ".join(dict.fromkeys(source["devices"])) or "no device named"
    rank = "" if source["rank"] is None else f" · rank {source['rank']}"
    return Text(f"{source['path']} · {source['format']} · {found['events']} events · {devices}{rank}", style="bold")


def _warnings(found: Found) -> Iterator[Text]:
    for reason in found["trace"]["reasons"]:
        yield Text(f"WARNING incomplete trace: {reason}", style="bold red")
    without = found["kernels"]["without_launch"]
    if without:
        yield Text(
            f"{without} kernels have no launch in this trace and belong to no step, op or module", style="yellow"
        )


def _devices(found: Found) -> Iterator[RenderableType]:
    made = table("device", "work", "time", "busy", "idle", "two at once", "span")
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
        yield Text(f"device {device['device']} is {bound['verdict']}: {shares}")
        yield from _gaps(device)


def _gaps(device: Found) -> Iterator[Text]:
    for gap in device["idle"]["longest"][:3]:
        doing = ", ".join(f"{row['name']} {format_ns(row['time_ns'])}" for row in gap["host"][:3])
        why = {True: "its next launch came late", False: "what came next was launched already", None: "no launch known"}
        text = f"  gap of {format_ns(gap['time_ns'])} at {format_ns(gap['start_ns'])}: {why[gap['launched_late']]}"
        yield Text(f"{text}{f'; the host was in {doing}' if doing else ''}", style="dim")


def _launches(found: Found) -> RenderableType:
    launches, use = found["launches"], found["efficiency"]
    parts = []
    if launches["delay"]:
        spread = launches["delay"]
        parts.append(
            f"launch to start: median {format_ns(spread['median_ns'])}, p99 {format_ns(spread['p99_ns'])}; "
            f"queue depth: median {launches['median_queue_depth']}, at most {launches['max_queue_depth']}"
        )
    if use["sm_efficiency_percent"] is not None:
        parts.append(
            f"SM efficiency {use['sm_efficiency_percent']:.0f} %, occupancy {use['occupancy_percent']:.0f} % "
            f"(estimates of the profiler, weighted by time)"
        )
    if use["tensor_core_share"] is not None:
        parts.append(f"matrix units, by kernel name: {share(use['tensor_core_share'])} of kernel time")
    return Text("\n".join(parts))


def _kernels(found: Found, top: int) -> Table:
    kernels = found["kernels"]
    made = table("kernel", "count", "time", "share", "mean", "median", "p99")
    for row in kernels["by_name"][:top]:
        spread = row["spread"]
        times = (row["mean_ns"], spread["median_ns"], spread["p99_ns"])
        cells = [str(row["count"]), format_ns(row["time_ns"]), _of(row["time_ns"], kernels["time_ns"])]
        add(made, row["name"], [*cells, *map(format_ns, times)])
    _rest(made, kernels["by_name"][top:], "time_ns", kernels["time_ns"])
    add(made, "all kernels", [str(kernels["count"]), format_ns(kernels["time_ns"])])
    return made


def _communication(found: Found) -> Text:
    return Text(
        f"collectives: {found['count']} kernels, {format_ns(found['union_ns'])}; "
        f"{_of(found['with_compute_ns'], found['union_ns'])} beside other kernels, {format_ns(found['alone_ns'])} alone"
    )


def _copies(rows: list[Found]) -> Table:
    made = table("memory copies", "count", "time", "size", "GB/s")
    for row in rows:
        size = "not stated" if row["bytes"] is None else format_bytes(row["bytes"])
        rate = "" if row["gb_per_s"] is None else f"{row['gb_per_s']:.1f}"
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
    made = table("operator", "count", "self", "share", "total", "its kernels", "kernel time")
    for row in found["ops"][:top]:
        cells = [str(row["count"]), format_ns(row["self_ns"]), _of(row["self_ns"], total), format_ns(row["time_ns"])]
        launched = [str(row["kernel_count"]), format_ns(row["kernel_ns"])] if row["kernel_count"] else ["", ""]
        add(made, row["name"], [*cells, *launched])
    _rest(made, found["ops"][top:], "self_ns", total)
    return made


def _modules(found: Found, top: int) -> Table:
    """The modules with the most device time (on a CPU: host time), in the order of the tree."""
    measure = "host_ns" if not found["kernels"]["count"] else "forward_ns"
    rows = found["modules"]
    kept = sorted(range(len(rows)), key=lambda i: -(rows[i][measure] + rows[i]["backward_ns"]))[: 2 * top]
    total = found["kernels"]["time_ns"]
    made = table("module", "calls", "host time", "kernels", "forward", "backward", "share")
    for row in (rows[i] for i in sorted(kept)):
        device = row["forward_ns"] + row["backward_ns"]
        cells = [str(row["calls"]), format_ns(row["host_ns"])]
        if total:
            cells += [str(row["kernel_count"]), format_ns(row["forward_ns"]), format_ns(row["backward_ns"])]
            cells.append(_of(device, total))
        add(made, row["path"].rpartition(".")[2] if row["depth"] else row["path"], cells, row["depth"])
    if len(rows) > len(kept):
        add(made, f"{len(rows) - len(kept)} more modules", [])
    left = found["unattributed"]
    if total:
        cells = ["", "", str(left["kernel_count"]), format_ns(left["time_ns"]), "", share(left["share"])]
        add(made, "Unattributed", cells)
    return made


def _steps(found: Found) -> Table:
    made = table("step", "host time", "kernels launched in it", "their time", "began in its window", "their time")
    for row, window in zip(found["steps"], found["steps_by_window"], strict=True):
        cells = [format_ns(row["time_ns"])]
        for each in (row, window):
            cells += [str(each["kernel_count"]), format_ns(each["kernel_time_ns"])]
        add(made, row["name"], cells)
    return made


def _chain(chain: Found, top: int) -> Iterator[RenderableType]:
    parts = (chain["work_ns"], chain["waiting_for_launch_ns"], chain["latency_ns"])
    shares = [_of(part, chain["span_ns"]) for part in parts]
    made = table(f"critical chain of {chain['iteration']}", "count", "time")
    for row in chain["by_name"][: min(top, 5)]:
        add(made, row["name"], [str(row["count"]), format_ns(row["time_ns"])], indent=1)
    yield made
    yield Text(
        f"  of {format_ns(chain['span_ns'])} on device {chain['device']}: {shares[0]} in {chain['length']} pieces of "
        f"work, {shares[1]} waiting for launches, {shares[2]} latency"
    )


def _memory(rows: list[Found]) -> Table:
    made = table("memory", "events", "peak allocated", "peak reserved", "net")
    for row in rows:
        peaks = [row["peak_allocated_bytes"], row["peak_reserved_bytes"]]
        shown = ["not in this trace" if peak is None else format_bytes(peak) for peak in peaks]
        name = device_name(row["device_type"], row["device_index"])
        add(made, name, [str(row["events"]), *shown, format_bytes(row["net_bytes"])])
    return made


def _peak(row: Found, top: int) -> Table:
    """What was live at the peak, and how much was allocated in all."""
    peak, name = row["peak"], device_name(row["device_type"], row["device_index"])
    made = table(f"live at the peak of {name}, {format_bytes(peak['allocated_bytes'])}", "allocations", "size")
    add(made, "allocated before the trace", ["", format_bytes(peak["before_trace_bytes"])], indent=1)
    for label, holders in (("op", peak["by_op"]), ("module", peak["by_module"])):
        if label == "module" and len(holders) < 2:  # none, or all Unattributed
            continue
        for holder in holders[: min(top, 5)]:
            add(made, f"{label} {holder['name']}", [str(holder["count"]), format_bytes(holder["bytes"])], indent=1)
    add(made, "allocated in all", [str(row["allocations"]), format_bytes(row["allocated_bytes"])], indent=1)
    return made


def _of(part: float, whole: float) -> str:
    return share(part / whole if whole else None)


def _rest(made: Table, rows: list[Found], what: str, total: int) -> None:
    """What the rows that are not shown come to."""
    if rows:
        rest = sum(row[what] for row in rows)
        count = str(sum(row["count"] for row in rows))
        add(made, f"{len(rows)} more", [count, format_ns(rest), _of(rest, total)])
