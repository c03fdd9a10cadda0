"""Checks the gradients of a module's inputs and parameters against those of its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.judge import numerics
from ttprof.judge.numeric_error import error_of
from ttprof.judge.numerics import Compared
from ttprof.judge.output_leaves import OutputLeaf, describe_nonfinite
from ttprof.observation import NumericError
from ttprof.plan.model_state import ModelState, preserved
from ttprof.plan.trials import Trial
from ttprof.run import gradients
from ttprof.run.gradients import Backward, GradientReference, Gradients
from ttprof.run.rounding import OperatorRounding, RandomRounding
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, Tolerance
from ttprof.verdict import Status, Verdict

GRADIENTS = "gradients"
"""The expectation of every verdict on gradients."""

NEARBY_INPUTS = 4
"""Number of jittered copies of the inputs on which a failing gradient check is repeated."""

ROUNDING_RUNS = 12
"""Number of randomly rounded runs of a reference, one of which must explain an error: signs flip in some only."""

MAX_NAMES_IN_REASON = 3
"""Number of unmatched gradients that a reason names."""


def gradient_verdict(
    subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int
) -> Verdict:
    """Judge the gradients; in low precision, FAIL only if most of five nearby inputs fail.

    Rounding that flips the sign before a ReLU, or the maximum of a pool, affects one input in 20 to 50; a wrong
    gradient affects all. A strict tolerance is judged on the test's inputs only. Where rounding moves the reference's
    own gradients as much, the verdict is INCONCLUSIVE in any precision.
    """
    first = _judge(subject, trial, tolerance, dtype, seed)
    if first.comparison is None or first.verdict.status is Status.PASS or (tolerance is not None and tolerance.strict):
        return first.verdict
    if first.verdict.status is Status.FAIL and dtype in numerics.GRADIENTS.floors:
        nearby = [replace(trial, inputs=trial.inputs.jittered(number)) for number in range(1, NEARBY_INPUTS + 1)]
        others = [_judge(subject, near, tolerance, dtype, seed).verdict for near in nearby]
        passed = [verdict for verdict in others if verdict.status is Status.PASS]
        total = NEARBY_INPUTS + 1
        if 2 * len(passed) >= total:
            explained = f"{len(passed)} of {total} nearby inputs pass, so rounding explains the other failures"
            return msgspec.structs.replace(passed[0], reason=f"{passed[0].reason}; {explained}")
    return _unless_unstable(first.verdict, first.comparison, subject, trial, seed)


def gradients_of(
    subject: Subject,
    trial: Trial,
    seed: int,
    preserve: Callable[[nn.Module], AbstractContextManager[ModelState]] = preserved,
) -> Gradients:
    """The gradients of the module under test, which *preserve* restores afterwards.

    Raises:
        ModuleRaised: The module raised, or nothing gets a gradient.
    """
    backward = Backward(subject.inputs(trial), subject.case.gradients_of_inputs, seed, preserve)
    return backward.of(subject.module, subject.case.name)


def gradient_leaves(by_name: Gradients, names: list[str] | None = None) -> list[OutputLeaf]:
    """The gradients called *names*, by default all, as leaves to compare."""
    return [OutputLeaf("", by_name[name], of=f"gradient w.r.t. {name}") for name in names or by_name]


@dataclass(frozen=True)
class _Comparison:
    """The comparison that a verdict judges: with which reference, of which gradients, and within which tolerance.

    ``small``: those that differ do so within rounding errors of the largest gradient.
    """

    oracle: GradientReference
    names: list[str]
    tolerance: Tolerance
    compared: Compared
    small: bool


@dataclass(frozen=True)
class _Judged:
    """A verdict, and the comparison behind it if there was one."""

    verdict: Verdict
    comparison: _Comparison | None = None


def _judge(subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int) -> _Judged:
    """Check that the gradients of inputs and parameters are finite and, with a tolerance, close to the oracle's.

    A float64 module without a reference would be compared with itself, so only finiteness is checked.
    """
    spec = subject.case
    self_reference = spec.reference is None
    try:
        ours = gradients_of(subject, trial, seed)
        nonfinite = describe_nonfinite(gradient_leaves(ours))
        if nonfinite is not None:
            return _verdict(VerdictCode.GRADIENTS_NONFINITE, Status.FAIL, nonfinite)
        if tolerance is None or (self_reference and dtype is torch.float64):
            reason = f"the gradients of {len(ours)} tensors are finite"
            return _verdict(VerdictCode.GRADIENTS_FINITE, Status.PASS, reason)
        backward = Backward(trial.inputs, spec.gradients_of_inputs, seed)
        if self_reference:
            oracle = gradients.default_reference(spec.module, backward)
        else:
            oracle = gradients.given_reference(spec.reference, spec.reference_name, backward, dtype)
    except ModuleRaised as problem:
        reason = f"no gradients to compare: {problem}"
        return _verdict(VerdictCode.NO_GRADIENT, Status.ERROR, reason)
    judged = _compare(spec, ours, oracle, tolerance, dtype)
    lacking = gradients.lacking(ours, oracle.gradients)
    if lacking and judged.verdict.status is Status.PASS:
        reason = f"no gradient reaches {_named(lacking)} in {oracle.described}, so that of {spec.name} has nothing to"
        return _verdict(VerdictCode.REFERENCE_WITHOUT_GRADIENT, Status.INCONCLUSIVE, f"{reason} agree with")
    reason = judged.verdict.reason + _describe_unmatched(ours, oracle.gradients)
    return replace(judged, verdict=msgspec.structs.replace(judged.verdict, reason=reason))


def _compare(
    spec: CaseSpec, ours: Gradients, oracle: GradientReference, tolerance: Tolerance, dtype: torch.dtype
) -> _Judged:
    both = gradients.common(ours, oracle.gradients)
    if not both:
        reason = f"{spec.name} and {oracle.described} have no gradient in common"
        return _verdict(VerdictCode.NO_GRADIENT, Status.ERROR, reason)
    if (nonfinite := describe_nonfinite(gradient_leaves(oracle.gradients, both))) is not None:
        reason = f"the gradients of {oracle.described} are not finite: {nonfinite}"
        return _verdict(VerdictCode.REFERENCE_INACCURATE, Status.ERROR, reason)
    names = gradients.comparable(ours, oracle, dtype)
    if not names:
        reason = f"all {len(both)} gradients are zero, as are those of {oracle.described}"
        return _verdict(VerdictCode.GRADIENTS_ZERO, Status.PASS, reason)
    noise = _error(oracle.same_dtype, oracle, names) if oracle.same_dtype else None
    error = _error(ours, oracle, names, noise)
    if error is None:
        reason = f"the gradients of {spec.name} contain no values to compare"
        return _verdict(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    compared = Compared(error, dtype, spec.reference is not None, oracle.narrow, numerics.GRADIENTS)
    tolerance = replace(tolerance, rows=None)  # a row of a gradient is no row of the output
    verdict = _of_gradients(numerics.tolerance_verdict(tolerance, compared), names)
    small = gradients.are_small(ours, oracle, names, tolerance.value, dtype)
    return _Judged(verdict, _Comparison(oracle, names, tolerance, compared, small))


def _of_gradients(verdict: Verdict, names: list[str]) -> Verdict:
    reason = f"gradients of {len(names)} tensors: {verdict.reason}"
    return msgspec.structs.replace(verdict, kind=Kind.GRADIENTS, expectation=GRADIENTS, metric=None, reason=reason)


def _unless_unstable(verdict: Verdict, comparison: _Comparison, subject: Subject, trial: Trial, seed: int) -> Verdict:
    """*verdict*, unless rounding moves the reference's own gradients as much."""
    if verdict.code not in (VerdictCode.OUTSIDE_TOLERANCE, VerdictCode.REFERENCE_INACCURATE):
        return verdict
    side = subject.case.module if subject.case.reference is None else subject.case.reference
    backward = Backward(trial.inputs, subject.case.gradients_of_inputs, seed)
    oracle, names, compared = comparison.oracle, comparison.names, comparison.compared

    def movements(in_operators: bool) -> Iterator[NumericError | None]:
        for run in range(ROUNDING_RUNS):
            rounding = RandomRounding(compared.dtype, seed + run)
            mode = OperatorRounding(compared.dtype, seed + run) if in_operators else None
            moved = backward.in_dtype(side, torch.float64, oracle.described, mode, rounding)
            yield _error(moved, oracle, names) if set(names) <= moved.keys() else None

    try:
        stable = numerics.unless_unstable(verdict, comparison.tolerance, compared, movements(in_operators=False))
        if stable.code is VerdictCode.OUTSIDE_TOLERANCE and comparison.small:
            explained = movements(in_operators=True)
            inside = numerics.unless_unstable(verdict, comparison.tolerance, compared, explained, in_operators=True)
            stable = inside if inside.code is VerdictCode.REFERENCE_UNSTABLE else stable
    except ModuleRaised:
        return verdict
    return verdict if stable is verdict else _of_gradients(stable, names)


def _error(
    ours: Gradients, oracle: GradientReference, names: list[str], noise: NumericError | None = None
) -> NumericError | None:
    leaves, theirs = gradient_leaves(ours, names), gradient_leaves(oracle.gradients, names)
    return error_of(leaves, theirs, oracle.described, noise)


def _describe_unmatched(ours: Gradients, theirs: Gradients) -> str:
    """A clause that names the gradients that only one side has, or whose shapes differ; empty if there are none."""
    matched = {*gradients.common(ours, theirs), *theirs.without}
    unmatched = [name for name in dict.fromkeys([*ours, *theirs]) if name not in matched]
    if not unmatched:
        return ""
    return f"; not compared, because only one side has them or the shapes differ: {_named(unmatched)}"


def _named(names: list[str]) -> str:
    hidden = len(names) - MAX_NAMES_IN_REASON
    return ", ".join(names[:MAX_NAMES_IN_REASON]) + (f" and {hidden} more" if hidden > 0 else "")


def _verdict(code: VerdictCode, status: Status, reason: str) -> _Judged:
    return _Judged(Verdict(kind=Kind.GRADIENTS, code=code, expectation=GRADIENTS, status=status, reason=reason))
