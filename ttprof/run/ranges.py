"""What the second process does under Nsight: it runs workloads inside NVTX ranges, and starts no profiler of its own.

Workloads enter; ranges of case, trial, iteration and module leave for whoever watches the process, and for the first
process a note of what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import torch

from ttprof.errors import NsightError
from ttprof.nsight import rerun, tool
from ttprof.nsight.nsys import Nsys
from ttprof.nsight.rerun import Answer, Recorded
from ttprof.run.annotate import annotated
from ttprof.run.base import Recording, SuiteRecording, Workload
from ttprof.run.iteration import Ranged, columns, iterate
from ttprof.spec import Schedule
from ttprof.trial_key import TrialKey

CASE, TRIAL = "ttprof.case#", "ttprof.trial#"

PLAIN = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What stays as it is in the name of a trial's range, besides letters and digits: tools keep ASCII only."""

FEWEST_WARMUPS = 3
"""No timing went before in this process: libraries choose their kernels in the first calls."""

SILENT_NVTX = (0, 2, 12)
"""From this version on, ``nvtx`` asks whether its domain is enabled, which nsys 2022.4 and 2023.4 answer with no."""

ANSWERING_NSYS = (2024, 1)

INSTALL = 'pip install "ttprof[nsys]"'


class RangeCollector:
    """Runs workloads inside ranges; ``answer`` says what was run. Where kernels are *replayed*, one iteration does."""

    def __init__(self, suite: SuiteRecording, replayed: bool) -> None:
        self._suite = suite
        self._replayed = replayed
        self.folder = suite.folder
        self._ranged = nvtx_ranges()
        self.answer = Answer()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, Nsight records the suite, where it waits for CUDA to say so."""
        with nullcontext() if self._replayed else self._captured():
            yield

    @contextmanager
    def _captured(self) -> Iterator[None]:
        on_cuda = self._suite.device.type == "cuda"
        if on_cuda:
            torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            if on_cuda:
                torch.cuda.synchronize()
                torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]

    def case(self, name: str) -> AbstractContextManager[object]:
        """The range of a case."""
        return self._ranged(CASE + name)

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        """Warm up, then run the recorded iterations inside the range of the trial. Nothing is written to *path*."""
        iterations = 1 if self._replayed else schedule.recorded
        with annotated(workload.modules, self._ranged):
            for _ in range(max(schedule.warmup, FEWEST_WARMUPS)):
                if workload.before is not None:
                    workload.before()
                workload.call()
            with self._captured() if self._replayed else nullcontext(), self._ranged(trial_range(workload.key)):
                peaks = [iterate(workload, number, self._ranged) for number in range(iterations)]
        found = columns(peaks, workload.device)
        listed = [None if column is None else column.tolist() for column in found]
        self.answer.trials[str(workload.key)] = Recorded(workload.what, iterations, *listed)
        return Recording(path, iterations, 0.0, *found)


def trial_range(key: TrialKey) -> str:
    """The name of the range that a trial is recorded in."""
    return range_of(str(key))


def range_of(trial: str) -> str:
    """The name of the range of a trial whose key reads *trial*."""
    return TRIAL + quote(trial, safe=PLAIN, errors="replace")


def answer(folder: Path, said: str) -> Answer:
    """What the second process, which printed *said*, left in *folder*. Raises NsightError when it did not get there."""
    found = rerun.answer(folder)
    if found is None:
        why = tool.last_lines(said) or "it printed nothing"
        raise NsightError(f"the second run of the script ended before the suite: {why}")
    return found


def nvtx_ranges() -> Ranged:
    """What makes NVTX ranges: torch where it is built for CUDA, else the package ``nvtx``. Raises NsightError."""
    if torch.version.cuda is not None:
        return _torch_range
    try:
        import nvtx
    except ImportError as error:
        raise NsightError(
            f"this torch was built without CUDA, so that NVTX ranges need a package: {INSTALL}"
        ) from error
    return nvtx.annotate  # type: ignore[no-any-return]


@contextmanager
def _torch_range(name: str) -> Iterator[None]:
    torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]


def check(nsys: Nsys) -> None:
    """Raise NsightError where NVTX ranges can't be made, or are known not to be recorded by this nsys."""
    if torch.version.hip is not None:
        raise NsightError("Nsight records NVIDIA devices only, and this torch was built for ROCm: use backend='torch'")
    nvtx_ranges()
    if torch.version.cuda is not None or nsys.version >= ANSWERING_NSYS:
        return
    try:
        found = version("nvtx")
    except PackageNotFoundError:
        return
    if tuple(int(part) for part in found.split(".")[:3] if part.isdecimal()) >= SILENT_NVTX:
        raise NsightError(f"{nsys} records no range of nvtx {found}: {INSTALL} brings an older one that it records")
