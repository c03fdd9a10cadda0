"""Which changes against a baseline count as regressions."""

from __future__ import annotations

import msgspec

DEFAULT = 0.05
"""Relative slowdown that counts as a regression, as a fraction; smaller shifts rarely matter."""

SAMPLED = ("median",)
"""Statistics of metrics that vary between iterations and so need a test; all others are exact."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of one case, as fractions: 0.05 for 5 %.

    ``times`` is for all metrics that vary between iterations, None for that of the run; ``metrics`` are for single
    ones, also for exact metrics, which otherwise must not grow at all.
    """

    times: float | None = None
    metrics: dict[str, float] = {}

    def of(self, metric: str, statistic: str, default: float = DEFAULT) -> float:
        """The threshold for a *metric* that is a *statistic* of its samples; *default* is that of the run."""
        if metric in self.metrics:
            return self.metrics[metric]
        if statistic not in SAMPLED:
            return 0.0
        return default if self.times is None else self.times


NONE = Thresholds()
"""The thresholds of a case that has none of its own."""
