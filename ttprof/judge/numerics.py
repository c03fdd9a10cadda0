"""Judges numerics: an output against a float64 run of the same module, or against a given reference.

Outputs are compared leaf by leaf in float64. A NaN or Inf in an output fails every case, whether or not numerics were
asked for. Errors are relative to the reference, as in numpy.testing and LAPACK: ‖a-b‖/‖b‖ and max|a-b|/max|b|.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.observation import NumericError
from ttprof.plan.capture import is_cache
from ttprof.result import Element, Number
from ttprof.spec import Tolerance
from ttprof.units import apart, significant
from ttprof.verdict import Status, Verdict


@dataclass(frozen=True)
class Rounding:
    """The error that rounding alone may cause in each dtype: a tolerance below it is raised to it, which is said.

    A reference whose own error is larger than *worst* decides nothing.
    """

    floors: dict[torch.dtype, float]
    worst: float


OUTPUTS = Rounding({torch.float16: 2.5e-3, torch.bfloat16: 2e-2}, worst=0.03)
GRADIENTS = Rounding({torch.float16: 5e-2, torch.bfloat16: 1e-1}, worst=0.3)
"""Of gradients it is larger: rounding flips the sign at a ReLU, or the largest of a pool, here and there (measured on
nn.TransformerEncoderLayer: 0.03 in float16, 0.07 in bfloat16)."""

DETERMINISTIC = "deterministic output"

MAX_FACTOR = 5.0
NOISE_FACTOR = 3.0


@dataclass(frozen=True, eq=False)
class Leaf:
    """One value in an output and the path to it, for example ``[0]`` or ``.last_hidden_state``."""

    path: str
    value: Any

    def tensor(self) -> torch.Tensor | None:
        """The value as a plain tensor, when it is a tensor, an array or a float.

        Sparse, nested, quantised and 8-bit floating-point tensors become dense ones of a type that has arithmetic.
        """
        if isinstance(self.value, (float, np.ndarray, np.floating)):
            return torch.as_tensor(self.value)
        if not isinstance(self.value, torch.Tensor):
            return None
        plain = self.value.detach()
        if plain.is_nested:
            plain = torch.cat([part.flatten() for part in plain.unbind()])
        plain = plain.to_dense() if plain.layout is not torch.strided else plain
        plain = plain.dequantize() if plain.is_quantized else plain
        return plain.float() if plain.is_floating_point() and plain.element_size() == 1 else plain


def leaves(output: Any, what: str) -> list[Leaf]:
    """The values in an output, caches left out.

    Raises ModuleRaised when no tensor is among them: then there is nothing to test.
    """
    flat, _ = pytree.tree_flatten_with_path(_opened(output), is_leaf=is_cache)
    found = [Leaf(pytree.keystr(path), value) for path, value in flat if value is not None and not is_cache(value)]
    if not any(leaf.tensor() is not None for leaf in found):
        shown = repr(output)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise ModuleRaised(f"{what} returned {type(output).__name__} {shown}, which holds no tensor to test")
    return found


def in_order_of(output: list[Leaf], other: list[Leaf]) -> list[Leaf]:
    """The values of *other* in the order of those of *output*, where both have the same paths: a dict has no order."""
    places = {leaf.path: i for i, leaf in enumerate(output)}
    same = places.keys() == {leaf.path for leaf in other}
    return sorted(other, key=lambda leaf: places[leaf.path]) if same else other


def _opened(output: Any) -> Any:
    """The output with plain dataclasses as dicts of their fields, which pytree does not look into."""

    def open_one(value: Any) -> Any:
        if not dataclasses.is_dataclass(value) or isinstance(value, type) or is_cache(value):
            return value
        return {f.name: _opened(getattr(value, f.name)) for f in dataclasses.fields(value)}

    return pytree.tree_map(open_one, output, is_leaf=is_cache)


def unseen(output: list[Leaf]) -> str:
    """A clause that names the values in an output that are neither numbers nor text, or nothing."""
    kinds = [leaf for leaf in output if leaf.tensor() is None and not isinstance(leaf.value, (bool, int, str))]
    named = ", ".join(f"output{leaf.path} ({type(leaf.value).__name__})" for leaf in kinds[:3])
    return f"; not looked into: {named}" if named else ""


def constant(output: list[Leaf]) -> str:
    """A clause that names the floating-point values in an output that are all alike, or nothing."""
    found = []
    for leaf in output:
        tensor = leaf.tensor()
        if (
            tensor is not None
            and tensor.is_floating_point()
            and tensor.numel() > 1
            and bool((tensor == tensor.flatten()[0]).all())
        ):
            found.append(f"output{leaf.path} is constant, {significant(float(tensor.flatten()[0]))} everywhere")
    return f"; {', '.join(found[:3])}: its pcc is undefined, and a tolerance sees little" if found else ""


def nonfinite(output: list[Leaf]) -> str | None:
    """Where an output is not finite, in one clause, or None when all of it is finite."""
    for leaf in output:
        tensor = leaf.tensor()
        if tensor is None or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        bad = ~torch.isfinite(tensor)
        if bad.any():
            nans = int(torch.isnan(tensor).sum())
            count = int(bad.sum())
            first = tuple(bad.nonzero()[0].tolist())
            return (
                f"output{leaf.path} has {nans} NaN and {count - nans} Inf of {tensor.numel()} values, first at {first}"
            )
    return None


def deterministic_verdict(first: list[Leaf], again: list[list[Leaf]]) -> Verdict:
    """Whether outputs of the same inputs and seed are equal bit by bit (a NaN equals itself)."""
    for run, other in enumerate(again, 2):
        where = _bitwise_difference(first, other)
        if where is not None:
            reason = f"run {run} differs from the first, with the same inputs and the same seed: {where}"
            return _deterministic(VerdictCode.NOT_DETERMINISTIC, Status.FAIL, reason)
    reason = f"{len(again) + 1} runs with the same seed gave the same bits{unseen(first)}"
    return _deterministic(VerdictCode.DETERMINISTIC, Status.PASS, reason)


def _deterministic(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.DETERMINISM, code=code, expectation=DETERMINISTIC, status=status, reason=reason)


def _bitwise_difference(one: list[Leaf], other: list[Leaf]) -> str | None:
    """Where two outputs of one module differ, in one clause, or None where they do not."""
    if [leaf.path for leaf in one] != [leaf.path for leaf in other]:
        return f"its output holds {len(one)} values, then {len(other)}"
    for a, b in zip(one, other, strict=True):
        x, y = a.tensor(), b.tensor()
        if x is None or y is None:
            if type(a.value) is not type(b.value) or (isinstance(a.value, (int, str)) and a.value != b.value):
                return f"output{a.path} is {a.value!r}, then {b.value!r}"
            continue
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"output{a.path} is {x.dtype} {tuple(x.shape)}, then {y.dtype} {tuple(y.shape)}"
        differ = (_bits(x) != _bits(y)).any(dim=1)
        if differ.any():
            first = np.unravel_index(int(differ.nonzero()[0]), tuple(x.shape) or (1,))
            place = [int(i) for i in first] if x.dim() else []
            return f"{int(differ.sum())} of {x.numel()} values of output{a.path} differ, the first at {place}"
    return None


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of each value: (values, bytes)."""
    return tensor.contiguous().reshape(-1, 1).view(torch.uint8)


