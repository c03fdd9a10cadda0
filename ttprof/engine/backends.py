"""The table of backends: each pairs a collector, which records workloads, with a reader of its recordings.

To add a backend, write a collector, a reader if its format is new, and one row. Collectors need torch and are imported
on use, so that the command line can list the backends without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttprof.errors import NsightError, UnknownNameError
from ttprof.nsight.compute_report import slowest_in_range
from ttprof.trace.correlate import launch_index
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.formats import kineto, kineto_writer, nsys_sqlite

if TYPE_CHECKING:
    from ttprof.run.base import Collector, SuiteRecording
    from ttprof.spec import SuiteSpec


@dataclass(frozen=True)
class Backend:
    """One row: *collector* creates the collector of a suite, *reader* reads the recording of one trial.

    *ready* is called before anything is timed and raises if recording is impossible. *once* marks a backend that
    records the suite as a whole, so that no trial can be recorded again. *allocations* says whether its traces contain
    the events of torch's allocator.
    """

    name: str
    collector: Callable[[SuiteRecording], Collector]
    reader: Callable[[Path], Trace]
    ready: Callable[[SuiteSpec], None] = lambda suite: None
    once: bool = False
    allocations: bool = True


def _torch(suite: SuiteRecording) -> Collector:
    from ttprof.run.torch_profiler import TorchProfilerCollector

    return TorchProfilerCollector()


def _nsys(suite: SuiteRecording) -> Collector:
    from ttprof.run.nsys import NsysCollector

    return NsysCollector(suite, cut_trial, nsys_sqlite.closed_ranges)


def _ncu(suite: SuiteRecording) -> Collector:
    from ttprof.run.ncu import NcuCollector

    return NcuCollector(suite, _torch(suite), slowest_in_range)


def _nsys_ready(suite: SuiteSpec) -> None:
    from ttprof.run import nsys

    nsys.ready(suite)


def _ncu_ready(suite: SuiteSpec) -> None:
    from ttprof.run import ncu

    ncu.ready(suite)


def cut_trial(export: Path, name: str, path: Path) -> None:
    """Write the part of an nsys export within the range *name* as a trace; NsightError if there is no such range."""
    window = nsys_sqlite.range_window(export, name)
    if window is None:
        raise NsightError(
            f"{export} holds no range {name!r}: nsys did not record NVTX (docs/nsight.md says which versions of the "
            "package nvtx it records), or its recording broke off"
        )
    trace = nsys_sqlite.read(export, window)
    copies = Spans.concat((trace.memcpy, trace.memset))
    work = Spans.concat(
        (trace.kernels, copies.where(copies.correlation != UNKNOWN))
    )  # copies that the driver issues have no id
    unlaunched = int((launch_index(work, trace) == UNKNOWN).sum())
    if unlaunched:  # the device is idle at both ends of a trial, so everything in it was launched in it
        raise NsightError(
            f"{export} lost calls: {unlaunched} of {len(work)} kernels and copies of {name!r} have no launch"
        )
    kineto_writer.write(trace, path)


BACKENDS = {
    row.name: row
    for row in (
        Backend("torch", _torch, kineto.read),
        Backend("nsys", _nsys, kineto.read, ready=_nsys_ready, once=True, allocations=False),
        Backend("ncu", _ncu, kineto.read, ready=_ncu_ready),
    )
}


def find(name: str) -> Backend:
    """The backend called *name*. Raises UnknownNameError, which lists the backends, if there is none."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return BACKENDS[name]
