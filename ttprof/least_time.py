"""The least time that a device needs for the work of an iteration, as results store it: the roofline model.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009: no iteration is faster than
its FLOPs at the peak rate, nor than its memory traffic at the peak bandwidth.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class LeastTime(msgspec.Struct, frozen=True, kw_only=True):
    """The least time of one iteration on a device, and the peaks and the work that it follows from.

    ```python
    least = result["ffn"].trials[-1].least_time
    if least is not None:
        print(f"{least.ms:.3g} ms, bound by {least.bound}")
    ```
    """

    compute_ms: float
    """FLOPs at the peak rate of each dtype."""
    memory_ms: float
    """Bytes that must pass the cache, at the peak bandwidth."""
    bytes_from_memory: int
    """Those bytes."""
    peak_tflops: dict[str, float]
    """Peak rate of each dtype that is multiplied, in TFLOP/s."""
    bandwidth_gb_s: float
    """Peak bandwidth of the memory, in GB/s (10**9 bytes)."""
    measured: bool
    """Whether the peaks were measured on this machine, because the table of devices lacks it."""

    @property
    def ms(self) -> float:
        """The larger of both times."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which of both is larger."""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"
