"""Models sharded by FSDP2: their parameters are made whole for a test, since a part alone has no hook that does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def is_sharded(module: nn.Module) -> bool:
    """Whether *module* itself was given to FSDP."""
    return any(base.__module__.startswith("torch.distributed.fsdp") for base in type(module).__mro__)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Make the parameters of *model* whole within the context, and shard those again that were sharded.

    FSDP's own hooks do so only around a call of the module that was given to it, not around one of its parts.
    """
    sharded: list[Any] = [m for m in model.modules() if is_sharded(m) and hasattr(m, "unshard") and _is_split(m)]
    try:
        for module in sharded:
            module.unshard()
        yield
    finally:
        for module in sharded:
            module.reshard()


def _is_split(module: nn.Module) -> bool:
    """Whether a parameter of *module*, or of a part that is not sharded by itself, is a DTensor now."""
    own = [part for part in module.modules() if part is module or not is_sharded(part)]
    return any(_is_dtensor(p) for part in own for p in part.parameters(recurse=False))


def _is_dtensor(tensor: torch.Tensor) -> bool:
    return type(tensor.data).__module__.startswith("torch.distributed.tensor")
