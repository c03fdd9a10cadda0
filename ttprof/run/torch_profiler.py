"""Pass 2 with torch.profiler: a case becomes ``schedule(wait=0, warmup=W, active=N, repeat=1)``.

A workload enters; one gzipped Kineto file leaves, in which each active iteration is annotated.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile, schedule

from ttprof.run.annotate import annotated
from ttprof.run.base import Recording, Workload
from ttprof.run.iteration import Peaks, columns, iterate
from ttprof.spec import Schedule

GZIP_LEVEL = 3
"""Level 9, which torch uses, takes ten times as long for a file a quarter smaller."""


ALONE = {"backend": "none", "rank": 0, "world_size": 1}
"""What Holistic Trace Analysis wants of every trace, of a process without others."""

KINETO_SILENT = "6"
"""One above the highest level of Kineto's log, whose lines would mix with the report."""


class TorchProfilerCollector:
    """Records with torch.profiler; the session is a parameter so that tests can do without one."""

    def __init__(self, session: Callable[..., Any] = profile) -> None:
        self._session = session

    def record(self, workload: Workload, schedule_: Schedule, path: Path) -> Recording:
        """Run ``warmup`` unrecorded and ``recorded`` recorded iterations; write the trace to *path* (.json.gz)."""
        peaks: list[Peaks] = []
        exports: list[float] = []
        recorder = self._session(
            activities=_activities(workload.device),
            schedule=schedule(wait=0, warmup=schedule_.warmup, active=schedule_.recorded, repeat=1),
            on_trace_ready=lambda session: exports.append(_export(session, path)),
            profile_memory=True,
            record_shapes=True,
        )
        if not _in_a_process_group():  # torch writes the rank itself there
            recorder.preset_metadata_json("distributedInfo", json.dumps(ALONE))
        with annotated(workload.modules, record_function), _quiet_kineto(), _without_inductor(), recorder as session:
            for i in range(schedule_.warmup + schedule_.recorded):
                peaks.append(iterate(workload, i - schedule_.warmup, record_function))
                session.step()
        found = columns(peaks[schedule_.warmup :], workload.device)
        return Recording(path, schedule_.recorded, sum(exports), *found)


def _in_a_process_group() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])


def _export(session: Any, path: Path) -> float:
    """Write the trace whole or not at all: to a temporary file, then compressed under its name.

    Returns the seconds that it took.
    """
    start = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ttprof-") as folder:
        plain, packed = Path(folder, "trace.json"), Path(folder, "trace.json.gz")
        session.export_chrome_trace(str(plain))
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=GZIP_LEVEL) as target:
            shutil.copyfileobj(source, target)
        packed.replace(path)
    return time.perf_counter() - start


@contextmanager
def _quiet_kineto() -> Iterator[None]:
    """Keep Kineto's start and stop lines off the terminal, unless the user chose a log level."""
    name = "KINETO_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = KINETO_SILENT
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextmanager
def _without_inductor() -> Iterator[None]:
    """Keep torch.profiler from importing torch._inductor when nothing has compiled anything yet.

    It does so only to ask whether CUDA graphs of compiled code are on, and the import takes over a second.
    """
    lazy = getattr(torch, "_lazy_modules", None)
    if "torch._inductor" in sys.modules or not isinstance(lazy, set) or "_inductor" not in lazy:
        yield
        return
    lazy.discard("_inductor")
    try:
        yield
    finally:
        lazy.add("_inductor")
