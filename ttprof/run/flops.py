"""Counts the floating-point operations of one call, by the formulas of torch.utils.flop_counter.

torch's own FlopCounterMode is avoided because its first use imports the compiler (torch._dynamo), which takes most of a
second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttprof.plan import state


@functools.cache
def _formulas() -> dict[Any, Callable[..., Any]]:
    """The formulas of torch by op, and those for fused attention on CPU, which torch 2.13 lacks."""
    # A lazy import, because it takes 50 ms.
    from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

    def cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        return sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]

    def cpu_attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        shapes = (grad.shape, query.shape, key.shape, value.shape)
        return sdpa_backward_flop_count(*shapes)  # type: ignore[no-untyped-call]

    return {
        **flop_registry,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: cpu_attention_backward,
    }


class _FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of every op that has a formula; composite ops are decomposed first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self._formulas = _formulas()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip dynamo torch would have to import it, and nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self._formulas.get(getattr(func, "_overloadpacket", None))
        if formula is None and isinstance(func, torch._ops.OpOverload):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=result))
        return result


def count_flops(call: Callable[[], Any]) -> int:
    """Count the floating-point operations of one *call*; 0 if torch has no formula for any of its ops."""
    count = _FlopCount()
    with state.as_written(), count:
        call()
    return count.total
