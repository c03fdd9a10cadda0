"""The collector of the second process, which Nsight watches: runs workloads inside NVTX ranges, without a profiler.

There is a range for each case, trial, iteration and module. An answer tells the first process which trials ran.
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
from ttprof.observation import Recording
from ttprof.run.annotate import annotated
from ttprof.run.base import SuiteRecording, Workload
from ttprof.run.iteration import Ranged, columns, iterate
from ttprof.spec import Schedule
from ttprof.trial_key import TrialKey

CASE, TRIAL = "ttprof.case#", "ttprof.trial#"

PLAIN = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Characters, besides letters and digits, that are not quoted in a range's name: the tools keep only ASCII."""

MIN_WARMUPS = 3
"""No timing has warmed up this process, and libraries choose their kernels in the first calls."""

SILENT_NVTX = (0, 2, 12)
"""Since this version, ``nvtx`` asks whether its domain is enabled; nsys 2022.4 and 2023.4 answer no."""

ANSWERING_NSYS = (2024, 1)
"""The first nsys that answers this question with yes."""

INSTALL = 'pip install "ttprof[nsys]"'


class RangeCollector:
    """Runs workloads inside ranges and lists them in ``answer``; one iteration each if kernels are *replayed*."""

    def __init__(self, suite: SuiteRecording, replayed: bool) -> None:
        self._suite = suite
        self._replayed = replayed
        self.folder = suite.folder
        self._ranged = nvtx_ranges()
        self.answer = Answer()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Let Nsight record the suite within the context; on CUDA it waits for the profiler API."""
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
            for _ in range(max(schedule.warmup, MIN_WARMUPS)):
                if workload.before is not None:
                    workload.before()
                workload.call()
            with self._captured() if self._replayed else nullcontext(), self._ranged(trial_range(workload.key)):
                peaks = [iterate(workload, number, self._ranged) for number in range(iterations)]
        peak_columns = columns(peaks)
        peak_lists = [None if column is None else column.tolist() for column in peak_columns]
        self.answer.trials[str(workload.key)] = Recorded(workload.what, iterations, *peak_lists)
        return Recording(path, iterations, 0.0, *peak_columns)


def trial_range(key: TrialKey) -> str:
    """The name of the range around the recorded iterations of a trial."""
    return range_of(str(key))


def range_of(trial: str) -> str:
    """The range name of the trial whose key is *trial* as a string."""
    return TRIAL + quote(trial, safe=PLAIN, errors="replace")


def answer(folder: Path, output: str) -> Answer:
    """The second process's answer in *folder*. Raises NsightError, with the end of its *output*, if there is none."""
    result = rerun.read_answer(folder)
    if result is None:
        why = tool.last_lines(output) or "it printed nothing"
        raise NsightError(f"the second run of the script ended before the suite: {why}")
    return result


def nvtx_ranges() -> Ranged:
    """The NVTX range factory: torch's if built for CUDA, else that of ``nvtx``. Raises NsightError without either."""
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
    """Raise NsightError if NVTX ranges can't be created, or if this nsys is known not to record them."""
    if torch.version.hip is not None:
        raise NsightError("Nsight records NVIDIA devices only, and this torch was built for ROCm: use backend='torch'")
    nvtx_ranges()
    if torch.version.cuda is not None or nsys.version >= ANSWERING_NSYS:
        return
    try:
        installed = version("nvtx")
    except PackageNotFoundError:
        return
    if tuple(int(part) for part in installed.split(".")[:3] if part.isdecimal()) >= SILENT_NVTX:
        raise NsightError(f"{nsys} records no range of nvtx {installed}: {INSTALL} brings an older one that it records")
