"""Exact sums and quantiles of int64 values by group number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttprof.trace.events import Int

EXACT_FLOAT = 2**53
"""Sums of integers below this are exact in float64."""

_MAX_KEY = 2**62


def sums(group: Int, values: Int, count: int) -> Int:
    """The exact sum of *values* in each of *count* groups; group numbers are 0 to *count* - 1."""
    if float(np.abs(values).sum(dtype=np.float64)) < EXACT_FLOAT:
        return np.bincount(group, values, count).astype(np.int64)
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, group, values)
    return totals


def distinct(values: Int) -> list[int]:
    """The distinct values in ascending order; values that are close together, such as ids, are not sorted."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
    if high - low < len(values):
        return [int(i) + low for i in np.flatnonzero(np.bincount(values - low))]
    return [int(i) for i in np.unique(values)]


def quantiles(group: Int, values: Int, wanted: Sequence[float]) -> dict[int, list[int]]:
    """The *wanted* quantiles (0 to 1) of the values of each group.

    A quantile is always one of the values, as with numpy's method "inverted_cdf".
    """
    if not len(group):
        return {}
    group, values = _in_order(group, values)
    first = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    sizes = np.diff(first, append=len(group))
    rank = np.ceil(np.outer(sizes, wanted) - 1e-9).astype(np.int64) - 1
    chosen = values[first[:, None] + np.clip(rank, 0, None)]
    return dict(zip(group[first].tolist(), chosen.tolist(), strict=True))


def _in_order(group: Int, values: Int) -> tuple[Int, Int]:
    """Sort by group, then by value; as one combined key if that fits in 64 bits, which is many times faster."""
    low = int(values.min(initial=0))
    width = int(values.max(initial=0)) - low + 1
    if width * (int(group.max(initial=0)) + 1) < _MAX_KEY:
        keys = np.sort(group * width + (values - low))
        return keys // width, keys % width + low
    order = np.lexsort((values, group))
    return group[order], values[order]
