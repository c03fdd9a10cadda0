"""Quick suites of a whole model: the result of a case, and parts of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ttprof import TestSuite
from ttprof.builder import CaseBuilder
from ttprof.codes import NoteCode
from ttprof.result import CaseResult
from ttprof.verdict import Verdict


class Parent(nn.Module):
    """A model that calls its ``child`` as *call*, a function of the child and the input, says."""

    def __init__(self, child: nn.Module, call: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.child, self.call = child, call

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(self.child, x)


def run(model: nn.Module, inputs: Any, register: Callable[[TestSuite], object], **options: Any) -> list[CaseResult]:
    """The cases that *register* adds to a suite of *model* on *inputs*."""
    torch.manual_seed(0)
    suite = TestSuite(model, inputs=inputs, quiet=True, on_failure="report", seconds_per_case=0.1, **options)
    register(suite)
    return list(suite.run())


def check(
    model: nn.Module,
    inputs: Any,
    change: Callable[[CaseBuilder], CaseBuilder] = lambda case: case,
    target: nn.Module | str | None = None,
    **options: Any,
) -> CaseResult:
    """The result of one case of *model*, or of its submodule *target*, as *change* completes it."""
    tested = model if target is None else target
    (case,) = run(model, inputs, lambda s: change(s.test(tested, name="x").profile(1, 2)), **options)
    return case


def verdict(case: CaseResult, expectation: str) -> Verdict:
    """The first verdict whose expectation begins like *expectation*."""
    return next(v for v in case.verdicts if v.expectation.startswith(expectation))


def metric(case: CaseResult, name: str) -> float | None:
    """A measurement of the first trial."""
    return {m.name: m.value for m in case.trials[0].measurements}.get(name)


def notes(case: CaseResult) -> list[NoteCode]:
    """The codes of the notes on the first trial."""
    return [note.code for note in case.trials[0].notes]
