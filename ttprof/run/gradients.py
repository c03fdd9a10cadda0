"""The gradients of a module's inputs and parameters, for comparison with those of a reference.

The backward starts from random cotangents, the same on both sides. The sum of the outputs would not do: after a
normalisation or a softmax its gradient is zero, whatever the module does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ttprof.errors import ModuleRaised, user_code
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import dotted_path, preserved, seeded
from ttprof.run.outputs import ready_for
from ttprof.run.workload import differentiable

Gradients = dict[str, torch.Tensor]

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

    ``same_dtype`` are the reference's gradients in the dtype under test; their error is the reference's own.
    """

    gradients: Gradients
    described: str
    same_dtype: Gradients | None = None


def gradients_once(module: Callable[..., Any], inputs: Inputs, description: str, seed: int) -> Gradients:
    """The gradients of one forward and backward by name, ``parameter weight`` or ``input 0``.

    The gradient is zero for parameters and inputs on which no output depends. The module's buffers and gradients are
    restored afterwards.

    Raises:
        ModuleRaised: *description* raised, or none of its outputs has a gradient.
    """
    fresh = inputs.cloned().requiring_grad()
    tensors = fresh.tensors()
    state = preserved(module) if isinstance(module, nn.Module) else nullcontext()
    device = tensors[0].device if tensors else torch.device("cpu")
    with torch.enable_grad(), state, seeded(seed, device), user_code(f"the backward of {description}"):
        copies = fresh.map(torch.clone)
        roots = differentiable(module(*copies.args, **copies.kwargs))
        if not roots:
            raise ModuleRaised(f"no output of {description} has a gradient")
        named = _leaves(module, tensors)
        for leaf in named.values():
            leaf.grad = None
        torch.autograd.backward(roots, _cotangents(roots, seed))  # not grad(): reentrant checkpoints forbid it
        grads = {name: leaf.grad for name, leaf in named.items()}
    return {name: torch.zeros_like(named[name]) if g is None else g.to_dense() for name, g in grads.items()}


def given_reference(
    reference: Callable[..., Any], described: str, inputs: Inputs, dtype: torch.dtype, seed: int
) -> GradientReference:
    """The gradients of the user's reference in float64, together with those in *dtype*.

    A function that does not run in float64 is its own reference in *dtype*, and described so.

    Raises:
        ModuleRaised: the reference does not run.
    """
    same_dtype = _gradients_in(reference, inputs, dtype, described, seed)
    try:
        gradients = _gradients_in(reference, inputs, torch.float64, described, seed)
        return GradientReference(gradients, f"{described} in float64", same_dtype)
    except ModuleRaised as error:
        if isinstance(reference, nn.Module):
            raise
        return GradientReference(same_dtype, f"{described} in {dtype}, since it does not run in float64 ({error})")


def default_reference(module: nn.Module, inputs: Inputs, seed: int) -> GradientReference:
    """The gradients of the same module in float64. Raises ModuleRaised if it does not run there."""
    described = "the same module in float64"
    return GradientReference(_gradients_in(module, inputs, torch.float64, described, seed), described)


def _gradients_in(
    module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype, description: str, seed: int
) -> Gradients:
    if isinstance(module, nn.Module):
        module = ready_for(module, dtype)
    return gradients_once(module, inputs.floating(dtype), description, seed)


def common(ours: Gradients, theirs: Gradients) -> list[str]:
    """The names of the gradients that both sides have in the same shape."""
    return [name for name, gradient in ours.items() if name in theirs and theirs[name].shape == gradient.shape]


def comparable(ours: Gradients, reference: GradientReference, dtype: torch.dtype) -> list[str]:
    """The common names, without the gradients that are mathematically zero and nearly zero in *dtype*.

    Such a gradient consists of rounding errors only, so its relative error means nothing.
    """
    theirs, names = reference.gradients, common(ours, reference.gradients)
    largest = max((_rms(theirs[name]) for name in names), default=0.0)
    nearly = min(ROUNDINGS * torch.finfo(dtype).eps, LARGEST_ROUNDING) * largest

    def vanishes(name: str) -> bool:
        allowed = nearly if reference.same_dtype is None else NOISE * _rms(reference.same_dtype[name])
        return _rms(theirs[name]) <= ZERO * largest and _rms(ours[name]) <= allowed

    return [name for name in names if not vanishes(name)]


def _rms(gradient: torch.Tensor) -> float:
    return float(gradient.double().square().mean().sqrt()) if gradient.numel() else 0.0


def _leaves(module: Callable[..., Any], tensors: list[torch.Tensor]) -> Gradients:
    parameters = module.named_parameters() if isinstance(module, nn.Module) else ()
    named = {f"parameter {dotted_path(name)}": p for name, p in parameters if p.requires_grad}
    return named | {f"input {i}": tensor for i, tensor in enumerate(tensors) if tensor.requires_grad}


def _cotangents(roots: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Normally distributed cotangents, drawn in float64 so that they are the same in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    cotangents = (torch.randn(root.shape, dtype=torch.float64, generator=generator) for root in roots)
    return [c.to(device=root.device, dtype=root.dtype) for c, root in zip(cotangents, roots, strict=True)]
