"""Injected defects that no time shows on a busy machine, and that exact counts show on any."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from mutations.blocks import DIM
from mutations.defects import Defect, Outcome, alone, outcome, run
from torch import nn
from torch.nn import functional as F

from ttprof import TestSuite, exactly
from ttprof.codes import Kind
from ttprof.engine import exact_counts

MB = 2**20


class Buffered(nn.Module):
    """Works in a buffer of 4 MB; the defect allocates 1 MB before, when it raises no peak."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect

    def forward(self, x):
        if self.defect:
            torch.empty(MB, dtype=torch.uint8)
        torch.empty(4 * MB, dtype=torch.uint8)
        return x.relu()


class Parted(nn.Module):
    """Works in a buffer of 4 MB; the defect allocates it in four parts, of the same size and peak."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.parts = 4 if defect else 1

    def forward(self, x):
        buffers = [torch.empty(4 * MB // self.parts, dtype=torch.uint8) for _ in range(self.parts)]
        return x.relu() if buffers else x


class Projected(nn.Module):
    """A layer and attention over its output; its defects change no value, hardly any time, and no peak of memory."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect, self.linear = defect, nn.Linear(DIM, DIM)

    def forward(self, x):
        if self.defect == "a product and its sum, not fused":
            y = (x @ self.linear.weight.t()).add_(self.linear.bias)
        else:
            y = self.linear(x)
        if self.defect == "an operator that costs nothing":
            y = y.view_as(y)
        if self.defect == "attention that is not fused":
            return (y @ y.transpose(-1, -2) * DIM**-0.5).softmax(-1) @ y
        return F.scaled_dot_product_attention(y, y, y)


class Doubled(nn.Module):
    """Doubles its input; the defect copies it into another layout first."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect

    def forward(self, x):
        if self.defect:
            x = x.transpose(-1, -2).contiguous().transpose(-1, -2)
        return x + x


class Broken(nn.Module):
    """A layer whose compiled code the defect breaks in two; no operator is added, and no tensor."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.linear = defect, nn.Linear(DIM, DIM)

    def forward(self, x):
        y = self.linear(x)
        if self.defect:
            torch._dynamo.graph_break()
        return y.relu()


class Numbered(nn.Module):
    """Compiled code; with the defect it reads the number of the call, for which torch compiles it each time."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.calls = defect, 0

    def forward(self, x):
        if self.defect:
            self.calls += 1
        return x + len("x" * self.calls) * 0


class Counting(nn.Module):
    """Adds its instructions to ``done``, which a fake of the CPU's counter reads; the defect adds 5 %."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.instructions, self.done = (1_050_000 if defect else 1_000_000), 0

    def forward(self, x):
        self.done += self.instructions
        return x + 1


@dataclass
class FakeCounter:
    """The counter of instructions of a CPU that runs nothing but *module*."""

    module: Counting
    started: int = 0

    def start(self) -> None:
        self.started = self.module.done

    def stop(self) -> int:
        return self.module.done - self.started


def compiled(module: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(module, backend="eager")


def more_instructions(name: str) -> Defect:
    """More instructions, counted by a fake of the CPU's counter: most virtual machines have none."""

    def judged(broken: bool) -> Outcome:
        module = Counting(name if broken else "")
        with mock.patch.object(exact_counts, "perf_counter", lambda: nullcontext(FakeCounter(module))):
            return run(module, lambda case: case.expect(instructions=1_000_000))

    return Defect(name, Kind.LIMIT, ".expect(instructions=1_000_000)", judged)


def recompiled(name: str) -> Defect:
    """Code that is compiled at each call, under a limit of compilations that the calls of a test don't reach."""

    def judged(broken: bool) -> Outcome:
        with torch._dynamo.config.patch(recompile_limit=10**6, accumulated_recompile_limit=10**6):
            return run(compiled(Numbered(name if broken else "")), lambda case: case.expect(recompile_count=0))

    return Defect(name, Kind.LIMIT, ".expect(recompile_count=0)", judged)


def more_than_in_baseline(make: Callable[[str], nn.Module], name: str, metric: str) -> Defect:
    """A defect by which *metric* regresses against the baseline of the healthy module."""

    def suite_of(defect: str, baseline: Path | None) -> TestSuite:
        module = make(defect)
        suite = TestSuite(module, quiet=True, on_failure="report", seconds_per_case=0.1, baseline=baseline)
        suite.test(module, name="module").input_shape((2, 16, DIM)).profile(1, 2)
        return suite

    def judged(broken: bool) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "base.json")
            before = suite_of("", None)
            before.run()
            before.save_baseline(path)
            (case,) = suite_of(name if broken else "", path).run()
        return outcome([v for v in case.verdicts if v.kind is not Kind.BASELINE or v.metric == metric])

    return Defect(name, Kind.BASELINE, f"TestSuite(baseline=...): {metric}", judged)


EXACT_DEFECTS = [
    alone(
        Buffered,
        "a tensor of 1 MB off the peak",
        Kind.LIMIT,
        ".expect(allocated_mb=4.1, memory_mb=4.1)",
        lambda case: case.expect(allocated_mb=4.1, memory_mb=4.1),
    ),
    alone(
        Parted,
        "a buffer allocated in parts",
        Kind.LIMIT,
        ".expect(allocation_count=2, allocated_mb=4.1, memory_mb=4.1)",
        lambda case: case.expect(allocation_count=2, allocated_mb=4.1, memory_mb=4.1),
    ),
    more_than_in_baseline(Projected, "an operator that costs nothing", "op_count"),
    more_than_in_baseline(Projected, "a product and its sum, not fused", "op_count"),
    more_than_in_baseline(Projected, "attention that is not fused", "op_count"),
    alone(
        Doubled,
        "a contiguous copy",
        Kind.LIMIT,
        ".expect(copied_mb=exactly(0))",
        lambda case: case.expect(copied_mb=exactly(0)),
    ),
    alone(
        lambda defect: compiled(Broken(defect)),
        "a graph break",
        Kind.LIMIT,
        ".expect(graph_break_count=0)",
        lambda case: case.expect(graph_break_count=0),
    ),
    recompiled("a number of the call in compiled code"),
    more_instructions("5 % more instructions"),
]
