"""Pass 2 with torch.profiler: records a workload by ``schedule(wait=0, warmup=W, active=N, repeat=1)``.

The result is one gzipped Kineto file, in which each active iteration is annotated.
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
from torch.profiler import profile, schedule

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.observation import Recording
from ttprof.run.annotate import annotated
from ttprof.run.base import Workload
from ttprof.run.compilation import entries_in_range
from ttprof.run.devices import driver
from ttprof.run.iteration import Peaks, columns, iterate
from ttprof.spec import Schedule

GZIP_LEVEL = 3
"""torch's own level 9 takes ten times as long for a file a quarter smaller."""

SINGLE_PROCESS = {"backend": "none", "rank": 0, "world_size": 1}
"""The ``distributedInfo`` of a process without a process group; Holistic Trace Analysis requires it in every trace."""

KINETO_SILENT = "6"
"""One above Kineto's highest log level: its log lines would mix with the report."""


class TorchProfilerCollector:
    """Records with torch.profiler; *session* is what makes the profiler, so that tests can replace it."""

    def __init__(self, session: Callable[..., Any] = profile) -> None:
        self._session = session

    def record(self, workload: Workload, schedule_: Schedule, path: Path) -> Recording:
        """Run ``warmup`` iterations unrecorded and ``recorded`` ones recorded; write the trace to *path* (.json.gz)."""
        peaks: list[Peaks] = []
        exports: list[float] = []
        recorder = self._session(
            activities=driver(workload.device).activities(),
            schedule=schedule(wait=0, warmup=schedule_.warmup, active=schedule_.recorded, repeat=1),
            on_trace_ready=lambda session: exports.append(_export(session, path)),
            profile_memory=True,
            record_shapes=True,
        )
        if not _in_process_group():  # in one, torch writes the rank itself
            recorder.preset_metadata_json("distributedInfo", json.dumps(SINGLE_PROCESS))
        with (
            entries_in_range((module for _, module in workload.modules), record_function),
            annotated(workload.modules, record_function),
            _quiet_kineto(),
            _without_inductor(),
            recorder as session,
        ):
            for i in range(schedule_.warmup + schedule_.recorded):
                with _alone():
                    peaks.append(iterate(workload, i - schedule_.warmup, record_function))
                session.step()
        peak_columns = columns(peaks[schedule_.warmup :])
        return Recording(path, schedule_.recorded, sum(exports), *peak_columns)


@contextmanager
def _alone() -> Iterator[None]:
    """Refuse a profiler that the module starts within the context: torch crashes on one inside another."""
    started_by = {name: getattr(torch.autograd.profiler, name) for name in ("_prepare_profiler", "_enable_profiler")}
    try:
        for name in started_by:
            setattr(torch.autograd.profiler, name, _refuse)
        yield
    finally:
        for name, function in started_by.items():
            setattr(torch.autograd.profiler, name, function)


def _refuse(*arguments: object, **options: object) -> None:
    raise RuntimeError("it starts a profiler of its own, which torch can't run while ttprof records")


def _in_process_group() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()


def _export(session: Any, path: Path) -> float:
    """Write the compressed trace atomically, through a temporary file. Returns the seconds it took.

    Raises TraceError if the file can't be written.
    """
    start = time.perf_counter()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ttprof-") as folder:
            plain, packed = Path(folder, "trace.json"), Path(folder, "trace.json.gz")
            session.export_chrome_trace(str(plain))
            with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=GZIP_LEVEL) as target:
                shutil.copyfileobj(source, target)
            packed.replace(path)
    except OSError as error:
        raise TraceError(error.strerror or str(error), TraceErrorCode.UNWRITABLE, path) from error
    return time.perf_counter() - start


@contextmanager
def _quiet_kineto() -> Iterator[None]:
    """Silence Kineto's start and stop messages, unless the user has set a log level."""
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
    """Keep torch.profiler from importing torch._inductor before anything has been compiled.

    The profiler only checks whether inductor's CUDA graphs are on, and the import takes over a second.
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
