"""What is checked of a module's results: its output, its gradients, and that it leaves its inputs alone.

A subject and a trial enter; the distance from the oracle and verdicts leave. Nothing is timed here.
"""

from __future__ import annotations

import msgspec
import torch

from ttprof.errors import ModuleRaised
from ttprof.judge import numerics
from ttprof.metrics import NumericError
from ttprof.plan.trials import Trial
from ttprof.result import Status, Verdict
from ttprof.run import gradients, outputs
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, Tolerance

COMPARED = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

GRADIENTS = "gradients"

NUMERIC_METRICS = frozenset({"rel_error", "max_error", "pcc"})


def numerics_of(subject: Subject, trial: Trial, seed: int) -> tuple[NumericError | None, list[Verdict]]:
    """The error against the oracle where one is asked for, with its verdicts; always whether the output is finite."""
    spec = subject.case
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed)
    ours = numerics.leaves(output, spec.name)
    tolerance = spec.tolerance or (COMPARED if spec.reference is not None else None)
    wanted = tolerance is not None or any(limit.metric in NUMERIC_METRICS for limit in spec.limits)
    dtype = subject.dtype(trial, [t for leaf in ours if (t := leaf.tensor()) is not None])
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
    if spec.reference is not None:
        found += _purity(subject, trial)
    if spec.backward:
        found.append(_gradients(subject, trial, tolerance, dtype, seed))
    if spec.deterministic:
        again = [outputs.forward_once(subject.module, subject.inputs(trial), spec.name, seed) for _ in range(2)]
        found.append(numerics.deterministic_verdict(ours, [numerics.leaves(o, spec.name) for o in again]))
    return error, found


def _purity(subject: Subject, trial: Trial) -> list[Verdict]:
    """A FAIL for a module that changes its inputs in place where its reference does not."""
    if not subject.changes_inputs(trial) or subject.reference_changes_inputs(trial):
        return []
    reason = f"it changes its inputs in place, and {subject.case.reference_name} does not"
    return [Verdict(expectation="inputs left alone", status=Status.FAIL, reason=reason)]


def _gradients(subject: Subject, trial: Trial, tolerance: Tolerance | None, dtype: torch.dtype, seed: int) -> Verdict:
    """Whether the gradients of inputs and parameters are finite; with a tolerance, their distance from the oracle's."""
    spec = subject.case
    try:
        ours = gradients.gradients_once(subject.module, subject.inputs(trial), spec.name, seed)
        where = numerics.nonfinite(_gradient_leaves(ours, list(ours)))
        if where is not None:
            return Verdict(expectation=GRADIENTS, status=Status.FAIL, reason=where)
        if tolerance is None:
            reason = f"the gradients by {len(ours)} tensors are finite"
            return Verdict(expectation=GRADIENTS, status=Status.PASS, reason=reason)
        if spec.reference is None:
            oracle = gradients.oracle_of_itself(spec.module, trial.inputs, seed)
        else:
            oracle = gradients.oracle_of(spec.reference, spec.reference_name, trial.inputs, dtype, seed)
    except ModuleRaised as problem:
        return Verdict(expectation=GRADIENTS, status=Status.ERROR, reason=f"there is no gradient to compare: {problem}")
    return _gradients_against(oracle, ours, spec, tolerance, dtype)


def _gradients_against(
    oracle: gradients.Oracle, ours: gradients.Gradients, spec: CaseSpec, tolerance: Tolerance, dtype: torch.dtype
) -> Verdict:
    names = gradients.comparable(ours, oracle.gradients, dtype)
    mine, theirs, own = (_gradient_leaves(g, names) for g in (ours, oracle.gradients, oracle.own or oracle.gradients))
    noise = numerics.error_of(own, theirs, oracle.described) if oracle.own else None
    error = numerics.error_of(mine, theirs, oracle.described, noise)
    if error is None:
        reason = f"{spec.name} and {oracle.described} have no gradient in common"
        return Verdict(expectation=GRADIENTS, status=Status.ERROR, reason=reason)
    verdict = numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None)
    alone = [name for name in ours if name not in oracle.gradients]
    note = f"; not compared, since the reference has no such name: {', '.join(alone[:3])}" if alone else ""
    reason = f"gradients by {len(names)} tensors: {verdict.reason}{note}"
    return msgspec.structs.replace(verdict, expectation=GRADIENTS, metric=None, reason=reason)


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
    return [Verdict(expectation="finite output", status=Status.FAIL, reason=f"after the timed iterations, {where}")]


class _NotComparable(Exception):
    """An output and its oracle that can't be compared number by number."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(expectation="comparison with the reference", status=status, reason=reason)


def _error_against_oracle(
    subject: Subject, trial: Trial, ours: list[numerics.Leaf], dtype: torch.dtype
) -> tuple[NumericError, list[numerics.Leaf]]:
    """The error of an output and the leaves of its oracle; _NotComparable when there is no oracle, or no match."""
    spec = subject.case
    try:
        if spec.reference is None:
            oracle = outputs.oracle_of_itself(spec.module, trial.inputs, dtype)
        else:
            oracle = outputs.oracle_of(spec.reference, spec.reference_name, trial.inputs, dtype)
        theirs = numerics.leaves(oracle.output, oracle.described)
    except ModuleRaised as problem:
        raise _NotComparable(Status.ERROR, f"there is no reference to compare with: {problem}") from problem
    if spec.reference is None and dtype is torch.float64:
        why = (
            "a float64 module is its own reference: .tolerance() compares it with itself; use .compare_with(reference)"
        )
        raise _NotComparable(Status.INCONCLUSIVE, why)
    difference = numerics.structure_difference(ours, theirs)
    if difference is not None:
        raise _NotComparable(Status.FAIL, f"against {oracle.described}: {difference}")
    own = None
    if oracle.own is not None:
        own = numerics.error_of(numerics.leaves(oracle.own, oracle.described), theirs, oracle.described)
    error = numerics.error_of(ours, theirs, oracle.described, own)
    if error is None:
        raise _NotComparable(Status.ERROR, f"against {oracle.described}: the output holds no value to compare")
    return error, theirs
