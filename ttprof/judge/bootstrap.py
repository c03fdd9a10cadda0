"""Resamples with replacement, in little memory however many samples there are.

Up to ``MAX_DRAWN`` samples are drawn one by one. Of more, only the order statistics that a quantile needs are drawn,
from their exact distribution: a million samples take a tenth of a second instead of half a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttprof.metrics.metric import QUANTILES, STATISTICS

MAX_DRAWN = 10_000
"""The largest number of samples that are drawn one by one."""

BLOCK = 500_000
"""The number of samples that are drawn at a time."""

_QUANTILES: dict[Callable[..., Any], float] = {
    np.min: 0.0,
    **{STATISTICS[name]: quantile for name, quantile in QUANTILES.items()},
}
"""The statistics that are quantiles."""


def resampled(
    values: np.ndarray, statistic: Callable[..., Any], rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """*statistic*, a quantile of ``STATISTICS`` or ``np.min``, of each of *resamples* resamples of *values*."""
    count = len(values)
    if count <= MAX_DRAWN:
        return np.concatenate([statistic(values[drawn], axis=1) for drawn in _drawn(count, rng, resamples)])
    quantile = _QUANTILES[statistic]
    lower, upper = np.sort(values)[_order_statistics(count, quantile, rng, resamples)].T
    between: np.ndarray = lower + (upper - lower) * ((count - 1) * quantile % 1)
    return between


def resampled_ranks(count: int, quantile: float, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """The two ranks, from 0, between whose samples a quantile of each resample lies: an array of (resamples, 2).

    Ranks do not depend on the samples, so they can be used for all sets of *count* samples.
    """
    if count > MAX_DRAWN:
        return _order_statistics(count, quantile, rng, resamples)
    ends = _ends(count, quantile)
    return np.concatenate([np.sort(drawn, axis=1)[:, ends] for drawn in _drawn(count, rng, resamples)])


def _drawn(count: int, rng: np.random.Generator, resamples: int) -> Iterator[NDArray[np.int64]]:
    """The indices of the samples in each resample, a few resamples at a time; the blocks draw the same numbers."""
    rows = max(1, BLOCK // count)
    for first in range(0, resamples, rows):
        yield rng.integers(0, count, size=(min(rows, resamples - first), count))


def _ends(count: int, quantile: float) -> list[int]:
    """The ranks between which a quantile of *count* samples lies; equal if it is one of them."""
    position = (count - 1) * quantile
    return [int(np.floor(position)), int(np.ceil(position))]


def _order_statistics(count: int, quantile: float, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """The ranks that the order statistics at a quantile of each resample have among the samples.

    A resample takes the samples of ranks ⌊count · U⌋, where U are *count* uniform numbers. The k-th smallest of these
    has the distribution Beta(k, count + 1 - k), and the next one is the least of count - k uniform numbers above it
    (David and Nagaraja, Order Statistics, 2003, sections 2.1 and 2.5).
    """
    low, high = _ends(count, quantile)
    lower = rng.beta(low + 1, count - low, size=resamples)
    upper = lower
    if high > low:
        upper = 1 - (1 - lower) * rng.random(resamples) ** (1 / (count - low - 1))
    ranks = (np.stack([lower, upper], axis=1) * count).astype(np.int64)
    return np.minimum(ranks, count - 1)
