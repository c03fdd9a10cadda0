"""The NVTX ranges of a recording for people: their part of the JSON of ``ttprof analyze`` enters, tables leave.

Ranges that PyTorch's ``emit_nvtx`` made, one for each call of an op, are left to the table of operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ttprof.report.trace_cells import add, more, of, table
from ttprof.units import format_ns

Found = dict[str, Any]


def tables(nvtx: Found, kernel_time_ns: int, top: int) -> Iterator[Table]:
    """Kernel time by range where there are kernels, else the time of the ranges themselves; none without ranges."""
    launched, own = (_not_of_ops(nvtx[key]) for key in ("kernel_time_by_range", "time_by_range"))
    if launched:
        yield _kernel_time(launched, nvtx["kernels_in_no_range"], kernel_time_ns, top)
    elif own:
        made = table("NVTX range", "ranges", "host time", "mean")
        for row in own[:top]:
            cells = [str(row["count"]), format_ns(row["time_ns"]), format_ns(row["time_ns"] / row["count"])]
            add(made, row["name"], cells)
        more(made, len(own) - top, "names")
        yield made


def _not_of_ops(rows: list[Found]) -> list[Found]:
    return [row for row in rows if ", op_id = " not in row["name"]]


def _kernel_time(rows: list[Found], outside: list[int], total: int, top: int) -> Table:
    """A kernel counts in every range that was open at its launch: the shares add up to more than the whole."""
    made = table("launched within NVTX range", "kernels", "their time", "share")
    for row in rows[:top]:
        add(made, row["name"], [str(row["count"]), format_ns(row["time_ns"]), of(row["time_ns"], total)])
    more(made, len(rows) - top, "names")
    count, time_ns = outside
    if count:
        add(made, "in no range", [str(count), format_ns(time_ns), of(time_ns, total)])
    return made
