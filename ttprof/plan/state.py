"""Leaving the model as it was found.

A model enters a context manager; inside, it is in the mode that a test needs; afterwards its train and eval flags,
gradients, buffers, device and the RNG state are what they were, whatever happened inside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def dotted_path(name: str) -> str:
    """The path of a module as its author wrote it, without the wrapper that torch.compile puts around modules."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def is_compiled(module: nn.Module) -> bool:
    """Whether *module* is what torch.compile returned."""
    return "_orig_mod" in module._modules


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that torch.compile was given, or *module* itself."""
    return module.get_submodule("_orig_mod") if is_compiled(module) else module


def device_of(module: nn.Module) -> torch.device | None:
    """The device of the module's first parameter or buffer, or None when it has neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of the module's first floating-point parameter or buffer; torch's default when it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.get_default_dtype()


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A floating-point tensor in *dtype*; a complex one in the complex type of that precision, where there is one."""
    if tensor.is_complex():
        return tensor.to(COMPLEX.get(dtype, tensor.dtype))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Afterwards the modes, gradients and buffers of *module* are what they were."""
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
        for each, training in modes:
            each.training = training
        for parameter, grad in grads:
            parameter.grad = grad
        for owner, name, buffer, before in buffers:
            if not _plain(buffer) or buffer.shape != before.shape or not torch.equal(buffer, before):
                buffer.data = before
            owner._buffers[name] = buffer


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, *module* is in eval mode; afterwards it is as it was."""
    with preserved(module):
        module.eval()
        yield


def _plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor can be compared with another: sparse and quantised ones can't."""
    return tensor.layout is torch.strided and not tensor.is_quantized


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, *module* is on *device*; afterwards it is back where it was."""
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
    """Inside, the generators of the CPU and of *device* start at *seed*; afterwards they go on where they were.

    No other device's generator is touched, which torch.manual_seed would do.
    """
    devices: list[Any] = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch uses *count* intra-op threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def as_written() -> Iterator[None]:
    """Inside, modules run the code that their author wrote, so that hooks see every call.

    nn.TransformerEncoderLayer calls its submodules, which it does not on its fused path, and compiled modules run
    what was compiled.
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
    """All *modules* on *device*, in eval mode but for those in *training*; the generators at *seed*.

    Everything is restored afterwards.
    """
    with ExitStack() as stack:
        stack.enter_context(seeded(seed, device))
        for module in modules:
            stack.enter_context(placed(module, device))
            stack.enter_context(evaluating(module))
        for module in training:
            module.train()
        yield
