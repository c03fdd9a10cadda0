"""Puts a model into the state that a test needs: its device, its mode, and seeded generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ttprof.plan.model_state import in_eval_mode, train_as_in
from ttprof.plan.observers import unobserved
from ttprof.plan.process_state import process_settings, seeded
from ttprof.plan.sharded import gathered
from ttprof.system.device_types import device_type

COMPLEX_DTYPES = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def dotted_path(name: str) -> str:
    """A module's path without the ``_orig_mod`` parts that torch.compile inserts."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def is_compiled(module: nn.Module) -> bool:
    """Whether *module* is the wrapper that torch.compile returns."""
    return "_orig_mod" in module._modules


def uncompiled(module: nn.Module) -> nn.Module:
    """The module inside a torch.compile wrapper, or *module* itself."""
    return module.get_submodule("_orig_mod") if is_compiled(module) else module


def device_of(module: nn.Module) -> torch.device | None:
    """The device of the module's first parameter or buffer, or None if it has neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of the module's first floating-point parameter or buffer, or torch's default dtype without one."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.get_default_dtype()


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Cast a floating-point tensor to *dtype*, a complex one to its complex counterpart if there is one.

    The largest finite values of a dtype stand for infinity, as in attention masks, and become those of *dtype*.
    """
    if tensor.is_complex():
        return tensor.to(COMPLEX_DTYPES.get(dtype, tensor.dtype))
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    result = tensor.to(dtype)
    if tensor.layout is not torch.strided or tensor.is_nested or type(tensor) not in (torch.Tensor, nn.Parameter):
        return result
    extreme = tensor.abs() == torch.finfo(tensor.dtype).max
    if tensor.element_size() > 1 and extreme.any():
        result = torch.where(extreme, tensor.sign().to(dtype) * torch.finfo(dtype).max, result)
    return result


def for_float64(tensor: torch.Tensor) -> torch.Tensor:
    """*tensor* where it can be cast to float64: on the CPU if its device does not compute in float64."""
    return tensor if device_type(tensor.device.type).float64 else tensor.cpu()


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Move *module* to *device*, and back on exit; a module that lies on several devices stays there."""
    before = device_of(module)
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers())}
    if before is None or before == device or len(devices) > 1:
        yield
        return
    try:
        module.to(device)
        yield
    finally:
        module.to(before)


def _evaluates(module: nn.Module) -> bool:
    """Whether *module* and all its parts are in eval mode."""
    return not any(getattr(part, "training", False) for part in module.modules())


@contextmanager
def under_test(modules: list[nn.Module], training: list[nn.Module], device: torch.device, seed: int) -> Iterator[None]:
    """Put *modules* on *device* in eval mode, those in *training* in train mode, and seed the generators.

    The modules, the generators and the settings of the process are restored on exit. A profiler that the code under
    test leaves running is stopped.

    Raises:
        ProfilerRunningError: a profiler of torch runs already.
    """
    with ExitStack() as stack:
        stack.enter_context(unobserved())
        stack.enter_context(process_settings(device))
        stack.enter_context(seeded(seed, device))
        for module in modules:
            stack.enter_context(gathered(module))
        saved: list[nn.Module] = []
        for module in modules:
            stack.enter_context(placed(module, device))
            if any(part is module for whole in saved for part in whole.modules()) and _evaluates(module):
                continue  # the state of a whole includes that of its parts
            stack.enter_context(in_eval_mode(module))
            saved.append(module)
        for module in reversed(training):  # the module last: a reference may share parts with it
            train_as_in(modules[0], module)
        yield