def finite_verdict(output: list[Leaf], reference: list[Leaf] | None, allowed: bool) -> Verdict:
    """PASS for a finite output; where non-finite values are allowed, for positions equal to the reference's."""
    where = nonfinite(output)
    if where is None:
        without_spread = constant(output)
        code = VerdictCode.CONSTANT_OUTPUT if without_spread else VerdictCode.FINITE
        return _finite(code, Status.PASS, "every output value is finite" + without_spread + unseen(output))
    if not allowed:
        return _finite(VerdictCode.NONFINITE, Status.FAIL, where)
    expectation = "non-finite values where the reference has them"
    if reference is None:
        reason = f"{where}; allow_nonfinite() needs .tolerance(...) or .compare_with(...) to say where they belong"
        return _finite(VerdictCode.NONFINITE_WITHOUT_REFERENCE, Status.ERROR, reason, expectation)
    if len(output) != len(reference) or any(not _same_nonfinite(a, b) for a, b in zip(output, reference, strict=True)):
        reason = f"{where}, but not where the reference has them"
        return _finite(VerdictCode.NONFINITE_UNLIKE_REFERENCE, Status.FAIL, reason, expectation)
    reason = f"{where}, as in the reference"
    return _finite(VerdictCode.NONFINITE_AS_REFERENCE, Status.PASS, reason, expectation)


def nonfinite_after_timing(where: str) -> Verdict:
    """The FAIL of an output that was finite before the timed iterations and is not after them."""
    return _finite(VerdictCode.NONFINITE_AFTER_TIMING, Status.FAIL, f"after the timed iterations, {where}")


def _finite(code: VerdictCode, status: Status, reason: str, expectation: str = "finite output") -> Verdict:
    return Verdict(kind=Kind.FINITE, code=code, expectation=expectation, status=status, reason=reason)


