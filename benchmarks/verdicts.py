"""Measures how often the verdicts on regressions, on scaling and on unstable numerics are right.

Regressions: real modules are timed repeatedly, as a suite times them (one thread, CPU clock, warm-up, gc off).
Successive runs of a module do the same work, so any regression between them is a false alarm; runs with 10 % or 20 %
more work should be detected. ttprof's rule is compared with simple ones on the same samples: mean or minimum by 5 %, as
in pytest-benchmark's --benchmark-compare-fail, and median by 5 %, as one would read it from torch.utils.benchmark.

Scaling: the law of each module is known; it must PASS, and every other law must FAIL. ttprof's verdict is compared with
the nearest integer slope of a log-log fit through the medians, as people do by hand.

Stability: fresh processes judge stable modules, which must PASS, and FAIL with a planted bug; and unstable ones without
a bug, which must never FAIL. The modules and bugs are in benchmarks/stability.py.

    python benchmarks/verdicts.py                   # takes about half an hour
    python benchmarks/verdicts.py scaling --load    # one part, with a competing process on every core
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ttprof import baseline
from ttprof.baseline import Stored
from ttprof.engine import scaling_rounds
from ttprof.engine.scaling_rounds import More
from ttprof.judge import regression, scaling
from ttprof.judge.scaling import ExpectedLaw
from ttprof.judge.verdicts import Rounds
from ttprof.plan.inputs import Inputs
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.timers import timer_for
from ttprof.run.workload import forward_call
from ttprof.spec import LAWS, CaseSpec, Scaling, Schedule, SourceLine, Sweep
from ttprof.system.process import retained_heap
from ttprof.trial_key import Point, TrialKey
from ttprof.verdict import Status

SAMPLES = 60
THRESHOLD = 0.05
WIDTH = 42


def modules(grow: float) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """The modules, with inputs whose batch makes *grow* times the work."""
    batch = round(20 * grow)
    feed_forward = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
    return {
        "feed-forward": (feed_forward, torch.randn(16 * batch, 128)),
        "layer norm": (nn.LayerNorm(1024), torch.randn(50 * batch, 1024)),
        "convolution": (nn.Conv1d(64, 64, 5, groups=64), torch.randn(batch, 64, 512)),
        "embedding bag": (nn.EmbeddingBag(5000, 256), torch.randint(0, 5000, (16 * batch, 32))),
    }


def run(module: nn.Module, x: torch.Tensor, seed: int) -> np.ndarray:
    """The CPU times of one run in ns."""

    def call() -> None:
        with torch.no_grad():
            module(x)

    plan = TimingPlan(schedule=Schedule(3, SAMPLES), seconds=5.0, seed=seed, min_samples=SAMPLES, threads=1)
    (timing,) = time_workloads([call], plan, timer_for(torch.device("cpu")), lambda _: False)
    return timing.cpu_ns


def stored(samples: np.ndarray) -> Stored:
    """The samples as a baseline stores them."""
    value = float(np.median(samples)) / 1e6
    packed = baseline.pack(samples)
    return Stored(name="cpu_time_ms", unit="ms", better="lower", statistic="median", value=value, samples=packed)


def by_ttprof(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether ttprof reports a regression from *old* to *new*."""
    row = regression.compare_metric(TrialKey("x", Point()), stored(old), stored(new), THRESHOLD)
    return row.change == "regression"


RULES: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
    "ttprof": by_ttprof,
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
    """Run *count* busy processes that compete for the cores."""
    workers = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()


def print_shares(title: str, hits: dict[str, list[bool]]) -> None:
    """Print one line with the percentage of hits of each rule."""
    shares = "".join(f"{100 * np.mean(outcomes):14.1f} %" for outcomes in hits.values())
    print(f"{title:<{WIDTH}}{shares}   of {len(next(iter(hits.values())))} pairs", flush=True)


