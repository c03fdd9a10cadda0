"""The table of backends: what records a workload, and what reads the recording.

A new backend is a collector, a reader if its format is new, and one row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import UnknownNameError
from ttprof.run.base import Collector
from ttprof.run.torch_profiler import TorchProfilerCollector
from ttprof.trace import kineto
from ttprof.trace.events import Trace


@dataclass(frozen=True)
class Backend:
    """One row: *collector* makes a collector, *reader* reads what it wrote, *suffix* ends the file's name."""

    name: str
    collector: Callable[[], Collector]
    reader: Callable[[Path], Trace]
    suffix: str


BACKENDS = {
    row.name: row
    for row in (
        Backend(
            name="torch",
            collector=TorchProfilerCollector,
            reader=kineto.read,
            suffix=".pt.trace.json.gz",
        ),
    )
}


def find(name: str) -> Backend:
    """The backend called *name*; UnknownNameError lists the backends otherwise."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    return BACKENDS[name]
