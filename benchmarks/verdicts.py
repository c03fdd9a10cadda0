"""How often a comparison of two runs is right: false alarms between equal runs, and power where one is slower.

Real modules are timed again and again, as a suite times them (one thread, CPU clock, warm-up, gc off). Neighbouring
runs of one module are equal: every regression among them is a false alarm. Runs of a module with more of the same work
are slower by a known share of it. Beside ttprof's rule stand simple ones on the same samples: mean or minimum by 5 %,
as pytest-benchmark's --benchmark-compare-fail, and median by 5 %, as one would read it from torch.utils.benchmark.

    python benchmarks/verdicts.py            # takes a few minutes
    python benchmarks/verdicts.py --load     # with a competing process on every core
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ttprof.baseline import Stored, _packed
from ttprof.judge import regression
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.timers import timer_for
from ttprof.spec import Schedule

SAMPLES = 60
THRESHOLD = 0.05
WIDTH = 36


def modules(grow: float) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """The modules, with *grow* times the work, along the batch."""
    batch = round(20 * grow)
    feed_forward = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
    return {
        "feed-forward": (feed_forward, torch.randn(16 * batch, 128)),
        "layer norm": (nn.LayerNorm(1024), torch.randn(50 * batch, 1024)),
        "convolution": (nn.Conv1d(64, 64, 5, groups=64), torch.randn(batch, 64, 512)),
        "embedding bag": (nn.EmbeddingBag(5000, 256), torch.randint(0, 5000, (16 * batch, 32))),
    }


def run(module: nn.Module, given: torch.Tensor, seed: int) -> np.ndarray:
    """The CPU times of one run in ns."""

    def call() -> None:
        with torch.no_grad():
            module(given)

    plan = TimingPlan(schedule=Schedule(3, SAMPLES), seconds=5.0, between=None, seed=seed, minimum=SAMPLES, threads=1)
    (timing,) = time_workloads([call], plan, timer_for(torch.device("cpu")), lambda _: False)
    return timing.cpu_ns


def stored(samples: np.ndarray) -> Stored:
    """The samples as a baseline keeps them."""
    value = float(np.median(samples)) / 1e6
    packed = _packed(samples)
    return Stored(name="cpu_time_ms", unit="ms", better="lower", statistic="median", value=value, samples=packed)


def ours(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether ttprof says that *new* regressed."""
    place = {"case": "x", "point": {}, "metric": "cpu_time_ms", "unit": "ms"}
    return regression._pair(place, stored(old), stored(new), THRESHOLD).change == "regression"


RULES: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
    "ttprof": ours,
    "mean by 5 %": lambda old, new: bool(new.mean() > (1 + THRESHOLD) * old.mean()),
    "min by 5 %": lambda old, new: bool(new.min() > (1 + THRESHOLD) * old.min()),
    "median by 5 %": lambda old, new: bool(np.median(new) > (1 + THRESHOLD) * np.median(old)),
}


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


@contextmanager
def load(count: int) -> Iterator[None]:
    """Inside, *count* processes compete for the cores."""
    workers = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()


def print_shares(title: str, hits: dict[str, list[bool]]) -> None:
    """One line: the share of hits for each rule."""
    shares = "".join(f"{100 * np.mean(found):14.1f} %" for found in hits.values())
    print(f"{title:<{WIDTH}}{shares}   of {len(next(iter(hits.values())))} pairs", flush=True)


def measure(name: str, repeats: int, alarms: dict[str, list[bool]]) -> None:
    """All runs of one module and its slower variants, interleaved, so that all see the same machine."""
    variants = {grow: modules(grow)[name] for grow in (1.0, 1.1, 1.2)}
    runs: dict[float, list[np.ndarray]] = {grow: [] for grow in variants}
    for repeat in range(repeats):
        for grow, (module, given) in variants.items():
            runs[grow].append(run(module, given, repeat))
    for rule, decide in RULES.items():
        alarms[rule] += [decide(a, b) for a, b in zip(runs[1.0], runs[1.0][1:], strict=False)]
    milliseconds = np.median([np.median(r) for r in runs[1.0]]) / 1e6
    for grow in (1.1, 1.2):
        pairs = list(zip(runs[1.0], runs[grow], strict=True))
        hits = {rule: [decide(a, b) for a, b in pairs] for rule, decide in RULES.items()}
        print_shares(f"{name}, {milliseconds:.2f} ms: +{100 * (grow - 1):.0f} % found", hits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="runs of each module (default 60)")
    parser.add_argument("--load", action="store_true", help="compete with a busy process on every core")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(" " * WIDTH + "".join(f"{name:>16}" for name in RULES))
    alarms: dict[str, list[bool]] = {name: [] for name in RULES}
    with load((os.cpu_count() or 1) if arguments.load else 0):
        for name in modules(1.0):
            measure(name, arguments.repeats, alarms)
    print_shares("false alarms between equal runs", alarms)


if __name__ == "__main__":
    main()
