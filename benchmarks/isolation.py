"""What ``isolate=True`` adds to a healthy suite, as a ratio: two more starts of the script, and nothing per case.

Each run is a fresh process, as users have it; runs of both kinds alternate. The ratio is that of the medians. One start
of the script is given beside it, since that is what a supervisor pays for.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import sys, torch
from torch import nn
from ttprof import TestSuite

torch.manual_seed(0)
model = nn.Sequential(*(nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range({cases})))
if {run}:
    with TestSuite(model, inputs=torch.randn(8, 64), name="healthy", quiet=True, isolate={isolate}) as suite:
        for index in range({cases}):
            suite.test(str(index)).tolerance(1e-3).expect(latency_ms=1000, memory_mb=1000)
"""


def seconds(cases: int, run: bool, isolate: bool) -> float:
    """The wall time of one process."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "healthy.py")
        script.write_text(SCRIPT.format(cases=cases, run=run, isolate=isolate), encoding="utf-8")
        start = time.perf_counter()
        subprocess.run([sys.executable, str(script)], cwd=folder, check=True)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20, help="cases of the suite")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each kind")
    given = parser.parse_args()
    kinds = {"start": (False, False), "plain": (True, False), "isolated": (True, True)}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(given.repeat):
        for name, (run, isolate) in kinds.items():
            times[name].append(seconds(given.cases, run, isolate))
        print(
            f"run {number + 1}: " + ", ".join(f"{name} {taken[-1]:.1f} s" for name, taken in times.items()), flush=True
        )
    median = {name: statistics.median(taken) for name, taken in times.items()}
    added = median["isolated"] - median["plain"]
    print(f"{given.cases} cases: isolated / plain = {median['isolated'] / median['plain']:.2f}")
    print(f"isolation adds {added / median['start']:.1f} starts of the script")


if __name__ == "__main__":
    main()
