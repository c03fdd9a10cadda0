"""The gradients of a module's inputs and parameters, for comparison with those of a reference.

The backward starts from random cotangents, the same on both sides. The sum of the outputs would not do: after a
normalisation or a softmax its gradient is zero, whatever the module does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ttprof.errors import ModuleRaised, user_code
from ttprof.plan.inputs import Inputs, Variables
from ttprof.plan.model_state import ModelState, preserved
from ttprof.plan.process_state import as_written, seeded
from ttprof.plan.state import dotted_path, for_float64
from ttprof.run.casts import TensorChange, cast_reference
from ttprof.run.narrow_watch import run_watched
from ttprof.run.workload import differentiable, without_gradient


class Gradients(dict[str, torch.Tensor]):
    """Gradients by name, zeros for the names in ``without``, which no gradient reaches."""

    without: frozenset[str] = frozenset()


ZERO = 1e-10
"""A gradient whose float64 RMS is below this fraction of the largest is zero in theory, as of a bias before softmax."""

ROUNDINGS = 1e3
LARGEST_ROUNDING = 0.05
"""In the dtype under test its RMS may be 1000 eps of the largest gradient's, and at most 5 % of it."""

NOISE = 10.0
"""If the reference also ran in that dtype, the RMS may instead be up to 10 times the reference's."""


@dataclass(frozen=True)
class GradientReference:
    """The gradients to compare with, usually in float64.

    ``same_dtype`` are the reference's gradients in the dtype under test; their error is the reference's own. ``narrow``
    is the dtype below 64 bits in which the reference computes parts whatever its inputs, or None.
    """

    gradients: Gradients
    described: str
    same_dtype: Gradients | None = None
    narrow: torch.dtype | None = None


@dataclass(frozen=True)
class Backward:
    """How to run a backward: the inputs, which of them require gradients (as in the model if None), and the seed.

    *preserve* restores the module afterwards.
    """

    inputs: Inputs
    require: bool | None
    seed: int
    preserve: Callable[[nn.Module], AbstractContextManager[ModelState]] = preserved

    def of(self, module: Callable[..., Any], description: str) -> Gradients:
        """The gradients of one forward and backward by name, ``parameter weight`` or ``input 0``.

        The module is restored afterwards.

        Raises:
            ModuleRaised: *description* raised, or no parameter and no input gets a gradient.
        """
        variables = self.inputs.variables(self.require, module)
        state = self.preserve(module) if isinstance(module, nn.Module) else nullcontext()
        device = variables.leaves[0].device if variables.leaves else torch.device("cpu")
        with torch.enable_grad(), state, seeded(self.seed, device), user_code(f"the backward of {description}"):
            used = variables.copies()
            named = _leaves(module, variables)
            for leaf in named.values():
                leaf.grad = None
            roots = differentiable(module(*used.args, **used.kwargs), distinct=False)
            if not roots:
                raise ModuleRaised(without_gradient(description, self.inputs, self.require))
            torch.autograd.backward(*_cotangents(roots, self.seed))  # not grad(): reentrant checkpoints forbid it
            grads = {name: leaf.grad for name, leaf in named.items()}
        if all(gradient is None for gradient in grads.values()):
            raise ModuleRaised(f"no parameter and no input of {description} gets a gradient")
        gradients = {n: torch.zeros_like(named[n]) if g is None else _plain(g) for n, g in grads.items()}
        for name, block in zip(variables.names(), variables.memory.blocks, strict=True):
            if f"input {name}" in gradients:
                gradients[f"input {name}"] = block.part_of_tensors(gradients[f"input {name}"])
        result = Gradients(gradients)
        result.without = frozenset(name for name, gradient in grads.items() if gradient is None)
        return result

    def in_dtype(
        self,
        module: Callable[..., Any],
        dtype: torch.dtype,
        description: str,
        mode: AbstractContextManager[Any] | None = None,
        change: TensorChange | None = None,
    ) -> Gradients:
        """The gradients of a copy of *module* in *dtype* on inputs in that dtype, run under *mode* if given.

        *change* is applied to every tensor of the module and the inputs after the cast.

        Raises:
            ModuleRaised: The module can't be copied, or raised, or nothing gets a gradient.
        """
        module, inputs = cast_reference(module, self.inputs, dtype, change)
        with as_written(), mode or nullcontext():  # outside the cast, in which it would see the old dtype
            return replace(self, inputs=inputs).of(module, description)


