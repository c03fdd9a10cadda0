"""The values in a module's output: lists them with their paths, and describes how they differ from those of another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ttprof.errors import ModuleRaised
from ttprof.plan import tree
from ttprof.plan.state import for_float64
from ttprof.units import significant

MAX_REPR = 60
"""Maximum number of characters of an output's repr in an error message."""

MAX_NAMES_IN_CLAUSE = 3
"""Maximum number of outputs that a clause names."""


@dataclass(frozen=True, eq=False)
class OutputLeaf:
    """One value in an output and its path, for example ``[0]`` or ``.last_hidden_state``.

    ``of`` says what the path starts from: the output, or a buffer or an input that the forward has changed.
    """

    path: str
    value: Any
    of: str = "output"

    @property
    def name(self) -> str:
        """The leaf as a reason names it, for example ``output[0]``."""
        return f"{self.of}{self.path}"

    def tensor(self) -> torch.Tensor | None:
        """The value as a dense tensor; None if it is not a tensor, an array or a float.

        Sparse, nested, quantised, conjugated and 8-bit floating-point ones are converted to a layout and dtype with
        arithmetic.
        It is on the CPU if its device does not compute in float64.
        """
        if isinstance(self.value, (float, np.ndarray, np.floating)):
            return torch.as_tensor(self.value)
        if not isinstance(self.value, torch.Tensor):
            return None
        plain = for_float64(self.value.detach())
        if plain.is_nested:
            plain = torch.cat([part.flatten() for part in plain.unbind()])
        plain = plain.to_dense() if plain.layout is not torch.strided else plain
        plain = (plain.dequantize() if plain.is_quantized else plain).resolve_conj().resolve_neg()
        return plain.float() if plain.is_floating_point() and plain.element_size() == 1 else plain


def leaves(output: Any, description: str) -> list[OutputLeaf]:
    """The values in an output. Of an object that is neither a container nor a dataclass they are its tensors.

    Raises:
        ModuleRaised: The output of *description* contains no tensor, so there is nothing to test.
    """
    result = [
        OutputLeaf(leaf.path, leaf.value)
        for leaf in tree.leaves(output)
        if leaf.value is not None and (isinstance(leaf.value, tree.ARRAYS) or not leaf.opaque)
    ]
    if not any(leaf.tensor() is not None for leaf in result):
        shown = repr(output)
        shown = shown if len(shown) <= MAX_REPR else shown[: MAX_REPR - 3] + "..."
        raise ModuleRaised(f"{description} returned {type(output).__name__} {shown}, which contains no tensor to test")
    return result


def in_order_of(output: list[OutputLeaf], other: list[OutputLeaf]) -> list[OutputLeaf]:
    """The leaves of *other* in the order of *output* if both have the same paths: the order of dict keys is free."""
    places = {leaf.name: i for i, leaf in enumerate(output)}
    same = places.keys() == {leaf.name for leaf in other}
    return sorted(other, key=lambda leaf: places[leaf.name]) if same else other


def describe_unchecked(output: list[OutputLeaf]) -> str:
    """A clause that names the leaves that are neither numbers nor strings; empty if there are none."""
    unchecked = [leaf for leaf in output if leaf.tensor() is None and not isinstance(leaf.value, (bool, int, str))]
    names = ", ".join(f"{leaf.name} ({type(leaf.value).__name__})" for leaf in unchecked[:MAX_NAMES_IN_CLAUSE])
    return f"; not checked: {names}" if names else ""


def describe_constant(output: list[OutputLeaf]) -> str:
    """A clause that names the floating-point tensors whose elements are all equal; empty if there are none."""
    clauses = []
    for leaf in output:
        tensor = leaf.tensor()
        if (
            tensor is not None
            and tensor.is_floating_point()
            and tensor.numel() > 1
            and bool((tensor == tensor.flatten()[0]).all())
        ):
            clauses.append(f"{leaf.name} is constant ({significant(float(tensor.flatten()[0]))})")
    if not clauses:
        return ""
    return f"; {', '.join(clauses[:MAX_NAMES_IN_CLAUSE])}: its pcc is undefined, and a tolerance detects few errors"


def describe_nonfinite(output: list[OutputLeaf]) -> str | None:
    """A clause that counts and locates the NaN and Inf in the first leaf that has any; None if all are finite."""
    for leaf in output:
        tensor = leaf.tensor()
        if tensor is None or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        bad = ~torch.isfinite(tensor)
        if bad.any():
            nans = int(torch.isnan(tensor).sum())
            count = int(bad.sum())
            first = tuple(bad.nonzero()[0].tolist())
            return f"{leaf.name} has {nans} NaN and {count - nans} Inf of {tensor.numel()} values, first at {first}"
    return None


