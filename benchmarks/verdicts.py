"""How often a comparison of two runs is right, and how often a verdict on scaling.

Real modules are timed again and again, as a suite times them (one thread, CPU clock, warm-up, gc off). Neighbouring
runs of one module are equal: every regression among them is a false alarm. Runs of a module with more of the same work
are slower by a known share of it. Beside ttprof's rule stand simple ones on the same samples: mean or minimum by 5 %,
as pytest-benchmark's --benchmark-compare-fail, and median by 5 %, as one would read it from torch.utils.benchmark.

Of scaling the law of each module is known: its own has to PASS, every other one to FAIL. Beside ttprof's verdict stands
that of the nearest whole exponent of a log-log line through the medians, which is what people do by hand.

    python benchmarks/verdicts.py                   # takes about fifteen minutes
    python benchmarks/verdicts.py scaling --load    # one of the two, with a competing process on every core
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ttprof.baseline import Stored, _packed
from ttprof.engine import scaling_rounds
from ttprof.engine.scaling_rounds import More
from ttprof.judge import regression, scaling
from ttprof.judge.scaling import Growth
from ttprof.judge.verdicts import Rounds
from ttprof.plan.inputs import Inputs
from ttprof.result import Status
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.timers import timer_for
from ttprof.run.workload import forward_call
from ttprof.spec import LAWS, CaseSpec, Scaling, Schedule, SourceLine, Sweep
from ttprof.system.process import retained_heap

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

    plan = TimingPlan(schedule=Schedule(3, SAMPLES), seconds=5.0, seed=seed, min_samples=SAMPLES, threads=1)
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


SIZES = (256, 512, 1024, 2048, 4096)
TRIED = ("constant", "linear", "quadratic", "cubic")


class Attention(nn.Module):
    """One head of self-attention; *attend* is what is done with query, key and value."""

    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.qkv, self.attend = nn.Linear(64, 192), attend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attend(*self.qkv(x).unsqueeze(1).chunk(3, -1))


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention that makes the whole matrix."""
    return torch.softmax(query @ key.transpose(-1, -2) / 8, -1) @ value


def growing() -> dict[str, tuple[str, nn.Module, Callable[[int], torch.Tensor]]]:
    """Modules with the law of their time, and their input at a size."""
    feed_forward = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
    depth_wise = nn.Conv1d(64, 64, 5, padding=2, groups=64)
    return {
        "feed-forward": ("linear", feed_forward, lambda n: torch.randn(1, n, 128)),
        "layer norm": ("linear", nn.LayerNorm(256), lambda n: torch.randn(1, n, 256)),
        "plain attention": ("quadratic", Attention(plain), lambda n: torch.randn(1, n, 64)),
        "SDPA": ("quadratic", Attention(nn.functional.scaled_dot_product_attention), lambda n: torch.randn(1, n, 64)),
        "depth-wise convolution": ("linear", depth_wise, lambda n: torch.randn(1, 64, n)),
        "embedding": ("linear", nn.Embedding(5000, 128), lambda n: torch.randint(0, 5000, (1, n))),
    }


def grown(law: str, module: nn.Module, make: Callable[[int], torch.Tensor], seed: int) -> Rounds:
    """The rounds that a suite would take for ``expect_scaling(law)``, with what it adds while that is open."""
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
        inputs = {n: Inputs("given", (make(n),)) for n in sizes}
        calls = [forward_call(module, given) for given in inputs.values()]
        timings = time_workloads(calls, plan, timer_for(cpu), lambda _: False)
        return {n: timing.cpu_ns for n, timing in zip(sizes, timings, strict=True)}

    with retained_heap():
        first = Rounds(timed(SIZES), threads=1)
        slowest = float(np.median(first.by_size[SIZES[-1]]))
        more = More(lambda: timed(SIZES), lambda size: timed([size])[size], slowest)
        return scaling_rounds.extended(case, cpu, plan.seconds, first, more)


def outcome(law: str, tried: str, rounds: Rounds) -> str:
    """Whether ttprof's verdict on one law is right, open or wrong."""
    status = scaling.judge(Growth(LAWS[tried], "n", "cpu_time_ms"), rounds.by_size)[1][0].status
    if status is Status.INCONCLUSIVE:
        return "open"
    return "right" if (status is Status.PASS) is (tried == law) else "WRONG"


def by_hand(law: str, tried: str, rounds: Rounds) -> str:
    """The same of the nearest whole exponent of a log-log line."""
    slope = np.polyfit(np.log(list(rounds.by_size)), np.log([np.median(r) for r in rounds.by_size.values()]), 1)[0]
    return "right" if (round(slope) == LAWS[tried].exponent) is (tried == law) else "WRONG"


def judge_growth(repeats: int) -> None:
    """The shares for each module; with the law that is its own, and with the others."""
    total: dict[tuple[str, bool], Counter[str]] = {}
    lines: dict[str, Counter[str]] = {name: Counter() for name in growing()}
    for repeat in range(repeats):
        for name, (law, module, make) in growing().items():
            rounds = grown(law, module, make, repeat)
            for tried in TRIED:
                for rule, decide in (("ttprof", outcome), ("by hand", by_hand)):
                    found = decide(law, tried, rounds)
                    total.setdefault((rule, tried == law), Counter())[found] += 1
                    if rule == "ttprof":
                        lines[name][f"{'own' if tried == law else 'other'} law {found}"] += 1
    for name, line in lines.items():
        print(f"{name:<{WIDTH}}" + ", ".join(f"{count} {what}" for what, count in sorted(line.items())))
    for (rule, own), found in total.items():
        shares = ", ".join(f"{100 * found[what] / found.total():.1f} % {what}" for what in ("right", "open", "WRONG"))
        title = f"{rule}, {'its own law' if own else 'other laws'}"
        print(f"{title:<{WIDTH}}{shares}, of {found.total()} verdicts", flush=True)


def compare_runs(repeats: int) -> None:
    """False alarms and power."""
    print(" " * WIDTH + "".join(f"{name:>16}" for name in RULES))
    alarms: dict[str, list[bool]] = {name: [] for name in RULES}
    for name in modules(1.0):
        measure(name, repeats, alarms)
    print_shares("false alarms between equal runs", alarms)


PARTS: dict[str, tuple[Callable[[int], None], int]] = {"scaling": (judge_growth, 20), "compare": (compare_runs, 60)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="only one of the two")
    parser.add_argument("--repeats", type=int, help="runs of each module (default 20 for scaling, 60 for compare)")
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
