"""Whether a long suite in one process leaks: memory, open files and the time of a case over 500 cases.

Every case tests the same module. After the first 50 cases, memory should grow by less than 5 %, the number of open
files should stay as it is, and the time of a case should not grow. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from scipy.stats import theilslopes
from torch import nn

from ttprof import TestSuite
from ttprof.report import publish

SETTLED = 50
"""The first cases import, compile and fill caches."""

MOST_GROWTH = 0.05
MOST_SLOPE = 0.1
"""The share of its median by which the time of a case may grow over the whole soak."""


class Watch(publish.Silent):
    """Notes the memory, the open files and the time whenever a case begins a pass or ends."""

    def __init__(self) -> None:
        self.passes: dict[str, list[tuple[int, int, float]]] = {"timing": [], "recording": []}
        self._pass, self._case = "timing", ""

    def begin_pass(self, name: str) -> None:
        self._pass, self._case = name, ""

    def phase(self, case: str, phase: str) -> None:
        if case != self._case:
            self._case = case
            files = len(list(Path("/proc/self/fd").iterdir()))
            self.passes[self._pass].append((resident(), files, time.perf_counter()))


def resident() -> int:
    """The resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def judge(name: str, seen: list[tuple[int, int, float]]) -> bool:
    """Print the growth in one pass over the cases; whether it is within the bounds."""
    memory, files, at = (np.array(column, dtype=float) for column in zip(*seen[SETTLED:], strict=True))
    seconds = np.diff(at)
    growth = memory[-20:].mean() / memory[:20].mean() - 1
    slope = theilslopes(seconds)[0] * len(seconds) / np.median(seconds)  # a few slow cases do not bend it
    print(
        f"{name}: memory {memory[0] / 2**20:.0f} → {memory[-1] / 2**20:.0f} MB ({growth:+.1%}), "
        f"open files {files[0]:.0f} → {files[-1]:.0f}, {1e3 * np.median(seconds):.0f} ms per case, "
        f"slope over the soak {slope:+.1%} of the median"
    )
    return bool(growth < MOST_GROWTH and files[-1] <= files[0] and slope < MOST_SLOPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    cases = parser.parse_args().cases
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
    watch = Watch()
    publish.progress = lambda *arguments: nullcontext(watch)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        suite = TestSuite(module, trace_dir=folder, quiet=True, seconds_per_case=0.05, on_failure="report")
        for number in range(cases):
            case = suite.test(module, name=f"case {number}").inputs(torch.randn(8, 64)).profile(2, 20)
            case.tolerance(1e-3).expect(latency_ms=1000)
        result = suite.run()
    print(f"{len(result)} cases: {result.count(result[0].status)} {result[0].status}")
    sound = [judge(name, seen) for name, seen in watch.passes.items()]
    sys.exit(0 if all(sound) else 1)


if __name__ == "__main__":
    main()
