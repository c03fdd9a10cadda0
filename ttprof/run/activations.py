"""What a forward keeps alive for its backward.

A forward enters; the bytes of the distinct storages that autograd saved leave, without those that live anyway: the
parameters and buffers of the module, and its inputs. By torch.autograd.graph.saved_tensors_hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def kept_bytes(forward: Callable[[], Any], lives_anyway: Iterable[torch.Tensor]) -> int:
    """The bytes that *forward* keeps for the backward, each storage counted once."""
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given out twice meanwhile

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()  # held until the storages are counted
    anyway = {t.untyped_storage().data_ptr() for t in lives_anyway if t.layout is torch.strided}
    total = sum(storage.nbytes() for address, storage in saved.items() if address not in anyway)
    del kept
    return total
