"""Runs a suite of one case and returns the result of that case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ttprof import TestSuite
from ttprof.builder import CaseBuilder
from ttprof.result import CaseResult


def run_case(
    module: nn.Module,
    change: Callable[[CaseBuilder], CaseBuilder] = lambda case: case,
    shape: tuple[int, ...] = (4, 8),
    **options: Any,
) -> CaseResult:
    """Run a case on inputs of *shape*, with two timed iterations, as *change* completes it."""
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2, on_failure="report", **options)
    change(suite.test(module, name="x").input_shape(shape).profile(1, 2))
    return suite.run()[0]


def reasons(case: CaseResult) -> dict[str, str]:
    """The reason of each verdict, by its expectation."""
    return {verdict.expectation: verdict.reason for verdict in case.verdicts}


def run_registered(model: nn.Module, register: Callable[[TestSuite], object]) -> CaseResult:
    """Run the one case that *register* adds to a suite of *model*."""
    suite = TestSuite(model, batch_size=2, seq_len=64, quiet=True, seconds_per_case=0.3)
    register(suite)
    (case,) = suite.run()
    return case
