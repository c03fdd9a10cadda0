"""Checks a module's numerics: its output, the inputs and buffers that it changes, and its gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.engine import decode_check, gradient_checks
from ttprof.engine.gradient_checks import gradient_leaves
from ttprof.errors import ModuleRaised, user_code
from ttprof.judge import numerics
from ttprof.judge.numeric_error import equal_bits, error_of
from ttprof.judge.numerics import Compared
from ttprof.judge.output_leaves import (
    OutputLeaf,
    describe_constant,
    describe_nonfinite,
    in_order_of,
    leaves,
    structure_difference,
)
from ttprof.judge.soundness import deterministic_verdict, finite_verdict, nonfinite_after_timing
from ttprof.metrics.numerics import NUMERIC_METRICS
from ttprof.observation import NumericError
from ttprof.plan.compiled import has_compiled_parts, unless_compiled
from ttprof.plan.model_state import preserved, preserved_but_memory
from ttprof.plan.trials import Trial
from ttprof.run import outputs, randomness
from ttprof.run.outputs import Outcome, OutputReference
from ttprof.run.rounding import RandomRounding
from ttprof.run.subject import Subject
from ttprof.spec import Tolerance
from ttprof.verdict import Status, Verdict

DEFAULT_COMPARISON_TOLERANCE = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

SMALL_INPUT_SCALE = 0.01
"""Factor that makes inputs so small that the epsilon of a normalisation matters."""

EPSILON_ATTRIBUTES = ("eps", "epsilon", "variance_epsilon")
"""Attribute names of the epsilon in normalisation modules."""

ROUNDING_RUNS = 3
"""Number of randomly rounded runs of a reference, one of which must explain an error."""

RARE_JUMP_RUNS = 24
"""Their number if few rows are off: rounding may make the outcome jump in some runs only."""

MAX_CALLS_IN_A_ROW = 100
"""Calls after which a module that changes its own state must still return finite values."""

MASKED = 1e4
"""Magnitudes from here on are those of masks."""

DETERMINISM_RUNS = 3
"""Number of runs with the same seed that must be bitwise equal."""


@dataclass(frozen=True)
class NumericsChecks:
    """The outcome of the checks of a trial.

    Attributes:
        error: The error against the oracle, or None if the test needs none or it can't be compared.
        verdicts: The verdicts on output, inputs and gradients.
        model_changes: The parameters and attributes that the forward changed.
    """

    error: NumericError | None
    verdicts: list[Verdict]
    model_changes: tuple[str, ...]


def numerics_of(subject: Subject, trial: Trial, seed: int) -> NumericsChecks:
    """Check a trial's numerics.

    Both sides draw the same random numbers. Code compiled by torch.compile, and kernels that drop values inside, draw
    their own: then a difference is no error.
    """
    shared = randomness.SharedRandomNumbers()
    with unless_compiled(shared, subject.module, subject.reference):
        checks = _numerics(subject, trial, seed)
    sides = [side for side in (subject.module, subject.reference) if isinstance(side, nn.Module)]
    compiled = shared.draws and any(map(has_compiled_parts, sides))
    if not compiled and not shared.unshared:
        return checks
    by = "code that torch.compile has compiled" if compiled else "a fused kernel"
    return replace(checks, verdicts=[numerics.unless_random(verdict, by) for verdict in checks.verdicts])


def _numerics(subject: Subject, trial: Trial, seed: int) -> NumericsChecks:
    spec = subject.case
    outcome = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    output = leaves(outcome.output, spec.name)
    tolerance = spec.tolerance or (DEFAULT_COMPARISON_TOLERANCE if spec.reference is not None else None)
    metric_names = {limit.metric for limit in spec.limits} | {spec.scaling.metric if spec.scaling else None}
    needs_oracle = tolerance is not None or bool(metric_names.intersection(NUMERIC_METRICS))
    dtype = subject.dtype(trial, _tensors(_reference_output(subject, trial, seed) or output))
    compared, theirs = None, None
    verdicts: list[Verdict] = []
    if needs_oracle:
        try:
            compared, theirs = _compare_with_oracle(subject, trial, outcome, dtype, seed)
        except _NotComparable as problem:
            verdicts.append(problem.verdict)
    if theirs is not None or not (spec.allow_nonfinite and needs_oracle):
        inputs = [t for t in trial.inputs.tensors() if _may_hold_nan(t)]
        verdicts.append(finite_verdict(output, theirs, spec.allow_nonfinite, inputs))
    if tolerance is not None and compared is not None:
        verdict = numerics.tolerance_verdict(tolerance, compared)
        verdict = numerics.unless_noise(verdict, tolerance, compared, _largest(trial))
        verdicts.append(_unless_unstable(verdict, subject, trial, tolerance, compared, seed))
        if _is_norm(spec.module):
            verdicts.append(_scaled_down(subject, trial, tolerance, dtype, seed))
    if tolerance is not None:
        verdicts += decode_check.decode_verdicts(subject, trial, seed)
    if spec.reference is not None:
        verdicts += _purity(subject, trial)
    if spec.backward:
        verdicts.append(gradient_checks.gradient_verdict(subject, trial, tolerance, dtype, seed))
    if spec.deterministic:
        with preserved(subject.module):
            first, *repeats = (_run_again(subject, trial, seed) for _ in range(DETERMINISM_RUNS))
        verdicts.append(deterministic_verdict(first, repeats))
    return NumericsChecks(compared.error if compared is not None else None, verdicts, outcome.model_changes)


def _largest(trial: Trial) -> float:
    """The largest magnitude in the inputs; NaN, infinity and what stands for it in masks count as 0."""
    floats = [t.detach().abs() for t in trial.inputs.tensors() if _may_hold_nan(t) and t.numel()]
    return max((float(t.nan_to_num(nan=0.0).masked_fill(t >= MASKED, 0.0).max()) for t in floats), default=0.0)


def _may_hold_nan(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_nested


def _reference_output(subject: Subject, trial: Trial, seed: int) -> list[OutputLeaf] | None:
    """The reference's output for the same inputs; None if there is no reference or it raises.

    Its dtype sets the rounding floor, rather than the dtype of the output under test: rounding that the reference does
    not do is an error.
    """
    spec = subject.case
    if subject.reference is None:
        return None
    try:
        outcome = outputs.forward_once(subject.reference, subject.inputs(trial), spec.reference_name, seed)
        return leaves(outcome.output, spec.reference_name)
    except ModuleRaised:
        return None


def _tensors(output: list[OutputLeaf]) -> list[torch.Tensor]:
    return [tensor for leaf in output if (tensor := leaf.tensor()) is not None]


def _is_norm(module: nn.Module) -> bool:
    """Whether a module looks like a normalisation, judging by its class name and an epsilon attribute."""
    return "norm" in type(module).__name__.lower() or any(hasattr(module, name) for name in EPSILON_ATTRIBUTES)


def _unless_unstable(
    verdict: Verdict, subject: Subject, trial: Trial, tolerance: Tolerance, compared: Compared, seed: int
) -> Verdict:
    """*verdict*; where it blames the module or the reference, only after rounding was ruled out as the cause."""
    if verdict.code not in (VerdictCode.OUTSIDE_TOLERANCE, VerdictCode.REFERENCE_INACCURATE):
        return verdict
    side = subject.case.reference if compared.given else subject.case.module
    runs = RARE_JUMP_RUNS if numerics.is_rare(tolerance, compared) else ROUNDING_RUNS
    try:
        movements = _moved_by_rounding(side, trial, compared, seed, runs)
        return numerics.unless_unstable(verdict, tolerance, compared, movements)
    except (ModuleRaised, _NotComparable):
        return verdict


def _moved_by_rounding(
    side: nn.Module, trial: Trial, compared: Compared, seed: int, runs: int
) -> Iterator[NumericError | None]:
    """How far random rounding to the dtype under test moves float64 runs of *side*, run by run.

    Raises:
        ModuleRaised: It does not run in float64.
        _NotComparable: The rounding changes the structure of its output.
    """
    exact = outputs.outcome_in(side, trial.inputs, torch.float64, seed)
    for run in range(runs):
        rounding = RandomRounding(compared.dtype, seed + run)
        moved = outputs.outcome_in(side, trial.inputs, torch.float64, seed, change=rounding)
        ours, theirs = _comparable_leaves(moved, exact, compared.error.reference)
        yield error_of(ours, theirs, compared.error.reference)


def _scaled_down(subject: Subject, trial: Trial, tolerance: Tolerance, dtype: torch.dtype, seed: int) -> Verdict:
    """Repeat the tolerance check on small inputs, because a wrong epsilon has no visible effect at the usual scale.

    SKIP if the module raises on such inputs, or if nothing can be compared.
    """
    spec, scaled = subject.case, f"inputs × {SMALL_INPUT_SCALE:g}"
    small = replace(trial, inputs=trial.inputs.scaled(SMALL_INPUT_SCALE))
    try:
        outcome = outputs.forward_once(subject.module, subject.inputs(small), spec.name, seed)
        compared, _ = _compare_with_oracle(subject, small, outcome, dtype, seed)
        verdict = numerics.tolerance_verdict(tolerance, compared)
        verdict = numerics.unless_noise(verdict, tolerance, compared, _largest(small))
        verdict = _unless_unstable(verdict, subject, small, tolerance, compared, seed)
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
    """The output of another run, followed by its gradients if the case runs a backward pass.

    The module's attributes stay as the run leaves them, since the next must not depend on them.
    """
    name, inputs = subject.case.name, subject.inputs(trial)
    outcome = outputs.forward_once(subject.module, inputs, name, seed, preserved_but_memory)
    output = leaves(outcome.output, name)
    if not subject.case.backward:
        return output
    return [*output, *gradient_leaves(gradient_checks.gradients_of(subject, trial, seed, preserved_but_memory))]


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


def still_finite(subject: Subject, trial: Trial, seed: int, calls: int) -> list[Verdict]:
    """A FAIL if the output is no longer finite after as many *calls* as were timed, at most 100, else nothing.

    The timed calls all start from the same parameters. Here a module that changes them goes on from that.
    """
    spec = subject.case
    if spec.allow_nonfinite:
        return []
    with preserved(subject.module), user_code(f"the forward of {spec.name}"):
        if subject.changes_parameters(trial):
            subject.call(trial).repeated(min(calls, MAX_CALLS_IN_A_ROW))
            subject.inputs(trial).context.apply()
        outcome = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    nonfinite = describe_nonfinite(leaves(outcome.output, spec.name))
    return [] if nonfinite is None else [nonfinite_after_timing(nonfinite)]


class _NotComparable(Exception):
    """Raised if the output and its oracle can't be compared element by element; carries the verdict."""

    def __init__(self, code: VerdictCode, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(
            kind=Kind.COMPARISON, code=code, expectation="comparison with the reference", status=status, reason=reason
        )


def _compare_with_oracle(
    subject: Subject, trial: Trial, outcome: Outcome, dtype: torch.dtype, seed: int
) -> tuple[Compared, list[OutputLeaf]]:
    """Compare an outcome with that of its oracle; also returns the leaves of the oracle's output.

    Raises:
        _NotComparable: There is no oracle, or the two can't be compared element by element.
    """
    spec = subject.case
    oracle = _oracle(subject, trial, dtype, seed)
    if spec.reference is None and dtype is torch.float64:
        reason = (
            "a float64 module is its own default reference, so .tolerance() would compare it with itself; "
            "use .compare_with(reference)"
        )
        raise _NotComparable(VerdictCode.OWN_REFERENCE, Status.INCONCLUSIVE, reason)
    ours, theirs = _comparable_leaves(outcome, oracle.outcome, oracle.described)
    oracle_noise, same_bits = None, False
    if oracle.same_dtype is not None:
        narrow, exact = _comparable_leaves(oracle.same_dtype, oracle.outcome, oracle.described)
        oracle_noise = error_of(narrow, exact, oracle.described)
        same_bits = equal_bits(ours, in_order_of(ours, narrow)) and not describe_constant(narrow)
    error = error_of(ours, theirs, oracle.described, oracle_noise)
    if error is None and not spec.allow_nonfinite and describe_nonfinite(ours) is not None:
        reason = f"against {oracle.described}: no value of the output is finite"
        raise _NotComparable(VerdictCode.NOTHING_TO_COMPARE, Status.SKIP, reason)
    if error is None:
        reason = f"against {oracle.described}: the output contains no values to compare"
        raise _NotComparable(VerdictCode.NOTHING_TO_COMPARE, Status.ERROR, reason)
    error = replace(error, same_bits=same_bits)
    compared = Compared(error, dtype, given=spec.reference is not None, narrow=oracle.narrow)
    return compared, [leaf for leaf in theirs if leaf.of == OutputLeaf.of]


def _oracle(subject: Subject, trial: Trial, dtype: torch.dtype, seed: int) -> OutputReference:
    spec = subject.case
    try:
        if spec.reference is None:
            return outputs.default_reference(spec.module, trial.inputs, dtype, seed)
        return outputs.given_reference(spec.reference, spec.reference_name, trial.inputs, dtype, seed)
    except ModuleRaised as problem:
        reason = f"no reference to compare with: {problem}"
        raise _NotComparable(VerdictCode.NO_REFERENCE, Status.ERROR, reason) from problem


def _comparable_leaves(
    outcome: Outcome, reference: Outcome, described: str
) -> tuple[list[OutputLeaf], list[OutputLeaf]]:
    """The leaves of two outcomes in one order: their outputs, and the inputs and buffers that one of them changed.

    Raises:
        _NotComparable: The reference returned no tensor, or the two differ in structure.
    """
    names = sorted(reference.changed_inputs) + sorted(
        (outcome.changed_buffers | reference.changed_buffers) & outcome.buffers.keys() & reference.buffers.keys()
    )
    try:
        ours, theirs = (
            [*leaves(side.output, described), *(OutputLeaf("", side.state_of(name), of=name) for name in names)]
            for side in (outcome, reference)
        )
    except ModuleRaised as problem:
        reason = f"no reference to compare with: {problem}"
        raise _NotComparable(VerdictCode.NO_REFERENCE, Status.ERROR, reason) from problem
    theirs = in_order_of(ours, theirs)
    difference = structure_difference(ours, theirs)
    if difference is not None:
        reason = f"against {described}: {difference}"
        raise _NotComparable(VerdictCode.STRUCTURE_DIFFERS, Status.FAIL, reason)
    return ours, theirs
