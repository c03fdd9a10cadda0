"""Context managers that put a model into the state a test needs and restore it afterwards.

Restored are train/eval mode, gradients, buffers, device and RNG state, whatever happens inside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

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
    """Cast a floating-point tensor to *dtype*, a complex one to its complex counterpart if there is one."""
    if tensor.is_complex():
        return tensor.to(COMPLEX_DTYPES.get(dtype, tensor.dtype))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Restore the modes, gradients and buffers of *module* on exit."""
    modes = [(m, m.training) for m in module.modules()]
    grads = [(p, p.grad) for p in module.parameters()]
    buffers = [
        (owner, name, buffer, buffer.detach().clone())
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for submodule, training in modes:
            submodule.training = training
        for parameter, grad in grads:
            parameter.grad = grad
        for owner, name, buffer, before in buffers:
            if not _is_comparable(buffer) or buffer.shape != before.shape or not torch.equal(buffer, before):
                buffer.data = before
            owner._buffers[name] = buffer


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put *module* into eval mode; restore it on exit."""
    with preserved(module):
        module.eval()
        yield


def _is_comparable(tensor: torch.Tensor) -> bool:
    """Whether torch.equal supports the tensor: not if it is sparse or quantised."""
    return tensor.layout is torch.strided and not tensor.is_quantized


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Move *module* to *device*, and back on exit."""
    before = device_of(module)
    if before is None or before == device:
        yield
        return
    try:
        module.to(device)
        yield
    finally:
        module.to(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of the CPU and of *device*; restore them on exit.

    Unlike torch.manual_seed it leaves the generators of other devices alone.
    """
    gpus: list[Any] = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use *count* intra-op threads; restore the number on exit."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def as_written() -> Iterator[None]:
    """Run modules eagerly and unfused, so that hooks see every call.

    nn.TransformerEncoderLayer leaves its fused path and calls its submodules; compiled modules run their original code.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    compiled = "torch._dynamo" in sys.modules
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def under_test(modules: list[nn.Module], training: list[nn.Module], device: torch.device, seed: int) -> Iterator[None]:
    """Put *modules* on *device* in eval mode, those in *training* in train mode, and seed the generators.

    Everything is restored on exit.
    """
    with ExitStack() as stack:
        stack.enter_context(seeded(seed, device))
        for module in modules:
            stack.enter_context(placed(module, device))
            stack.enter_context(evaluating(module))
        for module in training:
            module.train()
        yield
