"""Draws the NVTX ranges of an Nsight Systems recording as tables.

Ranges from PyTorch's ``emit_nvtx``, one per call of an op, are left to the table of operators.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from ttprof.report.trace_cells import add, add_rest, percent_of, table
from ttprof.trace.analyses.nvtx import NvtxRanges
from ttprof.trace.analyses.tables import Named
from ttprof.units import format_ns


def tables(nvtx: NvtxRanges, kernel_time_ns: int, top: int) -> Iterator[Table]:
    """Kernel time by range if the recording has kernels, else the time of the ranges; nothing without ranges."""
    launching = _without_ops(nvtx.kernel_time_by_range)
    ranges = _without_ops(nvtx.time_by_range)
    if launching:
        yield _kernel_time(launching, nvtx.kernels_in_no_range, kernel_time_ns, top)
    elif ranges:
        yield _host_time(ranges, top)


def _without_ops(rows: list[Named]) -> list[Named]:
    return [row for row in rows if ", op_id = " not in row.name]


def _host_time(ranges: list[Named], top: int) -> Table:
    rows = table("NVTX range", "ranges", "host time", "mean")
    for row in ranges[:top]:
        add(rows, row.name, [str(row.count), format_ns(row.time_ns), format_ns(row.time_ns / row.count)])
    add_rest(rows, len(ranges) - top, "name")
    return rows


def _kernel_time(ranges: list[Named], outside: tuple[int, int], total_ns: int, top: int) -> Table:
    """A kernel counts in every range that was open at its launch, so the shares can add up to more than 100 %."""
    rows = table("launched in NVTX range", "kernels", "kernel time", "share")
    for row in ranges[:top]:
        add(rows, row.name, [str(row.count), format_ns(row.time_ns), percent_of(row.time_ns, total_ns)])
    add_rest(rows, len(ranges) - top, "name")
    count, time_ns = outside
    if count:
        add(rows, "in no range", [str(count), format_ns(time_ns), percent_of(time_ns, total_ns)])
    return rows
