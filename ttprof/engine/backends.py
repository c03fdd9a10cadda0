"""The table of backends: what records a workload, and what reads the recording.

A new backend is a collector, a reader if its format is new, and one row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError, UnknownNameError
from ttprof.nsight.compute_report import explain
from ttprof.run import ncu, nsys
from ttprof.run.base import Collector, Run
from ttprof.run.ncu import NcuCollector
from ttprof.run.nsys import NsysCollector
from ttprof.run.torch_profiler import TorchProfilerCollector
from ttprof.spec import SuiteSpec
from ttprof.trace.correlate import launch_index
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.formats import kineto, kineto_writer, nsys_sqlite


@dataclass(frozen=True)
class Backend:
    """One row: *collector* makes what records a run, *reader* reads what it wrote of a trial.

    *ready* raises where nothing could be recorded, before anything is timed. *once*: all is recorded at once, so that
    no trial can be recorded again. *allocations*: its traces hold the events of torch's allocator.
    """

    name: str
    collector: Callable[[Run], Collector]
    reader: Callable[[Path], Trace]
    ready: Callable[[SuiteSpec], None] = lambda suite: None
    once: bool = False
    allocations: bool = True


def _cut(export: Path, name: str, path: Path) -> None:
    """Write the trace of what an export holds within a range. Raises NsightError where it has no such range."""
    window = nsys_sqlite.range_window(export, name)
    if window is None:
        raise NsightError(
            f"{export} holds no range {name!r}: nsys did not record NVTX (docs/nsight.md says which versions of the "
            "package nvtx it records), or its recording broke off"
        )
    trace = nsys_sqlite.read(export, window)
    copies = Spans.concat((trace.memcpy, trace.memset))
    work = Spans.concat((trace.kernels, copies.where(copies.correlation != UNKNOWN)))  # the driver's own have no id
    without = int((launch_index(work, trace) == UNKNOWN).sum())
    if without:  # a trial begins and ends with nothing under way: what runs in it was launched in it
        raise NsightError(
            f"{export} lost calls: {without} of {len(work)} kernels and copies of {name!r} have no launch"
        )
    kineto_writer.write(trace, path)


BACKENDS = {
    row.name: row
    for row in (
        Backend("torch", lambda run: TorchProfilerCollector(), kineto.read),
        Backend(
            "nsys",
            lambda run: NsysCollector(run, _cut, nsys_sqlite.closed_ranges),
            kineto.read,
            ready=nsys.ready,
            once=True,
            allocations=False,
        ),
        Backend("ncu", lambda run: NcuCollector(run, TorchProfilerCollector(), explain), kineto.read, ready=ncu.ready),
    )
}


def find(name: str) -> Backend:
    """The backend called *name*; UnknownNameError lists the backends otherwise."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return BACKENDS[name]
