"""Checks a decode against one forward over the whole sequence: what a model keeps in its cache must not change it."""

from __future__ import annotations

import torch

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.judge.numeric_error import error_of
from ttprof.judge.output_leaves import OutputLeaf, leaves
from ttprof.plan.inputs import Inputs
from ttprof.plan.trials import Trial
from ttprof.run import outputs
from ttprof.run.subject import Subject
from ttprof.spec import Tolerance
from ttprof.verdict import Status, Verdict

LEAST_TOLERANCE = 1e-3
"""Both forwards run in float64, but models round parts to float32 whatever their inputs, and add up in other orders."""


def decode_verdicts(subject: Subject, trial: Trial, tolerance: Tolerance, seed: int) -> list[Verdict]:
    """Compare the last rows of a model's output on the whole sequence with those of its decode, in float64.

    Nothing for a trial that is not the decode of a whole model, or if no output has a row for each token.
    """
    if trial.whole is None:
        return []
    reference = "one forward over the whole sequence"
    try:
        decoded, whole = (_output(subject, inputs, seed) for inputs in (trial.inputs, trial.whole))
    except ModuleRaised as problem:
        return [_verdict(VerdictCode.NO_REFERENCE, Status.ERROR, f"{reference}, does not run: {problem}")]
    by_path = {leaf.path: leaf.tensor() for leaf in whole}
    pairs = [(leaf, last) for leaf in decoded if (last := _last_rows(by_path.get(leaf.path), leaf)) is not None]
    if not pairs:
        return []
    error = error_of([leaf for leaf, _ in pairs], [last for _, last in pairs], reference)
    assert error is not None  # a pair is floating-point and has elements
    allowed = max(tolerance.value, LEAST_TOLERANCE)
    code = VerdictCode.DECODE_AGREES if error.rel <= allowed else VerdictCode.DECODE_DIFFERS
    status = Status.PASS if error.rel <= allowed else Status.FAIL
    compared = "agrees with" if status is Status.PASS else "differs from"
    reason = f"the decode {compared} {reference}: relative error {error.rel:.3g}, allowed {allowed:.3g}, in float64"
    return [_verdict(code, status, reason)]


def _output(subject: Subject, inputs: Inputs, seed: int) -> list[OutputLeaf]:
    outcome = outputs.outcome_in(subject.case.module, inputs, torch.float64, seed)
    return leaves(outcome.output, subject.case.name)


def _last_rows(whole: torch.Tensor | None, leaf: OutputLeaf) -> OutputLeaf | None:
    """The rows of *whole*, of shape (batch, tokens, ...), that stand for those of a decode; None for other outputs."""
    decoded = leaf.tensor()
    if whole is None or decoded is None or not decoded.is_floating_point() or not decoded.numel():
        return None
    if whole.dim() != decoded.dim() or decoded.dim() < 2 or whole.shape[1] <= decoded.shape[1]:
        return None
    last = whole[:, -decoded.shape[1] :]
    return OutputLeaf(leaf.path, last) if last.shape == decoded.shape else None


def _verdict(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.TOLERANCE, code=code, expectation="decode with the cache", status=status, reason=reason)
