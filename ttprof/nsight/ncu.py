"""Runs Nsight Compute (``ncu``): profiles the kernels of a command and writes a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.tool import Start, ToolSpec

NCU = ToolSpec(
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
        """Run a command under ncu, write the report to *report* (.ncu-rep), and return the output.

        It profiles the kernels between cudaProfilerStart and Stop whose name one of *globs* matches, each launch with
        all counters that ``bottleneck`` and the roofline need.

        Raises:
            NsightError: no kernel matched, or ncu wrote no report; says what to install or to permit.
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
        output = tool.run([self.path, *options, *start.command], start)
        if report.is_file() and report.stat().st_size:
            return output
        if "No kernels were profiled" in output:  # ncu has no exit code for it
            raise NsightError(f"ncu found no kernel whose name matches {' or '.join(map(repr, globs))}")
        raise NsightError(tool.explain_failure("ncu", output))


def pattern(globs: Iterable[str]) -> str:
    """A regular expression in ncu's syntax for the names that any of *globs* matches, ignoring case.

    A set in brackets matches any character, so ncu may profile more kernels; those are filtered out by the trace.
    """
    return "|".join(f"^{''.join(_part(part) for part in _PARTS.findall(glob))}$" for glob in globs)


def _part(part: str) -> str:
    if len(part) > 1 or part == "?":
        return "."
    return ".*" if part == "*" else f"[{part.lower()}{part.upper()}]" if part.isalpha() else re.escape(part)


def find() -> Ncu:
    """The installed ncu. Raises NsightError if it is missing or too old."""
    return Ncu(*tool.find(NCU))
