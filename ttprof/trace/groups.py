"""Exact sums and quantiles of values by group: group numbers and int64 values enter, one number per group leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttprof.trace.events import Int

EXACT_FLOAT = 2**53
"""Below it, a sum of whole numbers is exact in float64."""

ROOM = 2**62


def sums(group: Int, values: Int, count: int) -> Int:
    """The sum of *values* in each of *count* groups, exactly; all group numbers are at least 0."""
    if float(np.abs(values).sum(dtype=np.float64)) < EXACT_FLOAT:
        return np.bincount(group, values, count).astype(np.int64)
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, group, values)
    return totals


def distinct(values: Int) -> list[int]:
    """The values that occur, each once, in order; without sorting where they lie close together, as ids do."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
    if high - low < len(values):
        return [int(i) + low for i in np.flatnonzero(np.bincount(values - low))]
    return [int(i) for i in np.unique(values)]


def quantiles(group: Int, values: Int, wanted: Sequence[float]) -> dict[int, list[int]]:
    """For each group the *wanted* quantiles of its values: each the smallest value that so large a share reaches.

    A quantile is always one of the values (numpy's method "inverted_cdf"); 0 is the smallest and 1 the largest.
    """
    if not len(group):
        return {}
    group, values = _in_order(group, values)
    first = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    sizes = np.diff(first, append=len(group))
    rank = np.ceil(np.outer(sizes, wanted) - 1e-9).astype(np.int64) - 1
    found = values[first[:, None] + np.clip(rank, 0, None)]
    return dict(zip(group[first].tolist(), found.tolist(), strict=True))


def _in_order(group: Int, values: Int) -> tuple[Int, Int]:
    """Both by group, then by value; sorted as one number where that has room for both, which is many times faster."""
    low = int(values.min(initial=0))
    width = int(values.max(initial=0)) - low + 1
    if width * (int(group.max(initial=0)) + 1) < ROOM:
        both = np.sort(group * width + (values - low))
        return both // width, both % width + low
    order = np.lexsort((values, group))
    return group[order], values[order]
