"""The Mann-Whitney test of two samples of times: whether one tends to be larger (Mann and Whitney, 1947).

It gives what scipy's ``mannwhitneyu`` gives with ``method="asymptotic"``, both one-sided alternatives in one pass, so
that comparing a thousand metrics takes no noticeable time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class MannWhitney(NamedTuple):
    """``larger`` and ``smaller`` are the p-values of the new samples being so by chance.

    ``effect`` is the probability that a new sample is larger less that it is smaller (rank-biserial, -1 … 1).
    """

    larger: float
    smaller: float
    effect: float


def mann_whitney(base: np.ndarray, new: np.ndarray) -> MannWhitney:
    """The test by the normal approximation, with the correction for ties and for continuity."""
    pairs = len(base) * len(new)
    ordered = np.sort(base)
    above = float(np.searchsorted(ordered, new, "left").sum() + np.searchsorted(ordered, new, "right").sum()) / 2
    count = len(base) + len(new)
    ties = np.diff(np.flatnonzero(np.diff(np.sort(np.concatenate([base, new])), prepend=np.nan, append=np.nan)))
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (count * (count - 1))
    deviation = math.sqrt(pairs / 12 * (count + 1 - tied))
    beyond = above - pairs / 2
    return MannWhitney(_tail(beyond, deviation), _tail(-beyond, deviation), 2 * above / pairs - 1)


def _tail(beyond: float, deviation: float) -> float:
    """The chance of so large a count; 1 where all samples are alike."""
    return math.erfc((beyond - 0.5) / deviation / math.sqrt(2)) / 2 if deviation else 1.0
