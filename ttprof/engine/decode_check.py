"""Checks a decode against one forward over the whole sequence: what a model keeps in its cache must not change it."""

from __future__ import annotations

import torch
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import InputsError, ModuleRaised
from ttprof.judge.numeric_error import error_of
from ttprof.judge.numerics import OUTPUTS
from ttprof.judge.output_leaves import OutputLeaf, leaves
from ttprof.plan import decoding
from ttprof.plan.inputs import Inputs
from ttprof.plan.model_state import in_eval_mode
from ttprof.plan.process_state import as_written
from ttprof.plan.trials import Trial, size_of_decode
from ttprof.run import outputs
from ttprof.run.casts import cast_reference
from ttprof.run.narrow_watch import NarrowWatch
from ttprof.run.subject import Subject
from ttprof.verdict import Status, Verdict

WHOLE = "one forward over the whole sequence"

LARGEST_ROUNDING = 1e-5
"""Both forwards run in float64, but models round parts to float32 whatever their inputs, and add up in other orders."""


def decode_verdicts(subject: Subject, trial: Trial, seed: int) -> list[Verdict]:
    """Compare a model's decode with the last rows of one forward over the whole sequence.

    Both run in a copy of the model in float64 and in eval mode, the prefill that fills the cache too. Nothing for a
    trial that is not the decode of a whole model.
    """
    if trial.whole is None:
        return []
    watch = NarrowWatch()
    try:
        decoded, whole = _outputs(subject, trial, trial.whole, watch, seed)
    except (InputsError, ModuleRaised) as problem:
        return [_verdict(VerdictCode.NO_REFERENCE, Status.ERROR, f"{WHOLE} does not run: {problem}")]
    last = _last_rows(whole, decoded)
    error = None if last is None else error_of([last[0]], [last[1]], WHOLE)
    if error is None:
        reason = "not tried: the first output of the model has no row for each token"
        return [_verdict(VerdictCode.NOT_TRIED, Status.SKIP, reason)]
    floor = OUTPUTS.floors.get(watch.dtype, 0.0) if watch.dtype is not None else 0.0
    allowed = max(floor, LARGEST_ROUNDING)
    agrees = error.rel <= allowed
    code = VerdictCode.DECODE_AGREES if agrees else VerdictCode.DECODE_DIFFERS
    compared = f"the decode {'agrees with' if agrees else 'differs from'} {WHOLE}"
    reason = f"{compared}: relative error {error.rel:.3g}, allowed {allowed:.3g}, in float64{watch.describe()}"
    return [_verdict(code, Status.PASS if agrees else Status.FAIL, reason)]


def _outputs(
    subject: Subject, trial: Trial, whole: Inputs, watch: NarrowWatch, seed: int
) -> tuple[OutputLeaf, OutputLeaf]:
    """The first outputs with a row for each token, of the decode and of the whole sequence."""
    name = subject.case.name
    copied, inputs = cast_reference(subject.case.module, whole, torch.float64)
    assert isinstance(copied, nn.Module)
    with in_eval_mode(copied):
        decode = decoding.inputs_with_cache(copied, inputs, size_of_decode(trial))
        with as_written(), watch:
            of_both = [outputs.forward_once(copied, sides, name, seed).output for sides in (decode, inputs)]
    first, second = (next(filter(_has_rows, leaves(output, name)), OutputLeaf("", None)) for output in of_both)
    return first, second


def _has_rows(leaf: OutputLeaf) -> bool:
    """Whether a leaf may have a row for each token, of each sequence: the logits, which stand before the cache."""
    tensor = leaf.tensor()
    return tensor is not None and tensor.is_floating_point() and tensor.dim() > 1


def _last_rows(whole: OutputLeaf, decoded: OutputLeaf) -> tuple[OutputLeaf, OutputLeaf] | None:
    """The last rows, along the tokens, that both have; None if their shapes have nothing in common."""
    a, b = decoded.tensor(), whole.tensor()
    if a is None or b is None or a.dim() != b.dim():
        return None
    rows = min(a.shape[1], b.shape[1])
    a, b = a[:, -rows:], b[:, -rows:]
    return (OutputLeaf(decoded.path, a), OutputLeaf(whole.path, b)) if a.shape == b.shape and a.numel() else None


def _verdict(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.TOLERANCE, code=code, expectation="decode with the cache", status=status, reason=reason)
