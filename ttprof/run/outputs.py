"""The outputs of a module and of its reference, for comparison.

The reference runs in float64 if it can. Other dtypes run on copies, so the model itself is never cast.
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
class OutputReference:
    """The output to compare with, usually in float64.

    ``same_dtype`` is the reference's output in the dtype under test; its error is the reference's own.
    """

    output: Any
    described: str
    same_dtype: Any = None


def forward_once(module: Callable[..., Any], inputs: Inputs, description: str, seed: int = 0) -> Any:
    """The output of one forward on clones of *inputs*, without gradients, the generators seeded with *seed*.

    The module's buffers are restored afterwards, so that every forward starts from the same state.

    Raises:
        ModuleRaised: the forward of *description* raised.
    """
    fresh = inputs.cloned()
    devices = [t.device for t in fresh.tensors()] or [torch.device("cpu")]
    state = preserved(module) if isinstance(module, nn.Module) else nullcontext()
    with torch.no_grad(), state, seeded(seed, devices[0]), user_code(f"the forward of {description}"):
        return module(*fresh.args, **fresh.kwargs)


def in_dtype(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy of *module* with floating-point parameters and buffers in *dtype*, or *module* if it already is.

    Raises:
        ModuleRaised: the module can't be copied.
    """
    if dtype is None or dtype == dtype_of(module):
        return module
    with user_code(f"copying {type(module).__name__} to {dtype}"):
        copied = copy.deepcopy(module)
        copied._apply(lambda tensor: cast(tensor, dtype))  # type: ignore[no-untyped-call]
        return copied


def ready_for(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """*module* in *dtype*, uncompiled and able to run there. Raises ModuleRaised if it can't be copied."""
    module = uncompiled(module)
    return _eager_experts(in_dtype(module, dtype), module)


def default_reference(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> OutputReference:
    """The output of the same module in float64 on up-cast inputs.

    If it does not run in float64 and *dtype*, the dtype under test, is narrower than float32, then in float32.

    Raises:
        ModuleRaised: the module runs in no wider dtype than *dtype*.
    """
    try:
        return OutputReference(_run_in(module, inputs, torch.float64), "the same module in float64")
    except ModuleRaised as error:
        if torch.finfo(dtype).bits >= 32:
            raise
        output = _run_in(module, inputs, torch.float32)
        return OutputReference(output, f"the same module in float32, since it does not run in float64 ({error})")


def given_reference(
    reference: Callable[..., Any], described: str, inputs: Inputs, dtype: torch.dtype
) -> OutputReference:
    """The output of the user's reference in float64, together with that in *dtype*, the dtype under test.

    A reference that does not run in float64 is its own reference in *dtype*, and described so.

    Raises:
        ModuleRaised: the reference does not run.
    """
    narrow = in_dtype(reference, dtype) if isinstance(reference, nn.Module) else reference
    same_dtype = forward_once(narrow, inputs.floating(dtype), described)
    try:
        output = _run_in(reference, inputs, torch.float64)
        return OutputReference(output, f"{described} in float64", same_dtype)
    except ModuleRaised as error:
        return OutputReference(same_dtype, f"{described} in {dtype}, since it does not run in float64 ({error})")


def _run_in(module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype) -> Any:
    if isinstance(module, nn.Module):
        module = ready_for(module, dtype)
    description = f"{getattr(module, '__name__', type(module).__name__)} in {dtype}"
    return forward_once(module, inputs.floating(dtype), description)


def _eager_experts(module: nn.Module, original: nn.Module) -> nn.Module:
    """Switch the mixture-of-experts layers of a copy to the implementation that runs in any dtype."""
    if module is not original:
        for submodule in module.modules():
            config: Any = getattr(submodule, "config", None)
            if hasattr(config, "_experts_implementation"):
                config._experts_implementation = "eager"
    return module