def _same_nonfinite(a: Leaf, b: Leaf) -> bool:
    x, y = a.tensor(), b.tensor()
    if x is None or y is None or x.shape != y.shape:
        return x is y
    x, y = x.double(), y.double()
    same = (torch.isnan(x) == torch.isnan(y)) & (torch.isinf(x) == torch.isinf(y))
    return bool((same & (~torch.isinf(x) | (x.sign() == y.sign()))).all())


def structure_difference(output: list[Leaf], reference: list[Leaf]) -> str | None:
    """The first difference in paths, shapes, or values that must be exact (ints, bools, text), or None."""
    if [leaf.path for leaf in output] != [leaf.path for leaf in reference]:
        ours, theirs = (", ".join(f"output{x.path}" for x in xs[:6]) for xs in (output, reference))
        return f"the output holds {ours}, the reference {theirs}"
    for a, b in zip(output, reference, strict=True):
        x, y = a.tensor(), b.tensor()
        if (x is None) != (y is None):
            return f"output{a.path} is {type(a.value).__name__}, the reference's {type(b.value).__name__}"
        if x is None or y is None:
            if isinstance(a.value, (bool, int, str)) and a.value != b.value:
                return f"output{a.path} is {a.value!r}, the reference's {b.value!r}"
        elif x.shape != y.shape:
            return f"output{a.path} has shape {tuple(x.shape)}, the reference's {tuple(y.shape)}"
        elif _kind(x) != _kind(y):
            return f"output{a.path} is {_dtype_name(x.dtype)}, the reference's {_dtype_name(y.dtype)}"
        elif _kind(x) == "exact" and not torch.equal(x, y.to(x)):
            return f"output{a.path} ({x.dtype}) differs at {int((x != y.to(x)).sum())} of {x.numel()} positions"
    return None


def _kind(tensor: torch.Tensor) -> str:
    """How a tensor is compared: as real or complex numbers with a tolerance, or exactly."""
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "exact"


def error_of(
    output: list[Leaf], reference: list[Leaf], described: str, own: NumericError | None = None
) -> NumericError | None:
    """The largest error over all floating-point leaves; the two have the same structure.

    Positions where both are non-finite alike are left out. The pcc is the smallest over the leaves where neither
    side is constant, None where there is no such leaf. None when not a single value could be compared.
    """
    compared = sum(t.numel() for leaf in output if (t := leaf.tensor()) is not None and _kind(t) == "exact")
    rel, top, pcc, ulp, worst = 0.0, -1.0, math.inf, 0.0, None
    for leaf, a, b, count in _floating(output, reference):
        compared += count
        difference = (a - b).abs()
        rel = max(rel, _ratio(float(difference.norm()), float(b.norm())))
        ulp = max(ulp, _ulps(leaf, b, difference))
        leaf_top = _ratio(float(difference.max()), float(b.abs().max()))
        if leaf_top > top:
            top, worst = leaf_top, _worst(leaf, a, b, difference, described)
        if (correlation := _pcc(a, b)) is not None:
            pcc = min(pcc, correlation)
    if not compared:
        return None
    return NumericError(
        rel=rel,
        max=max(top, 0.0),
        pcc=None if math.isinf(pcc) else pcc,
        worst=worst,
        reference=described,
        ulp=ulp,
        own_rel=own.rel if own else 0.0,
        own_max=own.max if own else 0.0,
    )


def _floating(output: list[Leaf], reference: list[Leaf]) -> Iterator[tuple[Leaf, torch.Tensor, torch.Tensor, int]]:
    """Pairs of floating-point leaves in float64, and how many of their values are not non-finite in both.

    Those that are stand as zeros on both sides; leaves with nothing else are left out.
    """
    for leaf, other in zip(output, reference, strict=True):
        x, y = leaf.tensor(), other.tensor()
        if x is None or y is None or _kind(x) == "exact":
            continue
        a, b = (torch.view_as_real(t).double() if t.is_complex() else t.double() for t in (x, y.to(x.device)))
        twins = ~torch.isfinite(a) & ~torch.isfinite(b)
        if count := int((~twins).sum()):
            yield leaf, a.masked_fill(twins, 0.0), b.masked_fill(twins, 0.0), count


def _ratio(error: float, size: float) -> float:
    """The relative error; infinite where the error is not a number, or where the reference is all zero."""
    if not math.isfinite(error):
        return math.inf
    return error / size if size else (0.0 if error == 0 else math.inf)


