"""Overhead of the timing loop on calls of a few microseconds: their median latency in it over that in a bare loop.

The bare loop reads ``perf_counter_ns`` before and after each call, and nothing else. Both are timed in turn; the ratio
is the median of those of all pairs, and the quartiles say how it varies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.timers import timer_for
from ttprof.spec import Schedule
from ttprof.system.process import no_gc

ITERATIONS = 500


def bare(call: Callable[[], object]) -> float:
    """The median latency in a loop that only reads the clock, in ns."""
    times = []
    with no_gc():
        for _ in range(2 * ITERATIONS):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
    return float(np.median(times[ITERATIONS:]))


def timed(call: Callable[[], object]) -> float:
    """The median latency in ttprof's loop, in ns."""
    plan = TimingPlan(Schedule(ITERATIONS, ITERATIONS, 1, exact=True), warmup_min_ns=0)
    (timing,) = time_workloads([call], plan, timer_for(torch.device("cpu")), lambda _: False)
    return float(np.median(timing.latency_ns))


def pair(module: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """The median latency in the bare loop, and right after it in ttprof's."""
    return bare(lambda: module(x)), timed(lambda: module(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    modules = {
        "ReLU(64)": (nn.ReLU(), torch.randn(64)),
        "Linear(64)": (nn.Linear(64, 64), torch.randn(8, 64)),
        "LayerNorm(64)": (nn.LayerNorm(64), torch.randn(8, 64)),
    }
    print(f"{'module':<16}{'bare':>9}{'ttprof':>10}{'overhead':>10}   quartiles")
    with torch.no_grad():
        for name, (module, x) in modules.items():
            seen = np.array([pair(module, x) for _ in range(pairs)])
            low, middle, high = np.percentile(seen[:, 1] / seen[:, 0] - 1, [25, 50, 75])
            of_bare, of_ttprof = np.median(seen, axis=0) / 1e3
            print(f"{name:<16}{of_bare:6.2f} µs{of_ttprof:7.2f} µs{middle:10.1%}   {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