def describe_nonfinite_inputs(inputs: Sequence[torch.Tensor]) -> str:
    """A clause on the NaN and Inf that floating-point inputs hold; empty if all are finite."""
    held = ["NaN"] if any(bool(tensor.isnan().any()) for tensor in inputs) else []
    infinities = (("Inf", math.inf), ("-Inf", -math.inf))
    held += [name for name, value in infinities if any(bool((tensor == value).any()) for tensor in inputs)]
    if not held:
        return ""
    return f"; its input already holds {' and '.join(held)}" + (", as masks do" if held == ["-Inf"] else "")


def bitwise_difference(first: list[OutputLeaf], other: list[OutputLeaf]) -> str | None:
    """A clause on the first bitwise difference between two outputs of one module; None if there is none."""
    if [leaf.name for leaf in first] != [leaf.name for leaf in other]:
        return f"the output has {len(first)} values, then {len(other)}"
    for a, b in zip(first, other, strict=True):
        x, y = a.tensor(), b.tensor()
        if x is None or y is None:
            if type(a.value) is not type(b.value) or (isinstance(a.value, (int, str)) and a.value != b.value):
                return f"{a.name} is {a.value!r}, then {b.value!r}"
            continue
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"{a.name} is {x.dtype} {tuple(x.shape)}, then {y.dtype} {tuple(y.shape)}"
        differ = (_bits(x) != _bits(y)).any(dim=1)
        if differ.any():
            index = np.unravel_index(int(differ.nonzero()[0]), tuple(x.shape) or (1,))
            position = [int(i) for i in index] if x.dim() else []
            return f"{int(differ.sum())} of {x.numel()} values of {a.name} differ, the first at {position}"
    return None


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of each element, with shape (elements, bytes)."""
    return tensor.contiguous().reshape(-1, 1).view(torch.uint8)


def same_nonfinite_positions(output: list[OutputLeaf], reference: list[OutputLeaf]) -> bool:
    """Whether NaN, +Inf and -Inf are at the same positions in both outputs."""
    return len(output) == len(reference) and all(map(_same_nonfinite, output, reference))


def _same_nonfinite(a: OutputLeaf, b: OutputLeaf) -> bool:
    x, y = a.tensor(), b.tensor()
    if x is None or y is None or x.shape != y.shape:
        return x is y
    x, y = x.double(), y.double()
    same = (torch.isnan(x) == torch.isnan(y)) & (torch.isinf(x) == torch.isinf(y))
    return bool((same & (~torch.isinf(x) | (x.sign() == y.sign()))).all())


def structure_difference(output: list[OutputLeaf], reference: list[OutputLeaf]) -> str | None:
    """A clause on the first difference in paths, types, shapes or in values that are no tensors, or None."""
    ours, theirs = [leaf.name for leaf in output], [leaf.name for leaf in reference]
    if ours != theirs:
        clauses = [
            f"only the {side} has {_listed(only)}"
            for side, names, others in (("output", ours, theirs), ("reference", theirs, ours))
            if (only := [name for name in names if name not in others])
        ]
        return "; ".join(clauses) or "the output has its values in another order than the reference"
    for a, b in zip(output, reference, strict=True):
        x, y = a.tensor(), b.tensor()
        if (x is None) != (y is None):
            return f"{a.name} is {type(a.value).__name__}, the reference has {type(b.value).__name__}"
        if x is None or y is None:
            if isinstance(a.value, (bool, int, str)) and a.value != b.value:
                return f"{a.name} is {a.value!r}, the reference has {b.value!r}"
        elif x.shape != y.shape:
            return f"{a.name} has shape {tuple(x.shape)}, the reference has {tuple(y.shape)}"
        elif comparison_of(x) != comparison_of(y):
            return f"{a.name} is {dtype_name(x.dtype)}, the reference has {dtype_name(y.dtype)}"
    return None


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_IN_CLAUSE
    return ", ".join(names[:MAX_NAMES_IN_CLAUSE]) + (f" and {more} more" if more > 0 else "")


def comparison_of(tensor: torch.Tensor) -> Literal["real", "complex", "exact"]:
    """How a tensor is compared: as real or complex numbers within a tolerance, or exactly."""
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "exact"


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype without the module, for example ``float16``."""
    return str(dtype).removeprefix("torch.")