def measure(name: str, repeats: int, alarms: dict[str, list[bool]]) -> None:
    """Run a module and its slower variants interleaved, so that the load of the machine affects all of them equally."""
    variants = {grow: modules(grow)[name] for grow in (1.0, 1.1, 1.2)}
    runs: dict[float, list[np.ndarray]] = {grow: [] for grow in variants}
    for repeat in range(repeats):
        for grow, (module, x) in variants.items():
            runs[grow].append(run(module, x, repeat))
    for rule, decide in RULES.items():
        alarms[rule] += [decide(a, b) for a, b in zip(runs[1.0], runs[1.0][1:], strict=False)]
    median_ms = np.median([np.median(r) for r in runs[1.0]]) / 1e6
    for grow in (1.1, 1.2):
        pairs = list(zip(runs[1.0], runs[grow], strict=True))
        hits = {rule: [decide(a, b) for a, b in pairs] for rule, decide in RULES.items()}
        print_shares(f"{name}, {median_ms:.2f} ms: +{100 * (grow - 1):.0f} % detected", hits)


SIZES = (256, 512, 1024, 2048, 4096)
TESTED_LAWS = ("constant", "linear", "quadratic", "cubic", "quartic")


class Attention(nn.Module):
    """One head of self-attention; *attend* combines query, key and value."""

    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.qkv, self.attend = nn.Linear(64, 192), attend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attend(*self.qkv(x).unsqueeze(1).chunk(3, -1))


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention that materialises the attention matrix."""
    return torch.softmax(query @ key.transpose(-1, -2) / 8, -1) @ value


def scaling_modules() -> dict[str, tuple[str, nn.Module, Callable[[int], torch.Tensor]]]:
    """Modules with the law of their time and a factory of their input at a size."""
    feed_forward = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
    depth_wise = nn.Conv1d(64, 64, 5, padding=2, groups=64)
    return {
        "feed-forward": ("linear", feed_forward, lambda n: torch.randn(1, n, 128)),
        "layer norm": ("linear", nn.LayerNorm(256), lambda n: torch.randn(1, n, 256)),
        "plain attention": ("quadratic", Attention(plain_attention), lambda n: torch.randn(1, n, 64)),
        "SDPA": ("quadratic", Attention(nn.functional.scaled_dot_product_attention), lambda n: torch.randn(1, n, 64)),
        "depth-wise convolution": ("linear", depth_wise, lambda n: torch.randn(1, 64, n)),
        "embedding": ("linear", nn.Embedding(5000, 128), lambda n: torch.randint(0, 5000, (1, n))),
    }


def scaling_rounds_of(law: str, module: nn.Module, make_input: Callable[[int], torch.Tensor], seed: int) -> Rounds:
    """The rounds that a suite would measure for ``expect_scaling(law)``, extensions included."""
    case = CaseSpec(
        name="x",
        module=module,
        path=None,
        source=SourceLine("", 0),
        sweeps=(Sweep("seq_len", SIZES),),
        scaling=Scaling(LAWS[law]),
    )
    plan = TimingPlan(schedule=case.schedule, seed=seed, threads=1)
    cpu = torch.device("cpu")

    def timed(sizes: Sequence[int]) -> dict[int, np.ndarray | None]:
        calls = [forward_call(module, Inputs("given", (make_input(n),))) for n in sizes]
        timings = time_workloads(calls, plan, timer_for(cpu), lambda _: False)
        return {n: timing.cpu_ns for n, timing in zip(sizes, timings, strict=True)}

    with retained_heap():
        first = Rounds(timed(SIZES), threads=1)
        slowest = float(np.median(first.by_size[SIZES[-1]]))
        more = More(lambda: timed(SIZES), lambda size: timed([size])[size], slowest)
        return scaling_rounds.extended(case, cpu, plan.seconds, first, more)


def ttprof_outcome(law: str, tested: str, rounds: Rounds) -> str:
    """Whether ttprof's verdict on the *tested* law is right, undecided or wrong."""
    status = scaling.judge(ExpectedLaw(LAWS[tested], "n", "cpu_time_ms"), rounds.by_size)[1][0].status
    if status is Status.INCONCLUSIVE:
        return "undecided"
    return "right" if (status is Status.PASS) is (tested == law) else "WRONG"


