"""The outputs that numerics compare: of the module, and of what it is measured against.

A module, a reference and inputs enter; outputs leave, the oracle's in float64 where it runs there. Copies are
made for other dtypes, so the model itself is never cast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ttprof.errors import ModuleRaised, user_code
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import cast, dtype_of, preserved, seeded, uncompiled


@dataclass(frozen=True, eq=False)
class Oracle:
    """What an output is compared with. ``own`` is the reference's output in the module's dtype, for its own error."""

    output: Any
    described: str
    own: Any = None


def forward_once(module: Callable[..., Any], inputs: Inputs, what: str, seed: int = 0) -> Any:
    """The output of one forward on clones of *inputs*, without gradients, the generators at *seed*.

    A module's buffers are as before afterwards, so that what is compared starts from the same state.
    Raises ModuleRaised, naming *what*, when the forward raises.
    """
    fresh = inputs.cloned()
    devices = [t.device for t in fresh.tensors()] or [torch.device("cpu")]
    state = preserved(module) if isinstance(module, nn.Module) else nullcontext()
    with torch.no_grad(), state, seeded(seed, devices[0]), user_code(f"the forward of {what}"):
        return module(*fresh.args, **fresh.kwargs)


def in_dtype(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """The module itself, or a copy of it with floating-point parameters and buffers in *dtype*.

    Raises ModuleRaised when the module can't be copied.
    """
    if dtype is None or dtype == dtype_of(module):
        return module
    with user_code(f"copying {type(module).__name__} to {dtype}"):
        copied = copy.deepcopy(module)
        copied._apply(lambda tensor: cast(tensor, dtype))  # type: ignore[no-untyped-call]
        return copied


def ready_for(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module in *dtype*, as its author wrote it and able to run there; ModuleRaised when it can't be copied."""
    module = uncompiled(module)
    return _eager_experts(in_dtype(module, dtype), module)


def oracle_of_itself(module: nn.Module, inputs: Inputs, tested: torch.dtype) -> Oracle:
    """The same module in float64 on up-cast inputs; float32 when float64 can't run and *tested* is smaller.

    Raises ModuleRaised when neither runs: a float32 module is no reference for itself.
    """
    try:
        return Oracle(_run_in(module, inputs, torch.float64), "the same module in float64")
    except ModuleRaised as error:
        if torch.finfo(tested).bits >= 32:
            raise
        output = _run_in(module, inputs, torch.float32)
        return Oracle(output, f"the same module in float32, since float64 can't run ({error})")


def oracle_of(reference: Callable[..., Any], described: str, inputs: Inputs, tested: torch.dtype) -> Oracle:
    """The reference in float64, beside its own output in the dtype under test.

    A plain callable that only runs in the dtype under test is compared as it is, and so described.
    Raises ModuleRaised when the reference does not run.
    """
    narrow = in_dtype(reference, tested) if isinstance(reference, nn.Module) else reference
    own = forward_once(narrow, inputs.floating(tested), described)
    try:
        return Oracle(_run_in(reference, inputs, torch.float64), f"{described} in float64", own)
    except ModuleRaised as error:
        return Oracle(own, f"{described} in {tested}, since float64 can't run ({error})")


def _run_in(module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype) -> Any:
    if isinstance(module, nn.Module):
        module = ready_for(module, dtype)
    return forward_once(
        module, inputs.floating(dtype), f"{getattr(module, '__name__', type(module).__name__)} in {dtype}"
    )


def _eager_experts(module: nn.Module, original: nn.Module) -> nn.Module:
    """Switch a copy's mixture-of-experts layers to the implementation that runs in any dtype."""
    if module is not original:
        for each in module.modules():
            config: Any = getattr(each, "config", None)
            if hasattr(config, "_experts_implementation"):
                config._experts_implementation = "eager"
    return module
