"""Nsight Compute as a program: profiling the kernels of a command with ``ncu``.

A command and the names of kernels enter; a report leaves, or one NsightError that says what to install or to permit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.tool import Start, Wanted

NCU = Wanted(
    program="ncu",
    oldest=(2022, 1),
    places=("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu"),
    install="install Nsight Compute 2022.1 or newer (it comes with the CUDA toolkit; Debian: apt-get install "
    "nsight-compute; else developer.nvidia.com/nsight-compute) and put ncu on the PATH",
)


_PARTS = re.compile(r"\[[^\]]+\]|.", re.DOTALL)


@dataclass(frozen=True)
class Ncu:
    """An installed ncu that is new enough."""

    path: str
    version: tuple[int, int]

    def record(self, start: Start, report: Path, globs: Sequence[str]) -> str:
        """Start a command under ncu; the report is at *report* (.ncu-rep) afterwards. Returns what was printed.

        Profiled is what runs between cudaProfilerStart and Stop and has a name that one of *globs* matches, each launch
        with every counter that its sentence and its roofline need. Raises NsightError where there is no report.
        """
        options = [
            "--target-processes=all",
            "--profile-from-start=off",
            "--nvtx",
            "--set=full",
            "--kernel-name-base=demangled",
            f"--kernel-name=regex:{pattern(globs)}",
            "--force-overwrite",
            f"--export={report.absolute().with_suffix('')}",
        ]
        said = tool.run([self.path, *options, *start.command], start)
        if report.is_file() and report.stat().st_size:
            return said
        if "No kernels were profiled" in said:
            raise NsightError(f"ncu saw no kernel whose name matches {' or '.join(map(repr, globs))}")
        raise NsightError(tool.why("ncu", said))


def pattern(globs: Iterable[str]) -> str:
    """A regular expression, as ncu knows them, for the names that any of *globs* matches in upper or lower case.

    Of a set in brackets it takes any character: ncu profiles what may match, and the trace says what does.
    """
    return "|".join(f"^{''.join(_part(part) for part in _PARTS.findall(glob))}$" for glob in globs)


def _part(part: str) -> str:
    if len(part) > 1 or part == "?":
        return "."
    return ".*" if part == "*" else f"[{part.lower()}{part.upper()}]" if part.isalpha() else re.escape(part)


def find() -> Ncu:
    """The ncu of this machine. Raises NsightError when there is none, or one that is too old."""
    return Ncu(*tool.find(NCU))
