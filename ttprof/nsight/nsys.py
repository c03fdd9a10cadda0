"""Nsight Systems as a program: recording a command with ``nsys``, and exporting what it recorded.

Commands and paths enter; files leave, or one NsightError that says what to install or to permit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.tool import Start, Wanted

NSYS = Wanted(
    program="nsys",
    oldest=(2022, 1),
    places=("/usr/local/cuda/bin/nsys", "/opt/nvidia/nsight-systems/*/bin/nsys"),
    install="install Nsight Systems 2022.1 or newer (Debian and Ubuntu: apt-get install nsight-systems, on Debian from "
    "the components contrib and non-free; else developer.nvidia.com/nsight-systems) and put nsys on the PATH",
)

TRACED = ("cuda", "nvtx", "osrt", "cudnn", "cublas")
"""What is traced, as far as the installed nsys has it."""

IMPORTER = (
    "nsys finds no importer for its recording: link host-linux-x64 of Nsight Systems beside its target-linux-x64 "
    "(docs/nsight.md), or install it from NVIDIA"
)

ATTEMPTS = 2
"""nsys 2022.4 was seen to write no report, and to write one the next time."""

_OF_TRACE = re.compile(r"--trace=\s(.*?)\n\s*\n\s+-", re.DOTALL)


@dataclass(frozen=True)
class Nsys:
    """An installed nsys that is new enough."""

    path: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return "nsys {}.{}".format(*self.version)

    def record(self, start: Start, report: Path, on_cuda: bool) -> str:
        """Start a command under nsys; the report is at *report* (.nsys-rep) afterwards. Returns what was printed.

        On CUDA recording begins and ends with cudaProfilerStart and Stop, elsewhere it lasts as long as the command.
        Raises NsightError where there is still no report after a second attempt.
        """
        options = [
            f"--trace={','.join(self._traced(on_cuda))}",
            "--sample=none",  # nothing reads samples, and nsys 2022.4 was seen to hang in containers when it takes some
            "--cpuctxsw=none",
            "--force-overwrite=true",
            f"--output={report.absolute().with_suffix('')}",
        ]
        if on_cuda:
            options += ["--capture-range=cudaProfilerApi", "--capture-range-end=stop", "--cuda-graph-trace=node"]
        said = ""
        for _ in range(ATTEMPTS):
            said = tool.run([self.path, "profile", *options, *start.command], start)
            if report.is_file() and report.stat().st_size:
                return said
        no_importer = "importer" in said.lower() and "not found" in said.lower()
        raise NsightError(IMPORTER if no_importer else tool.why("nsys", said))

    def export(self, report: Path, target: Path) -> None:
        """Export a report to SQLite. Raises NsightError where nsys can't: an older one than recorded it, say."""
        options = ["--type=sqlite", "--force-overwrite=true", f"--output={target}"]
        said = tool.run([self.path, "export", *options, str(report)])
        if not target.is_file() or not target.stat().st_size:
            raise NsightError(f"{report}: {self} could not export it: {tool.last_lines(said)}")

    def _traced(self, on_cuda: bool) -> list[str]:
        """What to trace, of what this nsys lists in its help."""
        wanted = TRACED if on_cuda else ("nvtx", "osrt")
        listed = _OF_TRACE.search(tool.run([self.path, "profile", "--help"]))
        known = re.findall(r"'([\w-]+)'", listed[1]) if listed else []
        return [name for name in wanted if name in known or not known]


def find() -> Nsys:
    """The nsys of this machine. Raises NsightError when there is none, or one that is too old."""
    return Nsys(*tool.find(NSYS))
