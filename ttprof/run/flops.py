"""Counting the floating-point operations of one call.

A callable enters; torch's count leaves. Attention on CPU is added: torch 2.13 has no formula for its fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def _cpu_attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """FLOPs of fused attention from the shapes of query, key and value, as torch counts them on CUDA."""
    return int(sdpa_flop_count(query, key, value))


_EXTRA = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention}


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of one *call*; 0 when torch can count none of its ops."""
    counter = FlopCounterMode(display=False, custom_mapping=_EXTRA)
    with counter:
        call()
    return int(counter.get_total_flops())
