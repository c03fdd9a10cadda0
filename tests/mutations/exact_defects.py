"""Injected defects that no time shows on a busy machine, and that exact counts show on any."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from mutations.blocks import DIM
from mutations.defects import Defect, Outcome, alone, outcome
from torch import nn
from torch.nn import functional as F

from ttprof import TestSuite, exactly
from ttprof.codes import Kind

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
]
