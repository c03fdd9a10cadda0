"""Checks a module's numerics: its output, its gradients, and whether it modifies its inputs. Nothing is timed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import msgspec
import torch
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.judge import numerics
from ttprof.judge.output_leaves import OutputLeaf, describe_nonfinite, in_order_of, leaves, structure_difference
from ttprof.metrics.numerics import NUMERIC_METRICS
from ttprof.observation import NumericError
from ttprof.plan.state import is_compiled
from ttprof.plan.trials import Trial
from ttprof.run import gradients, outputs, randomness
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, Tolerance
from ttprof.verdict import Status, Verdict

DEFAULT_COMPARISON_TOLERANCE = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

GRADIENTS = "gradients"
"""The expectation of every verdict on gradients."""

NEARBY_INPUTS = 4
"""Number of jittered copies of the inputs on which a failing gradient check is repeated."""

SMALL_INPUT_SCALE = 0.01
"""Factor that makes inputs so small that the epsilon of a normalisation matters."""

EPSILON_ATTRIBUTES = ("eps", "epsilon", "variance_epsilon")
"""Attribute names of the epsilon in normalisation modules."""

DETERMINISM_RUNS = 3
"""Number of runs with the same seed that must be bitwise equal."""

MAX_NAMES_IN_REASON = 3
"""Number of unmatched gradients that a reason names."""


def numerics_of(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    """Check a trial's numerics; returns its error against the oracle, if the test needs one, and the verdicts.

    In train mode both sides draw the same random numbers, except in modules compiled by torch.compile: these generate
    their own, so both sides share only the seed.
    """
    share_random_numbers = subject.case.train and not any(is_compiled(module) for module in subject.module.modules())
    with randomness.SharedRandomNumbers() if share_random_numbers else nullcontext():
        return _numerics(subject, trial, seed)


def _numerics(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    spec = subject.case
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    ours = leaves(output, spec.name)
    tolerance = spec.tolerance or (DEFAULT_COMPARISON_TOLERANCE if spec.reference is not None else None)
    metric_names = {limit.metric for limit in spec.limits} | {spec.scaling.metric if spec.scaling else None}
    needs_oracle = tolerance is not None or bool(metric_names.intersection(NUMERIC_METRICS))
    dtype = subject.dtype(trial, _tensors(_reference_output(subject, trial, seed) or ours))
    error, theirs = None, None
    verdicts: list[Verdict] = []
    if needs_oracle:
        try:
            error, theirs = _error_against_oracle(subject, trial, ours, dtype)
        except _NotComparable as problem:
            verdicts.append(problem.verdict)
    if theirs is not None or not (spec.allow_nonfinite and needs_oracle):
        verdicts.append(numerics.finite_verdict(ours, theirs, spec.allow_nonfinite))
    if tolerance is not None and error is not None:
        verdicts.append(numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None))
        if _is_norm(spec.module):
            verdicts.append(_scaled_down(subject, trial, tolerance, dtype, seed))
    if spec.reference is not None:
        verdicts += _purity(subject, trial)
    if spec.backward:
        verdicts.append(_gradients_confirmed_on_nearby_inputs(subject, trial, tolerance, dtype, seed))
    if spec.deterministic:
        first, *repeats = (_run_again(subject, trial, seed) for _ in range(DETERMINISM_RUNS))
        verdicts.append(numerics.deterministic_verdict(first, repeats))
    return error, verdicts


def _reference_output(subject: Subject, trial: Trial, seed: int) -> list[OutputLeaf] | None:
    """The reference's output for the same inputs; None if there is no reference or it raises.

    Its dtype sets the rounding floor, rather than the dtype of the output under test: rounding that the reference does
    not do is an error.
    """
    spec = subject.case
    if subject.reference is None:
        return None
    try:
        output = outputs.forward_once(subject.reference, subject.inputs(trial), spec.reference_name, seed)
        return leaves(output, spec.reference_name)
    except ModuleRaised:
        return None


def _tensors(output: list[OutputLeaf]) -> list[torch.Tensor]:
    return [tensor for leaf in output if (tensor := leaf.tensor()) is not None]


def _is_norm(module: nn.Module) -> bool:
    """Whether a module looks like a normalisation, judging by its class name and an epsilon attribute."""
    return "norm" in type(module).__name__.lower() or any(hasattr(module, name) for name in EPSILON_ATTRIBUTES)


def _scaled_down(subject: Subject, trial: Trial, tolerance: Tolerance, dtype: torch.dtype, seed: int) -> Verdict:
    """Repeat the tolerance check on small inputs, because a wrong epsilon has no visible effect at the usual scale.

    SKIP if the module raises on such inputs, or if nothing can be compared.
    """
    spec, scaled = subject.case, f"inputs × {SMALL_INPUT_SCALE:g}"
    small = replace(trial, inputs=trial.inputs.scaled(SMALL_INPUT_SCALE))
    try:
        ours = leaves(outputs.forward_once(subject.module, subject.inputs(small), spec.name, seed), spec.name)
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
    expectation, reason = f"{verdict.expectation} at {scaled}", f"with {scaled}: {verdict.reason}"
    return msgspec.structs.replace(verdict, expectation=expectation, metric=None, reason=reason)


def _run_again(subject: Subject, trial: Trial, seed: int) -> list[OutputLeaf]:
    """The output of another run, followed by its gradients if the case runs a backward pass."""
    name, inputs = subject.case.name, subject.inputs(trial)
    output = leaves(outputs.forward_once(subject.module, inputs, name, seed), name)
    if not subject.case.backward:
        return output
    run_gradients = gradients.gradients_once(subject.module, inputs, name, seed)
    return [*output, *_gradient_leaves(run_gradients, list(run_gradients))]


def _purity(subject: Subject, trial: Trial) -> list[Verdict]:
    """A FAIL if the module modifies its inputs in place and its reference does not."""
    if not subject.changes_inputs(trial) or subject.reference_changes_inputs(trial):
        return []
    reason = f"it modifies its inputs in place, but {subject.case.reference_name} does not"
    return [
        Verdict(
            kind=Kind.INPUTS,
            code=VerdictCode.INPUTS_CHANGED,
            expectation="inputs left alone",
            status=Status.FAIL,
            reason=reason,
        )
    ]


def _gradients_confirmed_on_nearby_inputs(
    subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int
) -> Verdict:
    """Judge the gradients; in low precision, FAIL only if most of five nearby inputs fail.

    Rounding that flips the sign before a ReLU, or the maximum of a pool, affects one input in 20 to 50; a wrong
    gradient affects all. A strict tolerance is judged on the test's inputs only.
    """
    first = _gradients(subject, trial, tolerance, dtype, seed)
    strict = tolerance is not None and tolerance.strict
    if first.status is not Status.FAIL or first.measured is None or strict or dtype not in numerics.GRADIENTS.floors:
        return first
    nearby = [replace(trial, inputs=trial.inputs.jittered(number)) for number in range(1, NEARBY_INPUTS + 1)]
    passed = [v for v in (_gradients(subject, t, tolerance, dtype, seed) for t in nearby) if v.status is Status.PASS]
    total = NEARBY_INPUTS + 1
    if 2 * (total - len(passed)) > total:
        return first
    reason = f"{passed[0].reason}; {len(passed)} of {total} nearby inputs pass, so rounding explains the other failures"
    return msgspec.structs.replace(passed[0], reason=reason)


def _gradients(subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int) -> Verdict:
    """Check that the gradients of inputs and parameters are finite and, with a tolerance, close to the oracle's.

    A float64 module without a reference would be compared with itself, so only finiteness is checked.
    """
    spec = subject.case
    self_reference = spec.reference is None
    try:
        ours = gradients.gradients_once(subject.module, subject.inputs(trial), spec.name, seed)
        nonfinite = describe_nonfinite(_gradient_leaves(ours, list(ours)))
        if nonfinite is not None:
            return _gradient_verdict(VerdictCode.GRADIENTS_NONFINITE, Status.FAIL, nonfinite)
        if tolerance is None or (self_reference and dtype is torch.float64):
            reason = f"the gradients of {len(ours)} tensors are finite"
            return _gradient_verdict(VerdictCode.GRADIENTS_FINITE, Status.PASS, reason)
        if self_reference:
            oracle = gradients.default_reference(spec.module, trial.inputs, seed)
        else:
            oracle = gradients.given_reference(spec.reference, spec.reference_name, trial.inputs, dtype, seed)
    except ModuleRaised as problem:
        reason = f"no gradients to compare: {problem}"
        return _gradient_verdict(VerdictCode.NO_GRADIENT, Status.ERROR, reason)
    verdict = _gradients_against(oracle, ours, spec, tolerance, dtype)
    return msgspec.structs.replace(verdict, reason=verdict.reason + _describe_unmatched(ours, oracle.gradients))


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
    if (nonfinite := describe_nonfinite(_gradient_leaves(oracle.gradients, both))) is not None:
        reason = f"the gradients of {oracle.described} are not finite: {nonfinite}"
        return _gradient_verdict(VerdictCode.REFERENCE_INACCURATE, Status.ERROR, reason)
    names = gradients.comparable(ours, oracle, dtype)
    if not names:
        reason = f"all {len(both)} gradients are zero, as are those of {oracle.described}"
        return _gradient_verdict(VerdictCode.GRADIENTS_ZERO, Status.PASS, reason)
    our_leaves, oracle_leaves, same_dtype_leaves = (
        _gradient_leaves(g, names) for g in (ours, oracle.gradients, oracle.same_dtype or oracle.gradients)
    )
    noise = numerics.error_of(same_dtype_leaves, oracle_leaves, oracle.described) if oracle.same_dtype else None
    error = numerics.error_of(our_leaves, oracle_leaves, oracle.described, noise)
    if error is None:
        reason = f"the gradients of {spec.name} contain no values to compare"
        return _gradient_verdict(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    compared = spec.reference is not None
    verdict = numerics.tolerance_verdict(tolerance, error, dtype, compared, numerics.GRADIENTS)
    reason = f"gradients of {len(names)} tensors: {verdict.reason}"
    return msgspec.structs.replace(verdict, kind=Kind.GRADIENTS, expectation=GRADIENTS, metric=None, reason=reason)


def _describe_unmatched(ours: gradients.Gradients, theirs: gradients.Gradients) -> str:
    """A clause that names the gradients that only one side has, or whose shapes differ; empty if there are none."""
    matched = set(gradients.common(ours, theirs))
    unmatched = [name for name in dict.fromkeys([*ours, *theirs]) if name not in matched]
    if not unmatched:
        return ""
    hidden = len(unmatched) - MAX_NAMES_IN_REASON
    more = f" and {hidden} more" if hidden > 0 else ""
    names = ", ".join(unmatched[:MAX_NAMES_IN_REASON])
    return f"; not compared, because only one side has them or the shapes differ: {names}{more}"


def _gradient_verdict(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.GRADIENTS, code=code, expectation=GRADIENTS, status=status, reason=reason)


def _gradient_leaves(by_name: gradients.Gradients, names: list[str]) -> list[OutputLeaf]:
    return [OutputLeaf(f"'s gradient w.r.t. {name}", by_name[name]) for name in names]


def still_finite(subject: Subject, trial: Trial, seed: int) -> list[Verdict]:
    """A FAIL if the output is no longer finite after the timed iterations, else nothing."""
    spec = subject.case
    if spec.allow_nonfinite:
        return []
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    nonfinite = describe_nonfinite(leaves(output, spec.name))
    return [] if nonfinite is None else [numerics.nonfinite_after_timing(nonfinite)]


class _NotComparable(Exception):
    """Raised if the output and its oracle can't be compared element by element; carries the verdict."""

    def __init__(self, code: VerdictCode, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(
            kind=Kind.COMPARISON, code=code, expectation="comparison with the reference", status=status, reason=reason
        )


def _error_against_oracle(
    subject: Subject, trial: Trial, ours: list[OutputLeaf], dtype: torch.dtype
) -> tuple[NumericError, list[OutputLeaf]]:
    """The error of an output, and the leaves of its oracle. Raises _NotComparable if they can't be compared."""
    spec = subject.case
    try:
        if spec.reference is None:
            oracle = outputs.default_reference(spec.module, trial.inputs, dtype)
        else:
            oracle = outputs.given_reference(spec.reference, spec.reference_name, trial.inputs, dtype)
        theirs = in_order_of(ours, leaves(oracle.output, oracle.described))
    except ModuleRaised as problem:
        reason = f"no reference to compare with: {problem}"
        raise _NotComparable(VerdictCode.NO_REFERENCE, Status.ERROR, reason) from problem
    if spec.reference is None and dtype is torch.float64:
        reason = (
            "a float64 module is its own default reference, so .tolerance() would compare it with itself; "
            "use .compare_with(reference)"
        )
        raise _NotComparable(VerdictCode.OWN_REFERENCE, Status.INCONCLUSIVE, reason)
    difference = structure_difference(ours, theirs)
    if difference is not None:
        reason = f"against {oracle.described}: {difference}"
        raise _NotComparable(VerdictCode.STRUCTURE_DIFFERS, Status.FAIL, reason)
    oracle_noise = None
    if oracle.same_dtype is not None:
        narrow = in_order_of(theirs, leaves(oracle.same_dtype, oracle.described))
        oracle_noise = numerics.error_of(narrow, theirs, oracle.described)
    error = numerics.error_of(ours, theirs, oracle.described, oracle_noise)
    if error is None:
        reason = f"against {oracle.described}: the output contains no values to compare"
        raise _NotComparable(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    return error, theirs
