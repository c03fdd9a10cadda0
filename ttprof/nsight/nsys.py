"""Runs Nsight Systems (``nsys``): records a command, and exports the recording to SQLite."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.tool import Start, ToolSpec

NSYS = ToolSpec(
    program="nsys",
    oldest=(2022, 1),
    places=("/usr/local/cuda/bin/nsys", "/opt/nvidia/nsight-systems/*/bin/nsys"),
    install="install Nsight Systems 2022.1 or newer (Debian and Ubuntu: apt-get install nsight-systems, on Debian from "
    "the components contrib and non-free; else developer.nvidia.com/nsight-systems) and put nsys on the PATH",
)

TRACED = ("cuda", "nvtx", "osrt", "cudnn", "cublas")
"""The APIs to trace, as far as the installed nsys supports them."""

IMPORTER = (
    "nsys finds no importer for its recording: link host-linux-x64 of Nsight Systems next to its target-linux-x64 "
    "(docs/nsight.md), or install it from NVIDIA"
)

ATTEMPTS = 2
"""nsys 2022.4 sometimes writes no report, but does so on the next attempt."""

_OF_TRACE = re.compile(r"--trace=\s(.*?)\n\s*\n\s+-", re.DOTALL)


@dataclass(frozen=True)
class Nsys:
    """An installed nsys that is new enough."""

    path: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return "nsys {}.{}".format(*self.version)

    def record(self, start: Start, report: Path, on_cuda: bool) -> str:
        """Run a command under nsys, write the report to *report* (.nsys-rep), and return the output.

        With *on_cuda*, it records from cudaProfilerStart to Stop; otherwise it records the entire command.

        Raises:
            NsightError: there is no report after a second attempt; says what to install or to permit.
        """
        options = [
            f"--trace={','.join(self._traced(on_cuda))}",
            "--sample=none",  # nothing reads samples, and nsys 2022.4 can hang in containers when it takes them
            "--cpuctxsw=none",
            "--force-overwrite=true",
            f"--output={report.absolute().with_suffix('')}",
        ]
        if on_cuda:
            options += ["--capture-range=cudaProfilerApi", "--capture-range-end=stop", "--cuda-graph-trace=node"]
        output = ""
        for _ in range(ATTEMPTS):
            output = tool.run([self.path, "profile", *options, *start.command], start)
            if report.is_file() and report.stat().st_size:
                return output
        no_importer = "importer" in output.lower() and "not found" in output.lower()  # nsys has no exit code for it
        raise NsightError(IMPORTER if no_importer else tool.explain_failure("nsys", output))

    def export(self, report: Path, target: Path) -> None:
        """Export a report to SQLite. Raises NsightError if nsys can't, for example if it is older than the report."""
        options = ["--type=sqlite", "--force-overwrite=true", f"--output={target}"]
        output = tool.run([self.path, "export", *options, str(report)])
        if not target.is_file() or not target.stat().st_size:
            raise NsightError(f"{report}: {self} could not export it: {tool.last_lines(output)}")

    def _traced(self, on_cuda: bool) -> list[str]:
        """The APIs to trace that this nsys lists in its help."""
        apis = TRACED if on_cuda else ("nvtx", "osrt")
        help_text = _OF_TRACE.search(tool.ask([self.path, "profile", "--help"]))
        supported = re.findall(r"'([\w-]+)'", help_text[1]) if help_text else []
        return [name for name in apis if name in supported or not supported]


def find() -> Nsys:
    """The installed nsys. Raises NsightError if it is missing or too old."""
    return Nsys(*tool.find(NSYS))
