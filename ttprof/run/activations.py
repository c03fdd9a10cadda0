"""Counts the bytes that a forward saves for its backward, with torch.autograd.graph.saved_tensors_hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def activation_bytes(forward: Callable[[], Any], excluded: Iterable[torch.Tensor]) -> int:
    """The bytes of the distinct storages that autograd saves during *forward*.

    The storages of *excluded*, such as parameters and inputs, do not count: they are alive without a backward too.
    """
    saved: dict[int, torch.UntypedStorage] = {}  # holds the storages, so that no address is reused meanwhile

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()  # the graph lives until the storages are counted
    excluded_addresses = {t.untyped_storage().data_ptr() for t in excluded if t.layout is torch.strided}
    total = sum(storage.nbytes() for address, storage in saved.items() if address not in excluded_addresses)
    del output
    return total