def _ulps(leaf: Leaf, reference: torch.Tensor, difference: torch.Tensor) -> float:
    """The largest difference in units in the last place (Goldberg, 1991) of the reference, in the dtype of the leaf."""
    tensor = leaf.tensor()
    kind = torch.finfo(torch.float32 if tensor is None else tensor.dtype)
    _, exponent = torch.frexp(reference.abs().clamp(min=kind.tiny))
    place = torch.ldexp(torch.full_like(reference, kind.eps), exponent - 1)
    largest = float((difference / place).max())
    return largest if math.isfinite(largest) else math.inf


def _worst(leaf: Leaf, a: torch.Tensor, b: torch.Tensor, difference: torch.Tensor, described: str) -> Element:
    position = int(difference.argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(position), difference.shape)]
    value, expected = (_number(float(side.flatten()[position])) for side in (a, b))
    return Element(reference=described, path=f"output{leaf.path}", index=index, value=value, expected=expected)


def _number(value: float) -> Number:
    if math.isnan(value):
        return "nan"
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def _named(worst: Element) -> str:
    ours, theirs = apart(float(worst.value), float(worst.expected))
    return f"{worst.path}{worst.index} is {ours}, the reference has {theirs}"


def _pcc(a: torch.Tensor, b: torch.Tensor) -> float | None:
    """Pearson correlation; None where a side is constant."""
    x, y = a.flatten() - a.mean(), b.flatten() - b.mean()
    size = float(x.norm()) * float(y.norm())
    return float(x @ y) / size if 0 < size < math.inf else None


def tolerance_verdict(
    tolerance: Tolerance, error: NumericError, dtype: torch.dtype, compared: bool, rounding: Rounding = OUTPUTS
) -> Verdict:
    """PASS iff rel <= T and max <= 5 T, with T the tolerance, raised to the dtype's floor unless strict.

    With ``compare_with`` (*compared*) the reference's own error in the module's dtype, times 3, may be larger
    than T: what the reference itself can't resolve is no error of the module. A reference whose own error is
    beyond 3 % (it is not deterministic, or overflows) decides nothing: ERROR, unless the module is within T anyway.
    """
    allowed = max(tolerance.value, 0.0 if tolerance.strict else rounding.floors.get(dtype, 0.0))
    own_rel, own_max = (0.0, 0.0) if tolerance.strict or not compared else (error.own_rel, error.own_max)
    rel_bound, max_bound = allowed, MAX_FACTOR * allowed
    within = error.rel <= rel_bound and error.max <= max_bound
    if not within:
        rel_bound, max_bound = max(rel_bound, NOISE_FACTOR * own_rel), max(max_bound, NOISE_FACTOR * own_max)
    raised = rel_bound > tolerance.value
    passed = VerdictCode.WITHIN_RAISED_TOLERANCE if raised else VerdictCode.WITHIN_TOLERANCE
    if within:
        status, code = Status.PASS, passed
    elif own_rel > rounding.worst or own_max > MAX_FACTOR * rounding.worst:
        status, code = Status.ERROR, VerdictCode.REFERENCE_INACCURATE
    elif error.rel <= rel_bound and error.max <= max_bound:
        status, code = Status.PASS, passed
    else:
        status, code = Status.FAIL, VerdictCode.OUTSIDE_TOLERANCE
    return Verdict(
        kind=Kind.TOLERANCE,
        code=code,
        expectation=f"tolerance {significant(tolerance.value)}" + (" strict" if tolerance.strict else ""),
        status=status,
        reason=_tolerance_sentence(tolerance, error, dtype, status, (allowed, rel_bound, max_bound)),
        metric="rel_error",
        measured=error.rel if math.isfinite(error.rel) else None,
        bound=(None, allowed if status is Status.ERROR else rel_bound),
    )


def _tolerance_sentence(
    tolerance: Tolerance, error: NumericError, dtype: torch.dtype, status: Status, bounds: tuple[float, float, float]
) -> str:
    allowed, rel_bound, max_bound = bounds
    if status is Status.ERROR:
        return (
            f"{error.reference} can't judge a tolerance of {significant(allowed)}: run in {_dtype_name(dtype)} it is "
            f"itself {significant(error.own_rel)} off its float64 result (not deterministic, or out of range?)"
        )
    text = (
        f"relative error {significant(error.rel)} (allowed {significant(rel_bound)}), largest "
        f"{significant(error.max)} (allowed {significant(max_bound)}) against {error.reference}"
    )
    notes = [f"worst: {_named(error.worst)}"] if status is Status.FAIL and error.worst is not None else []
    if allowed > tolerance.value:
        notes.append(f"raised from {significant(tolerance.value)} to the floor of {_dtype_name(dtype)}")
    if rel_bound > allowed:
        notes.append(f"raised from {significant(allowed)} to 3 times the reference's own error")
    return "; ".join([text, *notes])


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
