"""Nsight Systems as a program: finding ``nsys``, recording a command with it, exporting what it recorded.

Commands and paths enter; files leave, or one NsightError that says what to install or to permit. No torch.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError

OLDEST = (2022, 1)

TRACED = ("cuda", "nvtx", "osrt", "cudnn", "cublas")
"""What is traced, as far as the installed nsys has it."""

PLACES = ("/usr/local/cuda/bin/nsys", "/opt/nvidia/nsight-systems/*/bin/nsys")
"""Where NVIDIA's installers put it when it is not on the PATH."""

INSTALL = (
    "install Nsight Systems 2022.1 or newer (Debian and Ubuntu: apt-get install nsight-systems, on Debian from the "
    "components contrib and non-free; else developer.nvidia.com/nsight-systems) and put nsys on the PATH"
)

IMPORTER = (
    "nsys finds no importer for its recording: link host-linux-x64 of Nsight Systems beside its target-linux-x64 "
    "(docs/nsight.md), or install it from NVIDIA"
)

PERMISSION = (
    "nsys is not permitted to read the GPU's counters or to trace here: run as root, in a container with "
    "--cap-add=SYS_ADMIN, or let the administrator set NVreg_RestrictProfilingToAdminUsers=0 (docs/nsight.md)"
)

_VERSION = re.compile(r"version (\d+)\.(\d+)")
_OF_TRACE = re.compile(r"--trace=\s(.*?)\n\s*\n\s+-", re.DOTALL)
_CHATTER = re.compile(r"\s*(\[\d+/\d+\]|Generat(ed|ing)\b|/\S+\.(nsys-rep|sqlite|qdstrm)$|[\^~]*$)")
_FORBIDDEN = re.compile(r"ERR_NVGPUCTRPERM|insufficient privilege|permission denied|not permitted", re.IGNORECASE)

GRACE_S = 10

TAIL = 600
"""Characters of what a tool printed that an error repeats."""


@dataclass(frozen=True)
class Nsys:
    """An installed nsys that is new enough."""

    path: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return "nsys {}.{}".format(*self.version)

    def record(self, command: Sequence[str], report: Path, environment: Mapping[str, str], on_cuda: bool) -> str:
        """Run *command* under nsys once; the report is at *report* (.nsys-rep) afterwards. Returns what was printed.

        On CUDA recording begins and ends with cudaProfilerStart and Stop, elsewhere it lasts as long as the command.
        nsys sometimes writes no report (seen with 2022.4): then it is tried once more. Raises NsightError.
        """
        options = [
            f"--trace={','.join(self._traced(on_cuda))}",
            "--sample=none",  # nothing reads samples, and nsys 2022.4 was seen to hang in containers when it takes some
            "--cpuctxsw=none",
            "--force-overwrite=true",
            f"--output={report.with_suffix('')}",
        ]
        if on_cuda:
            options += ["--capture-range=cudaProfilerApi", "--capture-range-end=stop", "--cuda-graph-trace=node"]
        said = ""
        for _ in range(2):
            said = _run([self.path, "profile", *options, *command], {**os.environ, **environment})
            if report.is_file() and report.stat().st_size:
                return said
        raise NsightError(_why_no_report(said))

    def export(self, report: Path, target: Path) -> None:
        """Export a report to SQLite. Raises NsightError where nsys can't: an older one than recorded it, say."""
        options = ["--type=sqlite", "--force-overwrite=true", f"--output={target}"]
        said = _run([self.path, "export", *options, str(report)], os.environ)
        if not target.is_file() or not target.stat().st_size:
            raise NsightError(f"{report}: {self} could not export it: {last_lines(said)}")

    def _traced(self, on_cuda: bool) -> list[str]:
        """What to trace, of what this nsys lists in its help."""
        wanted = TRACED if on_cuda else ("nvtx", "osrt")
        listed = _OF_TRACE.search(_run([self.path, "profile", "--help"], os.environ))
        known = re.findall(r"'([\w-]+)'", listed[1]) if listed else []
        return [name for name in wanted if name in known or not known]


def find() -> Nsys:
    """The nsys of this machine. Raises NsightError when there is none, or one that is too old."""
    path = shutil.which("nsys") or next((str(p) for place in PLACES for p in _newest(place)), None)
    if path is None:
        raise NsightError(f"nsys was not found: {INSTALL}")
    said = _run([path, "--version"], os.environ)
    stated = _VERSION.search(said)
    if stated is None:
        raise NsightError(f"{path} does not say which version it is ({last_lines(said)}): {INSTALL}")
    version = int(stated[1]), int(stated[2])
    if version < OLDEST:
        raise NsightError("{} is version {}.{}, which is too old: {}".format(path, *version, INSTALL))
    return Nsys(path, version)


def _newest(place: str) -> list[Path]:
    return sorted(Path("/").glob(place.removeprefix("/")), reverse=True)


def _why_no_report(said: str) -> str:
    if "importer" in said.lower() and "not found" in said.lower():
        return IMPORTER
    if _FORBIDDEN.search(said):
        return f"{PERMISSION}; it said: {last_lines(said)}"
    return f"nsys wrote no report, twice; it said: {last_lines(said) or 'nothing'}"


def last_lines(said: str) -> str:
    """The end of what was printed, in one line, without progress bars and names of files."""
    text = " ".join(line.strip() for line in said.splitlines() if not _CHATTER.match(line))
    return text if len(text) <= TAIL else f"… {text[-TAIL:]}"


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command printed, whatever its exit code; an interrupt ends it and everything that it started."""
    try:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise NsightError(f"{command[0]} can't be run: {error.strerror or error}") from error
    try:
        return process.communicate()[0]
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and what it started: nsys takes its agents with it when it is asked to."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
