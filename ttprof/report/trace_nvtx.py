"""Draws NVTX ranges of Nsight Systems, and annotations of torch.profiler, as tables.

Ranges from PyTorch's ``emit_nvtx``, one per call of an op, are left to the table of operators.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from ttprof.report.trace_cells import add, add_rest, percent_of, table
from ttprof.trace.analyses.nvtx import Ranges
from ttprof.trace.analyses.tables import Named
from ttprof.units import format_ns


def tables(found: Ranges, noun: str, kernel_time_ns: int, top: int) -> Iterator[Table]:
    """Kernel time by range if the recording has kernels, else the time of the ranges; nothing without ranges."""
    launching = _without_ops(found.kernel_time_by_range)
    ranges = _without_ops(found.time_by_range)
    if launching:
        yield _kernel_time(launching, found, noun, kernel_time_ns, top)
    elif ranges:
        yield _host_time(ranges, noun, top)


def _without_ops(rows: list[Named]) -> list[Named]:
    return [row for row in rows if ", op_id = " not in row.name]


def _host_time(ranges: list[Named], noun: str, top: int) -> Table:
    rows = table(noun, "ranges", "host time", "mean")
    for row in ranges[:top]:
        add(rows, row.name, [str(row.count), format_ns(row.time_ns), format_ns(row.time_ns / row.count)])
    add_rest(rows, len(ranges) - top, "name")
    return rows


def _kernel_time(ranges: list[Named], found: Ranges, noun: str, total_ns: int, top: int) -> Table:
    """A kernel counts in every range that was open at its launch, so the shares can add up to more than 100 %."""
    host_ns = {row.name: row.time_ns for row in found.time_by_range}
    rows = table(f"launched in {noun}", "kernels", "kernel time", "share", "host time")
    for row in ranges[:top]:
        cells = [str(row.count), format_ns(row.time_ns), percent_of(row.time_ns, total_ns)]
        add(rows, row.name, [*cells, format_ns(host_ns.get(row.name, 0))])
    add_rest(rows, len(ranges) - top, "name")
    count, time_ns = found.kernels_in_no_range
    if count:
        add(rows, "in no range", [str(count), format_ns(time_ns), percent_of(time_ns, total_ns)])
    return rows
