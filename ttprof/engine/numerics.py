"""What is checked of a module's results: its output, its gradients, and that it leaves its inputs alone.

A subject and a trial enter; the distance from the oracle and verdicts leave. Nothing is timed here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import msgspec
import torch
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.judge import numerics
from ttprof.metrics.numerics import NUMERIC_METRICS
from ttprof.observation import NumericError
from ttprof.plan.state import is_compiled
from ttprof.plan.trials import Trial
from ttprof.result import Status, Verdict
from ttprof.run import gradients, outputs, randomness
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, Tolerance

COMPARED = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

GRADIENTS = "gradients"
NEARBY = 4
SMALL = 0.01
EPSILONS = ("eps", "epsilon", "variance_epsilon")
RUNS = 3
SHOWN = 3


def numerics_of(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    """The error against the oracle where one is asked for, with its verdicts; always whether the output is finite.

    In train mode both sides draw the same random numbers. What torch.compile made draws its own: its seed has to do.
    """
    alike = subject.case.train and not any(is_compiled(module) for module in subject.module.modules())
    with randomness.SharedRandomNumbers() if alike else nullcontext():
        return _numerics(subject, trial, seed)


def _numerics(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    spec = subject.case
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    ours = numerics.leaves(output, spec.name)
    tolerance = spec.tolerance or (COMPARED if spec.reference is not None else None)
    asked = {limit.metric for limit in spec.limits} | {spec.scaling.metric if spec.scaling else None}
    wanted = tolerance is not None or bool(asked.intersection(NUMERIC_METRICS))
    dtype = subject.dtype(trial, _tensors(_reference_output(subject, trial, seed) or ours))
    error, theirs = None, None
    found: list[Verdict] = []
    if wanted:
        try:
            error, theirs = _error_against_oracle(subject, trial, ours, dtype)
        except _NotComparable as problem:
            found.append(problem.verdict)
    if theirs is not None or not (spec.allow_nonfinite and wanted):
        found.append(numerics.finite_verdict(ours, theirs, spec.allow_nonfinite))
    if tolerance is not None and error is not None:
        found.append(numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None))
        if _is_norm(spec.module):
            found.append(_scaled_down(subject, trial, tolerance, dtype, seed))
    if spec.reference is not None:
        found += _purity(subject, trial)
    if spec.backward:
        found.append(_gradients_but_for_chance(subject, trial, tolerance, dtype, seed))
    if spec.deterministic:
        first, *again = (_run_again(subject, trial, seed) for _ in range(RUNS))
        found.append(numerics.deterministic_verdict(first, again))
    return error, found


def _reference_output(subject: Subject, trial: Trial, seed: int) -> list[numerics.Leaf] | None:
    """What the reference returns of the same inputs; None without one, or where it does not run.

    Its dtype counts, and not that of the output under test: rounding that the reference does not do is an error.
    """
    spec = subject.case
    if subject.reference is None:
        return None
    try:
        output = outputs.forward_once(subject.reference, subject.inputs(trial), spec.reference_name, seed)
        return numerics.leaves(output, spec.reference_name)
    except ModuleRaised:
        return None


def _tensors(found: list[numerics.Leaf]) -> list[torch.Tensor]:
    return [tensor for leaf in found if (tensor := leaf.tensor()) is not None]


def _is_norm(module: nn.Module) -> bool:
    """Whether a module looks like a normalisation: by its name, or by an epsilon of its own."""
    return "norm" in type(module).__name__.lower() or any(hasattr(module, name) for name in EPSILONS)


def _scaled_down(subject: Subject, trial: Trial, tolerance: Tolerance, dtype: torch.dtype, seed: int) -> Verdict:
    """The tolerance again on inputs a hundredth as large, where an epsilon counts: at the usual scale none is seen.

    SKIP where such inputs are none for it: it raises, or there is nothing to compare.
    """
    spec, where = subject.case, f"inputs × {SMALL:g}"
    small = replace(trial, inputs=trial.inputs.scaled(SMALL))
    try:
        ours = numerics.leaves(outputs.forward_once(subject.module, subject.inputs(small), spec.name, seed), spec.name)
        error, _ = _error_against_oracle(subject, small, ours, dtype)
        verdict = numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None)
    except ModuleRaised as problem:
        verdict = Verdict(
            kind=Kind.TOLERANCE,
            code=VerdictCode.NOT_TRIED,
            expectation="tolerance",
            status=Status.SKIP,
            reason=f"not tried: {problem}",
        )
    except _NotComparable as problem:
        verdict = problem.verdict
        if verdict.status is Status.ERROR:
            reason = f"not tried: {verdict.reason}"
            verdict = msgspec.structs.replace(verdict, status=Status.SKIP, code=VerdictCode.NOT_TRIED, reason=reason)
    expectation, reason = f"{verdict.expectation} at {where}", f"with {where}: {verdict.reason}"
    return msgspec.structs.replace(verdict, expectation=expectation, metric=None, reason=reason)


def _run_again(subject: Subject, trial: Trial, seed: int) -> list[numerics.Leaf]:
    """The output, and with a backward the gradients, of one more run."""
    name, inputs = subject.case.name, subject.inputs(trial)
    output = numerics.leaves(outputs.forward_once(subject.module, inputs, name, seed), name)
    if not subject.case.backward:
        return output
    found = gradients.gradients_once(subject.module, inputs, name, seed)
    return [*output, *_gradient_leaves(found, list(found))]


def _purity(subject: Subject, trial: Trial) -> list[Verdict]:
    """A FAIL for a module that changes its inputs in place where its reference does not."""
    if not subject.changes_inputs(trial) or subject.reference_changes_inputs(trial):
        return []
    reason = f"it changes its inputs in place, and {subject.case.reference_name} does not"
    return [
        Verdict(
            kind=Kind.INPUTS,
            code=VerdictCode.INPUTS_CHANGED,
            expectation="inputs left alone",
            status=Status.FAIL,
            reason=reason,
        )
    ]


def _gradients_but_for_chance(
    subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int
) -> Verdict:
    """The verdict on gradients; in a low precision a FAIL has to come out of most of five nearby inputs.

    Rounding that flips the sign at a ReLU, or the largest value of a pool, hits one input in twenty or fifty; a
    wrong gradient hits them all. A strict tolerance holds for the inputs of the test.
    """
    first = _gradients(subject, trial, tolerance, dtype, seed)
    strict = tolerance is not None and tolerance.strict
    if first.status is not Status.FAIL or first.measured is None or strict or dtype not in numerics.GRADIENTS.floors:
        return first
    near = [replace(trial, inputs=trial.inputs.jittered(number)) for number in range(1, NEARBY + 1)]
    passed = [v for v in (_gradients(subject, t, tolerance, dtype, seed) for t in near) if v.status is Status.PASS]
    if 2 * (NEARBY - len(passed) + 1) > NEARBY + 1:
        return first
    reason = (
        f"{passed[0].reason}; so it is for {len(passed)} of {NEARBY + 1} nearby inputs, others hit a flip by rounding"
    )
    return msgspec.structs.replace(passed[0], reason=reason)


def _gradients(subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int) -> Verdict:
    """Whether the gradients of inputs and parameters are finite; with a tolerance, their distance from the oracle's.

    A float64 module without a reference would be compared with itself: then finite is all that can be told.
    """
    spec = subject.case
    itself = spec.reference is None
    try:
        ours = gradients.gradients_once(subject.module, subject.inputs(trial), spec.name, seed)
        where = numerics.nonfinite(_gradient_leaves(ours, list(ours)))
        if where is not None:
            return _gradient_verdict(VerdictCode.GRADIENTS_NONFINITE, Status.FAIL, where)
        if tolerance is None or (itself and dtype is torch.float64):
            reason = f"the gradients of {len(ours)} tensors are finite"
            return _gradient_verdict(VerdictCode.GRADIENTS_FINITE, Status.PASS, reason)
        if itself:
            oracle = gradients.default_reference(spec.module, trial.inputs, seed)
        else:
            oracle = gradients.given_reference(spec.reference, spec.reference_name, trial.inputs, dtype, seed)
    except ModuleRaised as problem:
        reason = f"there is no gradient to compare: {problem}"
        return _gradient_verdict(VerdictCode.NO_GRADIENT, Status.ERROR, reason)
    verdict = _gradients_against(oracle, ours, spec, tolerance, dtype)
    return msgspec.structs.replace(verdict, reason=verdict.reason + _not_matched(ours, oracle.gradients))


def _gradients_against(
    oracle: gradients.GradientReference,
    ours: gradients.Gradients,
    spec: CaseSpec,
    tolerance: Tolerance,
    dtype: torch.dtype,
) -> Verdict:
    both = gradients.common(ours, oracle.gradients)
    if not both:
        reason = f"{spec.name} and {oracle.described} have no gradient in common"
        return _gradient_verdict(VerdictCode.NO_GRADIENT, Status.ERROR, reason)
    if (where := numerics.nonfinite(_gradient_leaves(oracle.gradients, both))) is not None:
        reason = f"{oracle.described} can't judge gradients: its {where}"
        return _gradient_verdict(VerdictCode.REFERENCE_INACCURATE, Status.ERROR, reason)
    names = gradients.comparable(ours, oracle, dtype)
    if not names:
        reason = f"all {len(both)} gradients are zero, as are those of {oracle.described}"
        return _gradient_verdict(VerdictCode.GRADIENTS_ZERO, Status.PASS, reason)
    mine, theirs, own = (
        _gradient_leaves(g, names) for g in (ours, oracle.gradients, oracle.same_dtype or oracle.gradients)
    )
    noise = numerics.error_of(own, theirs, oracle.described) if oracle.same_dtype else None
    error = numerics.error_of(mine, theirs, oracle.described, noise)
    if error is None:
        reason = f"the gradients of {spec.name} hold no value to compare"
        return _gradient_verdict(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    compared = spec.reference is not None
    verdict = numerics.tolerance_verdict(tolerance, error, dtype, compared, numerics.GRADIENTS)
    reason = f"gradients of {len(names)} tensors: {verdict.reason}"
    return msgspec.structs.replace(verdict, kind=Kind.GRADIENTS, expectation=GRADIENTS, metric=None, reason=reason)


def _not_matched(ours: gradients.Gradients, theirs: gradients.Gradients) -> str:
    """A clause that names what only one side has a gradient for, or has in another shape."""
    both = set(gradients.common(ours, theirs))
    alone = [name for name in dict.fromkeys([*ours, *theirs]) if name not in both]
    more = f" and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
    return f"; not compared, since only one side has them so: {', '.join(alone[:SHOWN])}{more}" if alone else ""


def _gradient_verdict(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.GRADIENTS, code=code, expectation=GRADIENTS, status=status, reason=reason)


def _gradient_leaves(found: gradients.Gradients, names: list[str]) -> list[numerics.Leaf]:
    return [numerics.Leaf(f"'s gradient by {name}", found[name]) for name in names]


def still_finite(subject: Subject, trial: Trial, seed: int) -> list[Verdict]:
    """A FAIL when an output that was finite before the timed iterations is not finite after them."""
    spec = subject.case
    if spec.allow_nonfinite:
        return []
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    where = numerics.nonfinite(numerics.leaves(output, spec.name))
    if where is None:
        return []
    return [numerics.nonfinite_after_timing(where)]


class _NotComparable(Exception):
    """An output and its oracle that can't be compared number by number."""

    def __init__(self, code: VerdictCode, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(
            kind=Kind.COMPARISON, code=code, expectation="comparison with the reference", status=status, reason=reason
        )


def _error_against_oracle(
    subject: Subject, trial: Trial, ours: list[numerics.Leaf], dtype: torch.dtype
) -> tuple[NumericError, list[numerics.Leaf]]:
    """The error of an output and the leaves of its oracle; _NotComparable when there is no oracle, or no match."""
    spec = subject.case
    try:
        if spec.reference is None:
            oracle = outputs.default_reference(spec.module, trial.inputs, dtype)
        else:
            oracle = outputs.given_reference(spec.reference, spec.reference_name, trial.inputs, dtype)
        theirs = numerics.in_order_of(ours, numerics.leaves(oracle.output, oracle.described))
    except ModuleRaised as problem:
        reason = f"there is no reference to compare with: {problem}"
        raise _NotComparable(VerdictCode.NO_REFERENCE, Status.ERROR, reason) from problem
    if spec.reference is None and dtype is torch.float64:
        why = (
            "a float64 module is its own reference: .tolerance() compares it with itself; use .compare_with(reference)"
        )
        raise _NotComparable(VerdictCode.OWN_REFERENCE, Status.INCONCLUSIVE, why)
    difference = numerics.structure_difference(ours, theirs)
    if difference is not None:
        reason = f"against {oracle.described}: {difference}"
        raise _NotComparable(VerdictCode.STRUCTURE_DIFFERS, Status.FAIL, reason)
    own = None
    if oracle.same_dtype is not None:
        narrow = numerics.in_order_of(theirs, numerics.leaves(oracle.same_dtype, oracle.described))
        own = numerics.error_of(narrow, theirs, oracle.described)
    error = numerics.error_of(ours, theirs, oracle.described, own)
    if error is None:
        reason = f"against {oracle.described}: the output holds no value to compare"
        raise _NotComparable(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    return error, theirs
