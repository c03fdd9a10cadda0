"""How well kernels used the device, according to the profiler: occupancy, SM efficiency, Tensor Cores."""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.trace.events import Float, Trace

TENSOR_CORES = re.compile(
    r".*(hmma|gmma|imma|mfma|mma_sm|wmma|tensorop|h884|s884|h1688|s1688|i8816|h16816|s16816|c1688|xmma|nvjet|xdl|"
    r"flash_?(fwd|bwd|attn)|fmha|attn_(fwd|bwd)|bmm_\w*(e4m3|e2m1|bfloat16|fp16)|igemm_\w*gtcx|_MI\d+x\d+)",
    re.IGNORECASE,
)
"""Names of kernels that use the matrix units. A trace has no other sign of that, so their share is a lower bound."""


class Efficiency(msgspec.Struct, frozen=True):
    """Means over the kernels, weighted by their time; null if no kernel states the number.

    ``occupancy_percent``: estimated active warps per SM, relative to the maximum. ``sm_efficiency_percent``: SMs
    with a block, min(1, blocks per SM). ``stated_share``: the share of kernel time in kernels whose occupancy is known;
    Kineto does not know it of kernels that opt in to more than 48 KiB of shared memory.
    ``tensor_core_share``: the share of kernel time in kernels that use the matrix units by their name; null without
    kernels.
    """

    occupancy_percent: float | None
    sm_efficiency_percent: float | None
    stated_share: float | None
    tensor_core_ns: int
    tensor_core_share: float | None


def efficiency(trace: Trace) -> Efficiency:
    """The efficiency of all kernels of a trace."""
    time = trace.kernels.time_ns
    stated = trace.kernel_details.occupancy >= 0  # NaN is not
    cores = int(trace.kernels.dur[trace.named(trace.kernels, TENSOR_CORES)].sum())
    return Efficiency(
        occupancy_percent=_mean(trace, trace.kernel_details.occupancy),
        sm_efficiency_percent=_mean(trace, 100 * np.minimum(trace.kernel_details.blocks_per_sm, 1.0)),
        stated_share=int(trace.kernels.dur[stated].sum()) / time if time else None,
        tensor_core_ns=cores,
        tensor_core_share=cores / time if time else None,
    )


def _mean(trace: Trace, values: Float) -> float | None:
    stated = values >= 0
    weights = trace.kernels.dur[stated]
    return float((values[stated] * weights).sum() / weights.sum()) if weights.sum() else None
