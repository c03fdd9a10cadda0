"""Copies of a module and its inputs in another dtype, made together so that what they share they still share.

Parameters, buffers and tensors in plain attributes are cast. Modules that are passed as arguments are cast with their
tensors, and an argument that is a buffer of the module is that buffer of the copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ttprof.errors import ModuleRaised, user_code
from ttprof.plan import tree
from ttprof.plan.compiled import compiled_methods, loses_compilation
from ttprof.plan.copies import Memory
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import cast, dtype_of, for_float64, uncompiled

TensorChange = Callable[[torch.Tensor], torch.Tensor]


def in_dtype(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy of *module* in *dtype*, as compiled as it is, or *module* itself if it already is in it.

    Raises:
        ModuleRaised: The module can't be copied, or its copy would not be compiled.
    """
    if dtype is None or dtype == dtype_of(module):
        return module
    if loses_compilation(module):
        reason = f"a copy of {type(module).__name__} in {dtype} would not be compiled"
        raise ModuleRaised(f"{reason}: cast the model to that dtype before it is compiled, and leave .dtype() out")
    copied, _ = _copied(module, [module], Inputs("given"), dtype, lambda t: cast(t, dtype))
    assert isinstance(copied, nn.Module)
    return copied


def cast_together(
    module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype, change: TensorChange | None = None
) -> tuple[Callable[..., Any], Inputs]:
    """A copy of *module*, uncompiled, and of *inputs* in *dtype*; a module that already is in it is not copied.

    Args:
        module: A module, or a function, which is returned as it is.
        inputs: Its inputs.
        dtype: The dtype of floating-point tensors; complex ones get its counterpart.
        change: Applied to every tensor after the cast.

    Raises:
        ModuleRaised: The module can't be copied.
        InputsError: An argument can't be copied.
    """
    modules = _modules(module, inputs)
    if change is None and all(dtype_of(m) == dtype for m in modules):
        return (modules[0] if isinstance(module, nn.Module) else module), inputs.floating(dtype)
    return _copied(module, modules, inputs, dtype, lambda t: _changed(cast(t, dtype), change))


def cast_reference(
    module: Callable[..., Any], inputs: Inputs, dtype: torch.dtype, change: TensorChange | None = None
) -> tuple[Callable[..., Any], Inputs]:
    """As ``cast_together``, but float64 copies from a device that does not compute in float64 are on the CPU."""
    modules = _modules(module, inputs)
    tensors = [*inputs.tensors(), *(t for m in modules for t in state_of(m))]
    if dtype is not torch.float64 or all(for_float64(t) is t for t in tensors):
        return cast_together(module, inputs, dtype, change)
    return _copied(module, modules, inputs, dtype, lambda t: _changed(cast(for_float64(t), dtype), change))


def _changed(tensor: torch.Tensor, change: TensorChange | None) -> torch.Tensor:
    return tensor if change is None else change(tensor)


def _modules(module: Callable[..., Any], inputs: Inputs) -> list[nn.Module]:
    """*module*, uncompiled, if it is one, and the modules among the arguments."""
    passed = [leaf.value for leaf in inputs.leaves() if isinstance(leaf.value, nn.Module)]
    return [uncompiled(module), *passed] if isinstance(module, nn.Module) else passed


def _copied(
    module: Callable[..., Any], modules: list[nn.Module], inputs: Inputs, dtype: torch.dtype, convert: TensorChange
) -> tuple[Callable[..., Any], Inputs]:
    """Copies of *module*, which *modules* begins with, and *inputs* with every tensor converted."""
    own = dtype_of(modules[0]) if modules else dtype
    dtypes = {own, *(t.dtype for t in inputs.tensors() if t.is_floating_point())}
    memory = Memory.of(([state_of(m) for m in modules], inputs.args, inputs.kwargs))
    memo: dict[int, Any] = {id(narrow): dtype for narrow in dtypes} | memory.copies(convert)
    for parameter in (p for m in modules for p in m.parameters() if p.grad is not None and id(p) in memo):
        memo[id(parameter)].grad = convert(parameter.grad)  # type: ignore[arg-type]
    with user_code(f"copying {type(module).__name__} to {dtype}"), torch.no_grad():  # TorchScript's copies have a graph
        target = modules[0] if isinstance(module, nn.Module) else None
        copied, args, kwargs = copy.deepcopy((target, inputs.args, inputs.kwargs), memo)
        copies = [top for top in (copied, *_passed(args, kwargs)) if top is not None]
        for part in (part for top in copies for part in top.modules()):
            if isinstance(part, torch.jit.ScriptModule):  # its parameters are copied by TorchScript
                part._apply(convert)  # type: ignore[no-untyped-call]
            vars(part).update(copy.deepcopy(compiled_methods(part), memo))
            _choose_eager_experts(part)
        for original, top in zip(modules, copies, strict=True):
            for before, parameter in zip(original.parameters(), top.parameters(), strict=True):
                parameter.requires_grad_(before.requires_grad)
    return (module if copied is None else copied), replace(inputs, args=args, kwargs=kwargs)


def _passed(args: Any, kwargs: Any) -> list[nn.Module]:
    return [leaf.value for leaf in tree.leaves((args, kwargs)) if isinstance(leaf.value, nn.Module)]


def state_of(module: nn.Module) -> list[torch.Tensor]:
    """The parameters and buffers of *module*, and the tensors that plain attributes hold."""
    parts = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks_and_registries = ("_parameters", "_buffers", "_modules")
    held = [value for m in parts for name, value in vars(m).items() if name not in hooks_and_registries]
    registered = [t for m in parts for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
    return [*registered, *tree.tensors(held)]


def _choose_eager_experts(module: nn.Module) -> None:
    """Let a mixture-of-experts layer of a copy use the implementation that runs in any dtype."""
    config: Any = getattr(module, "config", None)
    if hasattr(config, "_experts_implementation"):
        config._experts_implementation = "eager"
