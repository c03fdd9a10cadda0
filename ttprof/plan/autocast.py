"""A module under autocast, and the autocast that is on around a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class UnderAutocast(nn.Module):
    """Runs a module's forward under torch.autocast; shares its parameters, buffers and submodules, names included."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._parameters, self._buffers, self._modules = module._parameters, module._buffers, module._modules
        self.training = module.training
        self._wrapped = [module]  # in a list, so that it does not become a submodule
        self._dtype = dtype

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
        """*module* under autocast to *dtype*, or *module* itself if *dtype* is None."""
        return module if dtype is None else cls(module, dtype)

    @property
    def wrapped(self) -> nn.Module:
        """The module itself."""
        return self._wrapped[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward of the module."""
        tensors = (*self.parameters(), *self.buffers(), *(a for a in args if isinstance(a, torch.Tensor)))
        device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        with torch.autocast(device.type, self._dtype):
            return self.wrapped(*args, **kwargs)


def without_autocast(module: nn.Module) -> nn.Module:
    """The module itself, without the wrapper that runs it under autocast."""
    return module.wrapped if isinstance(module, UnderAutocast) else module


def autocast_around(module: nn.Module) -> torch.dtype | None:
    """The dtype of the autocast that is on for the device of *module*, or None."""
    device = next((p.device.type for p in module.parameters()), "cpu")
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