def given_reference(
    reference: Callable[..., Any], described: str, backward: Backward, dtype: torch.dtype
) -> GradientReference:
    """The gradients of the user's reference in float64, together with those in *dtype*.

    A function that does not run in float64 is its own reference in *dtype*, and described so.

    Raises:
        ModuleRaised: The reference does not run, or nothing in it gets a gradient.
    """
    same_dtype = backward.in_dtype(reference, dtype, described)
    try:
        gradients, watch = run_watched(lambda watch: backward.in_dtype(reference, torch.float64, described, watch))
        return GradientReference(gradients, f"{described} in float64{watch.describe()}", same_dtype, watch.dtype)
    except ModuleRaised as error:
        if isinstance(reference, nn.Module):
            raise
        return GradientReference(same_dtype, f"{described} in {dtype}, since it does not run in float64 ({error})")


def default_reference(module: nn.Module, backward: Backward) -> GradientReference:
    """The gradients of the same module in float64. Raises ModuleRaised if it does not run there."""
    described = "the same module in float64"
    gradients, watch = run_watched(lambda watch: backward.in_dtype(module, torch.float64, described, watch))
    return GradientReference(gradients, f"{described}{watch.describe()}", narrow=watch.dtype)


def common(ours: Gradients, theirs: Gradients) -> list[str]:
    """The names of the gradients that both sides have in the same shape; one that reaches nothing here counts as 0."""
    names = [name for name in ours if name in theirs and name not in theirs.without]
    return [name for name in names if theirs[name].shape == ours[name].shape]


def lacking(ours: Gradients, theirs: Gradients) -> list[str]:
    """The names of gradients other than 0 that the other side has none for, though the tensor is there."""
    return [name for name in ours if name in theirs.without and bool((ours[name] != 0).any())]


def comparable(ours: Gradients, reference: GradientReference, dtype: torch.dtype) -> list[str]:
    """The common names, without the gradients that are mathematically zero and nearly zero in *dtype*.

    Such a gradient consists of rounding errors only, so its relative error means nothing.
    """
    theirs, names = reference.gradients, common(ours, reference.gradients)
    largest = max((_rms(theirs[name]) for name in names), default=0.0)
    nearly = _nearly_zero(theirs, names, dtype)

    def vanishes(name: str) -> bool:
        allowed = nearly if reference.same_dtype is None else NOISE * _rms(reference.same_dtype[name])
        return _rms(theirs[name]) <= ZERO * largest and _rms(ours[name]) <= allowed

    return [name for name in names if not vanishes(name)]


def are_small(
    ours: Gradients, reference: GradientReference, names: list[str], tolerance: float, dtype: torch.dtype
) -> bool:
    """Whether those that differ by more than *tolerance* do so within rounding errors of the largest gradient.

    So they may where a sum cancels, as in the gradient of the keys of an attention whose tokens are much alike.
    """
    theirs = reference.gradients
    differences = {name: _rms(for_float64(ours[name]).double() - theirs[name].to(ours[name].device)) for name in names}
    large = [error for name, error in differences.items() if error > tolerance * _rms(theirs[name])]
    return bool(large) and max(large) <= _nearly_zero(theirs, names, dtype)


def _nearly_zero(theirs: Gradients, names: list[str], dtype: torch.dtype) -> float:
    """The RMS up to which a gradient in *dtype* may consist of rounding errors."""
    largest = max((_rms(theirs[name]) for name in names), default=0.0)
    return min(ROUNDINGS * torch.finfo(dtype).eps, LARGEST_ROUNDING) * largest


def _rms(gradient: torch.Tensor) -> float:
    return float(for_float64(gradient).double().square().mean().sqrt()) if gradient.numel() else 0.0


def _leaves(module: Callable[..., Any], variables: Variables) -> dict[str, torch.Tensor]:
    parameters = module.named_parameters() if isinstance(module, nn.Module) else ()
    named = {f"parameter {dotted_path(name)}": p for name, p in parameters if p.requires_grad}
    leaves = zip(variables.names(), variables.leaves, strict=True)
    return named | {f"input {name}": leaf for name, leaf in leaves if leaf.requires_grad}


def _plain(gradient: torch.Tensor) -> torch.Tensor:
    return gradient if gradient.layout is torch.strided or gradient.is_nested else gradient.to_dense()


def _cotangents(roots: list[torch.Tensor], seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The distinct *roots* with normally distributed cotangents, drawn in float64 to be the same in every dtype.

    A tensor that is returned twice has the sum of two, as a tensor and a clone of it have.
    """
    generator = torch.Generator().manual_seed(seed)
    distinct = {id(root): root for root in roots}
    cotangents: dict[int, torch.Tensor] = {}
    for root in roots:
        drawn = _cotangent(root, generator)
        cotangents[id(root)] = cotangents[id(root)] + drawn if id(root) in cotangents else drawn
    return list(distinct.values()), [cotangents[identity] for identity in distinct]


def _cotangent(root: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if root.is_nested:
        return torch.ones_like(root)
    dtype = torch.complex128 if root.is_complex() else torch.float64
    values = torch.randn(root.shape, dtype=dtype, generator=generator)
    return values.to(root.dtype).to(root.device)