def log_log_outcome(law: str, tested: str, rounds: Rounds) -> str:
    """The same for the nearest integer slope of a log-log fit."""
    slope = np.polyfit(np.log(list(rounds.by_size)), np.log([np.median(r) for r in rounds.by_size.values()]), 1)[0]
    return "right" if (round(slope) == LAWS[tested].exponent) is (tested == law) else "WRONG"


def judge_scaling(repeats: int) -> None:
    """Print the verdicts by module, and the percentages for each rule on a module's true law and on other laws."""
    total: dict[tuple[str, bool], Counter[str]] = {}
    lines: dict[str, Counter[str]] = {name: Counter() for name in scaling_modules()}
    for repeat in range(repeats):
        for name, (law, module, make_input) in scaling_modules().items():
            rounds = scaling_rounds_of(law, module, make_input, repeat)
            for tested in TESTED_LAWS:
                for rule, decide in (("ttprof", ttprof_outcome), ("log-log fit", log_log_outcome)):
                    outcome = decide(law, tested, rounds)
                    total.setdefault((rule, tested == law), Counter())[outcome] += 1
                    if rule == "ttprof":
                        lines[name][f"{'true' if tested == law else 'other'} law {outcome}"] += 1
    for name, counts in lines.items():
        print(f"{name:<{WIDTH}}" + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    for (rule, is_true), counts in total.items():
        shares = ", ".join(f"{100 * counts[o] / counts.total():.1f} % {o}" for o in ("right", "undecided", "WRONG"))
        title = f"{rule}, {'true law' if is_true else 'other laws'}"
        print(f"{title:<{WIDTH}}{shares}, of {counts.total()} verdicts", flush=True)


def compare_runs(repeats: int) -> None:
    """Print the false alarms and the detection rates of each rule."""
    print(" " * WIDTH + "".join(f"{name:>16}" for name in RULES))
    alarms: dict[str, list[bool]] = {name: [] for name in RULES}
    for name in modules(1.0):
        measure(name, repeats, alarms)
    print_shares("false alarms between equal runs", alarms)


def judge_stability(repeats: int) -> None:
    """Print the verdicts on numerics, by kind of module, dtype and size of the bug, and the modules that are off."""
    total: dict[str, Counter[str]] = {}
    off: Counter[str] = Counter()
    for seed in range(repeats):
        command = [sys.executable, str(Path(__file__).with_name("stability.py")), str(seed)]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            kind, name, dtype, gradients, size, form, given, status, _ = json.loads(line)
            title = f"{kind}, {dtype}, {'gradients' if gradients else 'outputs'}"
            title += f", bug of {size} T" if size else ""
            total.setdefault(title, Counter())[status] += 1
            if status not in ({"FAIL"} if size else {"PASS"} if kind == "stable" else {"PASS", "INCONCLUSIVE"}):
                off[f"{title}, {name}, {form} {'against a reference' if given else ''}: {status}"] += 1
    for title, counts in sorted(total.items()):
        shares = ", ".join(f"{100 * count / counts.total():.1f} % {status}" for status, count in counts.most_common())
        print(f"{title:<{WIDTH + 8}}{shares}, of {counts.total()} verdicts")
    print("Not as expected:", *(f"{count} × {case}" for case, count in sorted(off.items())), sep="\n  ", flush=True)


PARTS: dict[str, tuple[Callable[[int], None], int]] = {
    "scaling": (judge_scaling, 20),
    "compare": (compare_runs, 60),
    "stability": (judge_stability, 12),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="run only this part")
    parser.add_argument(
        "--repeats", type=int, help="runs of each module (default 20 for scaling, 60 for compare), or processes (12)"
    )
    parser.add_argument("--load", action="store_true", help="compete with a busy process on every core")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with load((os.cpu_count() or 1) if arguments.load else 0):
        for name, (part, repeats) in PARTS.items():
            if arguments.part in (None, name):
                part(arguments.repeats or repeats)


if __name__ == "__main__":
    main()
