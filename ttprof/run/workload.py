"""Makes a callable that runs one iteration of a module: a forward, or a forward and a backward.

It keeps nothing alive from one call to the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import preserved

DEFAULT_CACHE_BYTES = 64 * 2**20
"""Assumed if the system does not report it: larger than the caches of most desktop processors."""


def forward_call(module: Callable[..., Any], inputs: Inputs, copies: bool = False) -> Callable[[], Any]:
    """One forward without gradients, on a clone of *inputs*, or with *copies* on a fresh clone in each call."""
    fresh = inputs.cloned()

    def call() -> None:
        used = fresh.map(torch.clone) if copies else fresh
        with torch.no_grad():
            module(*used.args, **used.kwargs)

    return call


def training_call(module: Callable[..., Any], inputs: Inputs, copies: bool = False) -> Callable[[], Any]:
    """One forward and the backward of the sum of its floating-point outputs; gradients are None before and after.

    *inputs* are cloned once, or with *copies* in each call. The call raises InputsError if no output depends on a
    parameter or input that requires a gradient.
    """
    fresh = inputs.cloned().requiring_grad()
    leaves = [t for t in fresh.tensors() if t.requires_grad]
    leaves += list(module.parameters()) if isinstance(module, nn.Module) else []

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        with torch.enable_grad():
            used = fresh.map(torch.clone) if copies else fresh
            roots = differentiable(module(*used.args, **used.kwargs))
            if not roots:
                raise InputsError("backward() needs an output that requires a gradient, but this module returns none")
            torch.autograd.backward(roots, [torch.ones_like(root) for root in roots])
        for leaf in leaves:
            leaf.grad = None

    return call


def changes_inputs(module: Callable[..., Any], inputs: Inputs) -> bool:
    """Whether a forward changes a tensor of its inputs in place; False if it raises, which is reported elsewhere."""
    fresh, before = inputs.cloned(), inputs.cloned().tensors()
    unchanged = preserved(module) if isinstance(module, nn.Module) else nullcontext()
    try:
        with torch.no_grad(), unchanged, user_code("it"):
            module(*fresh.args, **fresh.kwargs)
    except ModuleRaised:
        return False
    after = fresh.tensors()
    return len(after) != len(before) or not all(map(_same_values, before, after))


def _same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaNs being equal."""
    if one.layout is not torch.strided or one.is_quantized:
        return bool(one._version == other._version)
    return bool(((one == other) | ((one != one) & (other != other))).all()) if one.shape == other.shape else False


def differentiable(output: Any) -> list[torch.Tensor]:
    """The tensors in *output*, fields of dataclasses included, that require a gradient."""
    roots = []
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, torch.Tensor):
            roots += [leaf] if leaf.requires_grad else []
        elif dataclasses.is_dataclass(leaf):
            roots += differentiable([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])
    return roots


def cold_cache(device: torch.device) -> Callable[[], None]:
    """A callable that evicts the last-level cache of *device*, by overwriting a buffer twice its size."""
    buffer = torch.empty(cache_bytes(device) * 2, dtype=torch.uint8, device=device)

    def flush() -> None:
        buffer.fill_(1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return flush


def cache_bytes(device: torch.device) -> int:
    """The size of the last-level cache in bytes: the L2 of a GPU, or the largest cache that Linux lists for core 0."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [
        f.read_text(encoding="utf-8").strip() for f in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    ]
    return max((int(s[:-1]) * 1024 for s in sizes if s.endswith("K") and s[:-1].isdigit()), default=DEFAULT_CACHE_BYTES)
