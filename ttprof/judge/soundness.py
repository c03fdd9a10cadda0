"""Judges an output by itself: whether it is finite, and the same in every run.

A NaN or Inf in an output fails every case, even without a numerics test.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ttprof.codes import Kind, VerdictCode
from ttprof.judge.output_leaves import (
    OutputLeaf,
    bitwise_difference,
    describe_constant,
    describe_nonfinite,
    describe_nonfinite_inputs,
    describe_unchecked,
    same_nonfinite_positions,
)
from ttprof.verdict import Status, Verdict

DETERMINISTIC = "deterministic output"


def deterministic_verdict(first: list[OutputLeaf], repeats: list[list[OutputLeaf]]) -> Verdict:
    """Judge whether outputs for the same inputs and seed are bitwise equal (NaN equals itself)."""
    for run, repeat in enumerate(repeats, 2):
        difference = bitwise_difference(first, repeat)
        if difference is not None:
            reason = f"run {run} differs from run 1 with the same inputs and seed: {difference}"
            return _deterministic(VerdictCode.NOT_DETERMINISTIC, Status.FAIL, reason)
    reason = f"{len(repeats) + 1} runs with the same inputs and seed are bitwise equal{describe_unchecked(first)}"
    return _deterministic(VerdictCode.DETERMINISTIC, Status.PASS, reason)


def _deterministic(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.DETERMINISM, code=code, expectation=DETERMINISTIC, status=status, reason=reason)


def finite_verdict(
    output: list[OutputLeaf],
    reference: list[OutputLeaf] | None,
    allow_nonfinite: bool,
    inputs: Sequence[torch.Tensor] = (),
) -> Verdict:
    """Judge whether an output is finite or, with *allow_nonfinite*, non-finite exactly where the reference is.

    If it is not finite, the reason says so if the *inputs*, which are of floating point, are not either.
    """
    nonfinite = describe_nonfinite(output)
    if nonfinite is None:
        constant = describe_constant(output)
        code = VerdictCode.CONSTANT_OUTPUT if constant else VerdictCode.FINITE
        return _finite(code, Status.PASS, f"every output value is finite{constant}{describe_unchecked(output)}")
    nonfinite += describe_nonfinite_inputs(inputs)
    if not allow_nonfinite:
        return _finite(VerdictCode.NONFINITE, Status.FAIL, nonfinite)
    expectation = "non-finite values where the reference has them"
    if reference is None:
        reason = f"{nonfinite}; allow_nonfinite() needs .tolerance(...) or .compare_with(...) to check their positions"
        return _finite(VerdictCode.NONFINITE_WITHOUT_REFERENCE, Status.ERROR, reason, expectation)
    if not same_nonfinite_positions(output, reference):
        reason = f"{nonfinite}; the reference has them at other positions"
        return _finite(VerdictCode.NONFINITE_UNLIKE_REFERENCE, Status.FAIL, reason, expectation)
    reason = f"{nonfinite}; the reference has them at the same positions"
    return _finite(VerdictCode.NONFINITE_AS_REFERENCE, Status.PASS, reason, expectation)


def nonfinite_after_timing(nonfinite: str) -> Verdict:
    """The FAIL for an output that was finite before the timed iterations but not after them."""
    return _finite(VerdictCode.NONFINITE_AFTER_TIMING, Status.FAIL, f"after the timed iterations, {nonfinite}")


def _finite(code: VerdictCode, status: Status, reason: str, expectation: str = "finite output") -> Verdict:
    return Verdict(kind=Kind.FINITE, code=code, expectation=expectation, status=status, reason=reason)
