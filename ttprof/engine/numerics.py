"""Checks a module's numerics: its output, its gradients, and that it does not modify its inputs. Nothing is timed."""

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
from ttprof.run import gradients, outputs, randomness
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, Tolerance
from ttprof.verdict import Status, Verdict

DEFAULT_COMPARISON_TOLERANCE = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

GRADIENTS = "gradients"
"""The expectation of every verdict on gradients."""

NEARBY_INPUTS = 4
"""Jittered copies of the inputs on which a failing gradient check is repeated."""

SMALL_INPUT_SCALE = 0.01
"""The factor by which inputs shrink so that the epsilon of a normalisation matters."""

EPSILON_ATTRIBUTES = ("eps", "epsilon", "variance_epsilon")
"""The attributes under which normalisations keep their epsilon."""

DETERMINISM_RUNS = 3
"""Runs with the same seed whose results must be bitwise equal."""

MAX_NAMES_IN_REASON = 3
"""Names of unmatched gradients that a reason lists."""


def numerics_of(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    """Check a trial's numerics: its error against the oracle, if the test needs one, and the verdicts.

    In train mode both sides draw the same random numbers. Code from torch.compile generates its own, so that there only
    the seed is shared.
    """
    share_random_numbers = subject.case.train and not any(is_compiled(module) for module in subject.module.modules())
    with randomness.SharedRandomNumbers() if share_random_numbers else nullcontext():
        return _numerics(subject, trial, seed)


def _numerics(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    spec = subject.case
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    ours = numerics.leaves(output, spec.name)
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


def _reference_output(subject: Subject, trial: Trial, seed: int) -> list[numerics.Leaf] | None:
    """The reference's output for the same inputs; None if there is no reference or it raises.

    The tolerance follows the dtype of this output, not of the one under test: rounding that the reference does not do
    is an error.
    """
    spec = subject.case
    if subject.reference is None:
        return None
    try:
        output = outputs.forward_once(subject.reference, subject.inputs(trial), spec.reference_name, seed)
        return numerics.leaves(output, spec.reference_name)
    except ModuleRaised:
        return None


def _tensors(leaves: list[numerics.Leaf]) -> list[torch.Tensor]:
    return [tensor for leaf in leaves if (tensor := leaf.tensor()) is not None]


def _is_norm(module: nn.Module) -> bool:
    """Whether a module looks like a normalisation: by its name or an epsilon attribute."""
    return "norm" in type(module).__name__.lower() or any(hasattr(module, name) for name in EPSILON_ATTRIBUTES)


def _scaled_down(subject: Subject, trial: Trial, tolerance: Tolerance, dtype: torch.dtype, seed: int) -> Verdict:
    """Repeat the tolerance check on small inputs, where a wrong epsilon shows; at the usual scale it does not.

    SKIP if the module raises on such inputs, or if nothing can be compared.
    """
    spec, where = subject.case, f"inputs × {SMALL_INPUT_SCALE:g}"
    small = replace(trial, inputs=trial.inputs.scaled(SMALL_INPUT_SCALE))
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
    """The output of another run, followed by its gradients if the case runs a backward pass."""
    name, inputs = subject.case.name, subject.inputs(trial)
    output = numerics.leaves(outputs.forward_once(subject.module, inputs, name, seed), name)
    if not subject.case.backward:
        return output
    run_gradients = gradients.gradients_once(subject.module, inputs, name, seed)
    return [*output, *_gradient_leaves(run_gradients, list(run_gradients))]


def _purity(subject: Subject, trial: Trial) -> list[Verdict]:
    """A FAIL if the module modifies its inputs in place and its reference does not."""
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


def _gradients_confirmed_on_nearby_inputs(
    subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int
) -> Verdict:
    """The verdict on gradients; in low precision, a FAIL only if most of five nearby inputs fail as well.

    Rounding that flips the sign before a ReLU or the maximum of a pool affects one input in 20 to 50, a wrong gradient
    affects all. A strict tolerance is judged on the test's inputs alone.
    """
    first = _gradients(subject, trial, tolerance, dtype, seed)
    strict = tolerance is not None and tolerance.strict
    if first.status is not Status.FAIL or first.measured is None or strict or dtype not in numerics.GRADIENTS.floors:
        return first
    near = [replace(trial, inputs=trial.inputs.jittered(number)) for number in range(1, NEARBY_INPUTS + 1)]
    passed = [v for v in (_gradients(subject, t, tolerance, dtype, seed) for t in near) if v.status is Status.PASS]
    if 2 * (NEARBY_INPUTS - len(passed) + 1) > NEARBY_INPUTS + 1:
        return first
    confirmed = f"so it is for {len(passed)} of {NEARBY_INPUTS + 1} nearby inputs, others hit a flip by rounding"
    reason = f"{passed[0].reason}; {confirmed}"
    return msgspec.structs.replace(passed[0], reason=reason)


def _gradients(subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int) -> Verdict:
    """Check that the gradients of inputs and parameters are finite and, with a tolerance, close to the oracle's.

    A float64 module without a reference would be compared with itself, so only finiteness is checked.
    """
    spec = subject.case
    self_reference = spec.reference is None
    try:
        ours = gradients.gradients_once(subject.module, subject.inputs(trial), spec.name, seed)
        where = numerics.nonfinite(_gradient_leaves(ours, list(ours)))
        if where is not None:
            return _gradient_verdict(VerdictCode.GRADIENTS_NONFINITE, Status.FAIL, where)
        if tolerance is None or (self_reference and dtype is torch.float64):
            reason = f"the gradients of {len(ours)} tensors are finite"
            return _gradient_verdict(VerdictCode.GRADIENTS_FINITE, Status.PASS, reason)
        if self_reference:
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
    mine, theirs, same_dtype = (
        _gradient_leaves(g, names) for g in (ours, oracle.gradients, oracle.same_dtype or oracle.gradients)
    )
    noise = numerics.error_of(same_dtype, theirs, oracle.described) if oracle.same_dtype else None
    error = numerics.error_of(mine, theirs, oracle.described, noise)
    if error is None:
        reason = f"the gradients of {spec.name} hold no value to compare"
        return _gradient_verdict(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    compared = spec.reference is not None
    verdict = numerics.tolerance_verdict(tolerance, error, dtype, compared, numerics.GRADIENTS)
    reason = f"gradients of {len(names)} tensors: {verdict.reason}"
    return msgspec.structs.replace(verdict, kind=Kind.GRADIENTS, expectation=GRADIENTS, metric=None, reason=reason)


def _not_matched(ours: gradients.Gradients, theirs: gradients.Gradients) -> str:
    """A clause that names the gradients that only one side has, or that differ in shape; empty if there are none."""
    both = set(gradients.common(ours, theirs))
    unmatched = [name for name in dict.fromkeys([*ours, *theirs]) if name not in both]
    if not unmatched:
        return ""
    hidden = len(unmatched) - MAX_NAMES_IN_REASON
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"; not compared, since only one side has them so: {', '.join(unmatched[:MAX_NAMES_IN_REASON])}{more}"


def _gradient_verdict(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.GRADIENTS, code=code, expectation=GRADIENTS, status=status, reason=reason)


def _gradient_leaves(by_name: gradients.Gradients, names: list[str]) -> list[numerics.Leaf]:
    return [numerics.Leaf(f"'s gradient by {name}", by_name[name]) for name in names]


def still_finite(subject: Subject, trial: Trial, seed: int) -> list[Verdict]:
    """A FAIL if the output is no longer finite after the timed iterations."""
    spec = subject.case
    if spec.allow_nonfinite:
        return []
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    where = numerics.nonfinite(numerics.leaves(output, spec.name))
    if where is None:
        return []
    return [numerics.nonfinite_after_timing(where)]


class _NotComparable(Exception):
    """The output and its oracle can't be compared element by element; carries the verdict."""

    def __init__(self, code: VerdictCode, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(
            kind=Kind.COMPARISON, code=code, expectation="comparison with the reference", status=status, reason=reason
        )


def _error_against_oracle(
    subject: Subject, trial: Trial, ours: list[numerics.Leaf], dtype: torch.dtype
) -> tuple[NumericError, list[numerics.Leaf]]:
    """The error of an output and the leaves of its oracle; _NotComparable if they can't be compared."""
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
    oracle_noise = None
    if oracle.same_dtype is not None:
        narrow = numerics.in_order_of(theirs, numerics.leaves(oracle.same_dtype, oracle.described))
        oracle_noise = numerics.error_of(narrow, theirs, oracle.described)
    error = numerics.error_of(ours, theirs, oracle.described, oracle_noise)
    if error is None:
        reason = f"against {oracle.described}: the output holds no value to compare"
        raise _NotComparable(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    return error, theirs
