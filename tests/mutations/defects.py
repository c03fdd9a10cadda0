"""The table of injected defects, with the check that a user would write to catch each.

Every row judges a healthy and a broken case. The healthy one must PASS; the broken one must FAIL, or be an ERROR if it
can't be judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import kineto_files as k
import torch
from fakes import FakeClock, quiet_machine
from mutations.blocks import (
    DIM,
    Block,
    Dropped,
    FeedForward,
    Growing,
    Power,
    SmallNorm,
    StaleCache,
    Timed,
    TwoOutputs,
)
from torch import nn

from ttprof import TestSuite, exactly
from ttprof.builder import CaseBuilder
from ttprof.codes import Kind
from ttprof.engine import case_passes
from ttprof.judge import verdicts
from ttprof.observation import Observation
from ttprof.run.timers import CpuTimer
from ttprof.trace.formats import kineto
from ttprof.verdict import Status, Verdict

Check = Callable[[CaseBuilder], CaseBuilder]


@dataclass(frozen=True)
class Outcome:
    """The worst verdict of a case."""

    status: Status
    kind: Kind | None
    reason: str


@dataclass(frozen=True)
class Defect:
    """A defect and the kind of verdict that catches it.

    ``check`` is the user's code; ``judged`` judges the healthy (False) or the broken (True) case.
    """

    name: str
    kind: Kind
    check: str
    judged: Callable[[bool], Outcome]

    def __str__(self) -> str:
        return self.name


def outcome(case_verdicts: list[Verdict]) -> Outcome:
    """The first of the worst verdicts."""
    status = verdicts.worst(case_verdicts)
    worst = next((v for v in case_verdicts if v.status is status), None)
    return Outcome(status, worst.kind, worst.reason) if worst else Outcome(status, None, "")


def run(module: nn.Module, check: Check, shape: tuple[int, ...] = (2, 16, DIM)) -> Outcome:
    """Run a suite of one case."""
    torch.manual_seed(0)
    suite = TestSuite(module, batch_size=shape[0], seq_len=16, quiet=True, seconds_per_case=0.2, on_failure="report")
    check(suite.test(module).profile(1, 2).input_shape(shape))
    (case,) = suite.run()
    return outcome(case.verdicts)


def numeric(
    make: Callable[[str], nn.Module], name: str, tolerance: float = 1e-4, kind: Kind = Kind.TOLERANCE
) -> Defect:
    """A wrong output, caught by a comparison with a reference."""

    def judged(broken: bool) -> Outcome:
        reference = make("")
        return run(make(name if broken else ""), lambda case: case.compare_with(reference).tolerance(tolerance))

    return Defect(name, kind, f".compare_with(reference).tolerance({tolerance:g})", judged)


def alone(make: Callable[[str], nn.Module], name: str, kind: Kind, written: str, check: Check) -> Defect:
    """A defect that shows without a reference."""
    return Defect(name, kind, written, lambda broken: run(make(name if broken else ""), check))


def gradient(make: Callable[[str], nn.Module], name: str) -> Defect:
    """A wrong gradient with a right output."""

    def judged(broken: bool) -> Outcome:
        reference = make("")
        return run(
            make(name if broken else ""),
            lambda case: case.compare_with(reference).tolerance(1e-4).backward(inputs=True),
        )

    return Defect(name, Kind.GRADIENTS, ".compare_with(reference).tolerance(1e-4).backward(inputs=True)", judged)


def slower(percent: int) -> Defect:
    """A slowdown on a fake clock."""

    def judged(broken: bool) -> Outcome:
        clock = FakeClock()
        module = Timed(clock, 1_000_000 + 10_000 * percent * broken)
        with quiet_machine(), mock.patch.object(case_passes, "timer_for", lambda device: CpuTimer(clock)):
            return run(module, lambda case: case.expect(latency_ms=1.05).profile(2, 10), (2, 8))

    return Defect(f"{percent} % slower", Kind.LIMIT, ".expect(latency_ms=1.05)", judged)


def slower_growth() -> Defect:
    """A quadratic term in the time of a linear module, on a fake clock."""

    def judged(broken: bool) -> Outcome:
        clock = FakeClock()
        module = Growing(clock, "quadratic" if broken else "")
        with quiet_machine(), mock.patch.object(case_passes, "timer_for", lambda device: CpuTimer(clock)):
            sizes = [128, 256, 512, 1024]
            return run(module, lambda case: case.with_seq_lengths(sizes).expect_scaling("linear").profile(2, 10))

    return Defect("a quadratic time", Kind.SCALING, ".with_seq_lengths([...]).expect_scaling('linear')", judged)


def trained(make: Callable[[str], nn.Module], name: str) -> Defect:
    """A wrong output in train mode only."""

    def judged(broken: bool) -> Outcome:
        reference = make("")
        return run(make(name if broken else ""), lambda case: case.train().compare_with(reference).tolerance(1e-4))

    return Defect(name, Kind.TOLERANCE, ".train().compare_with(reference).tolerance(1e-4)", judged)


def worse_than_baseline() -> Defect:
    """A network that computes more than when its baseline was saved."""

    def judged(broken: bool) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "base.json")
            before = TestSuite(FeedForward(), quiet=True, seconds_per_case=0.2)
            before.test("down").input_shape((2, 4 * DIM)).profile(1, 2)
            before.run()
            before.save_baseline(path)
            wider = nn.ModuleDict({"down": nn.Linear(4 * DIM, 2 * DIM if broken else DIM)})
            suite = TestSuite(wider, quiet=True, on_failure="report", seconds_per_case=0.2, baseline=path)
            suite.test("down").input_shape((2, 4 * DIM)).profile(1, 2)
            (case,) = suite.run()
        return outcome(
            [v for v in case.verdicts if v.status is not Status.INCONCLUSIVE]
        )  # two samples are too few for times

    return Defect("more work than in the baseline", Kind.BASELINE, "TestSuite(baseline=...)", judged)


def recorded(
    name: str, kind: Kind, written: str, check: Check, healthy: list[k.Event], broken: list[k.Event]
) -> Defect:
    """A defect on a device, in handwritten recordings of two iterations."""

    def judged(is_broken: bool) -> Outcome:
        suite = TestSuite(nn.Identity(), quiet=True)
        (spec,) = check(suite.test(nn.Identity()).profile(0, 2)).specs
        with tempfile.TemporaryDirectory() as folder:
            trace = kineto.read(k.write(Path(folder, "t.json"), broken if is_broken else healthy))
        return outcome(verdicts.judge_limits(spec.expected, [({}, Observation("cuda", trace=trace, recorded=2))]))

    return Defect(name, kind, written, judged)


def on_device(*more: k.Event, slow: float = 1.0) -> list[k.Event]:
    """Two iterations of a module with two kernels each, plus *more* events."""
    events = [k.span("user_annotation", "module: net", start, 60) for start in (0, 100)]
    for event in k.two_iterations():
        is_gemm = event.get("cat") == "kernel" and event["name"] == "gemm"
        events.append({**event, "dur": event["dur"] * slow} if is_gemm else event)
    return [*events, *more]


LINEAR = "with_seq_lengths([128, 256, 512, 1024, 2048]).expect_scaling('linear', metric='flops')"

DEFECTS = [
    *(
        numeric(Block, name)
        for name in (
            "wrong scale",
            "missing mask",
            "mask off by one",
            "transposed heads",
            "RoPE off by one",
            "wrong eps",
            "statistics across the batch",
            "swapped keys and values",
            "softmax over the wrong dimension",
            "missing residual",
            "missing bias",
            "dropout left on",
            "dtype drop",
            "positions rolled by one",
            "wrong sign in one row",
        )
    ),
    numeric(Block, "another GELU", 1e-5),
    numeric(TwoOutputs, "swapped outputs"),
    numeric(TwoOutputs, "one output fewer", kind=Kind.COMPARISON),
    numeric(TwoOutputs, "index off by one"),
    numeric(TwoOutputs, "in-place change of the input", kind=Kind.INPUTS),
    alone(Block, "NaN in one element", Kind.FINITE, "(nothing)", lambda case: case),
    alone(Block, "infinite", Kind.FINITE, "(nothing)", lambda case: case),
    alone(
        StaleCache,
        "stale cache",
        Kind.RUN,
        ".with_seq_lengths([8, 16, 32])",
        lambda case: case.with_seq_lengths([8, 16, 32]),
    ),
    gradient(Block, "a detached branch"),
    gradient(Power, "a wrong backward"),
    numeric(SmallNorm, "an epsilon ten times as large", 1e-3),
    trained(Dropped, "another dropout rate"),
    slower_growth(),
    slower(10),
    slower(20),
    alone(
        FeedForward,
        "a quadratic term",
        Kind.SCALING,
        f".{LINEAR}",
        lambda case: case.with_seq_lengths([128, 256, 512, 1024, 2048]).expect_scaling("linear", metric="flops"),
    ),
    alone(
        FeedForward,
        "a second pass",
        Kind.LIMIT,
        ".expect(flops=exactly(...))",
        lambda case: case.expect(flops=exactly(2 * 2 * 16 * DIM * 4 * DIM * 2)),
    ),
    alone(FeedForward, "a leak", Kind.LIMIT, ".no_leak()", lambda case: case.no_leak().profile(1, 4)),
    alone(
        FeedForward,
        "a large intermediate",
        Kind.LIMIT,
        ".expect(memory_mb=0.5)",
        lambda case: case.expect(memory_mb=0.5),
    ),
    alone(
        FeedForward,
        "a kept intermediate",
        Kind.LIMIT,
        ".backward().expect(activation_mb=0.016)",
        lambda case: case.backward().expect(activation_mb=0.016),
    ),
    alone(
        FeedForward, "memory of earlier calls", Kind.DETERMINISM, ".deterministic()", lambda case: case.deterministic()
    ),
    worse_than_baseline(),
    recorded(
        "an extra kernel",
        Kind.LIMIT,
        ".expect(kernel_count=exactly(2))",
        lambda case: case.expect(kernel_count=exactly(2)),
        on_device(),
        on_device(k.launch(20, 90), k.kernel("copy", 30, 2, 90)),
    ),
    recorded(
        "a slower kernel",
        Kind.KERNELS,
        '.expect_kernel("*gemm*", time_ms=0.0105)',
        lambda case: case.expect_kernel("*gemm*", time_ms=0.0105),
        on_device(),
        on_device(slow=1.1),
    ),
    recorded(
        "a kernel that is not the one expected",
        Kind.KERNELS,
        '.expect_kernel("flash*", count=1)',
        lambda case: case.expect_kernel("flash*", count=1),
        [{**event, "name": event["name"].replace("softmax", "flash_fwd")} for event in on_device()],
        on_device(),
    ),
    recorded(
        "a hidden synchronisation",
        Kind.LIMIT,
        ".no_sync()",
        lambda case: case.no_sync(),
        on_device(),
        on_device(k.launch(30, 91, name="cudaStreamSynchronize")),
    ),
    *(
        recorded(
            name,
            Kind.TRACE,
            ".expect(trace_complete=1)",
            lambda case: case.expect(trace_complete=1),
            on_device(),
            broken,
        )
        for name, broken in (
            ("a trace that lost a kernel", k.two_iterations(lose_kernel=True)),
            ("a trace that lost an iteration", k.two_iterations()[:11]),
        )
    ),
]
