"""The gradients that numerics compare: of a module's inputs and parameters, for fixed cotangents.

A module and inputs enter; named gradients leave. The sum of the outputs would not do: behind a normalisation or a
softmax its gradient is zero, whatever the module does. The cotangents are random, and the same on both sides.
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
"""A float64 gradient below this share of the largest one is mathematically zero, as of a bias before a softmax."""

ROUNDINGS = 1e3
LARGEST_ROUNDING = 0.05
"""What is mathematically zero may come out as so many roundings of the largest gradient, up to a twentieth of it."""

NOISE = 10.0
"""Where the reference ran in the dtype under test: so many times what came out there."""


@dataclass(frozen=True)
class Oracle:
    """The gradients to compare with. ``own`` are the reference's in the dtype under test, for its own error."""

    gradients: Gradients
    described: str
    own: Gradients | None = None


def gradients_once(module: Callable[..., Any], inputs: Inputs, what: str, seed: int) -> Gradients:
    """The gradients of one forward and backward, by name; zeros for what the outputs do not depend on.

    Buffers and gradients of the module are as before afterwards. Raises ModuleRaised, naming *what*, when it raises or
    none of its outputs has a gradient.
    """
    fresh = inputs.cloned().requiring_grad()
    tensors = fresh.tensors()
    state = preserved(module) if isinstance(module, nn.Module) else nullcontext()
    device = tensors[0].device if tensors else torch.device("cpu")
    with torch.enable_grad(), state, seeded(seed, device), user_code(f"the backward of {what}"):
        given = fresh.map(torch.clone)
        roots = differentiable(module(*given.args, **given.kwargs))
        if not roots:
            raise ModuleRaised(f"no output of {what} has a gradient")
        named = _leaves(module, tensors)
        for leaf in named.values():
            leaf.grad = None
        torch.autograd.backward(roots, _cotangents(roots, seed))  # not grad(): reentrant checkpoints refuse that
        found = {name: leaf.grad for name, leaf in named.items()}
    return {name: torch.zeros_like(named[name]) if g is None else g.to_dense() for name, g in found.items()}


def oracle_of(reference: Callable[..., Any], described: str, inputs: Inputs, dtype: torch.dtype, seed: int) -> Oracle:
    """The gradients of the reference in float64, beside its own in *dtype*.

    A plain callable that only runs in *dtype* is compared as it is, and so described. Raises ModuleRaised when the
    reference does not run.
    """
    own = _gradients_in(reference, inputs, dtype, described, seed)
    try:
        return Oracle(_gradients_in(reference, inputs, torch.float64, described, seed), f"{described} in float64", own)
    except ModuleRaised as error:
        if isinstance(reference, nn.Module):
            raise
        return Oracle(own, f"{described} in {dtype}, since float64 can't run ({error})")


def oracle_of_itself(module: nn.Module, inputs: Inputs, seed: int) -> Oracle:
    """The gradients of the same module in float64; ModuleRaised when it does not run there."""
    described = "the same module in float64"
    return Oracle(_gradients_in(module, inputs, torch.float64, described, seed), described)


def _gradients_in(module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype, what: str, seed: int) -> Gradients:
    if isinstance(module, nn.Module):
        module = ready_for(module, dtype)
    return gradients_once(module, inputs.floating(dtype), what, seed)


def common(ours: Gradients, theirs: Gradients) -> list[str]:
    """The names that both have, with one shape."""
    return [name for name, gradient in ours.items() if name in theirs and theirs[name].shape == gradient.shape]


def comparable(ours: Gradients, oracle: Oracle, dtype: torch.dtype) -> list[str]:
    """The common names, but for those that are mathematically zero, and nearly zero in *dtype*.

    Such a gradient holds only rounding errors, of which one can't be told relative to the other.
    """
    theirs, names = oracle.gradients, common(ours, oracle.gradients)
    largest = max((_rms(theirs[name]) for name in names), default=0.0)
    nearly = min(ROUNDINGS * torch.finfo(dtype).eps, LARGEST_ROUNDING) * largest

    def vanishes(name: str) -> bool:
        allowed = nearly if oracle.own is None else NOISE * _rms(oracle.own[name])
        return _rms(theirs[name]) <= ZERO * largest and _rms(ours[name]) <= allowed

    return [name for name in names if not vanishes(name)]


def _rms(gradient: torch.Tensor) -> float:
    return float(gradient.double().square().mean().sqrt()) if gradient.numel() else 0.0


def _leaves(module: Callable[..., Any], tensors: list[torch.Tensor]) -> Gradients:
    parameters = module.named_parameters() if isinstance(module, nn.Module) else ()
    named = {f"parameter {dotted_path(name)}": p for name, p in parameters if p.requires_grad}
    return named | {f"input {i}": tensor for i, tensor in enumerate(tensors) if tensor.requires_grad}


def _cotangents(roots: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Normal numbers of each root's shape, from float64 so that they are the same in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(root.shape, dtype=torch.float64, generator=generator) for root in roots)
    return [m.to(device=root.device, dtype=root.dtype) for m, root in zip(made, roots, strict=True)]
