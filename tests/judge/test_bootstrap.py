"""The bootstrap: the same numbers as one large draw, little memory, and the exact distribution of large samples."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ttprof.judge import bootstrap, limits
from ttprof.metrics.metric import STATISTICS

QUANTILES = {name: STATISTICS[name] for name in ("median", "p90", "p99")} | {"min": np.min}


@pytest.mark.parametrize("name", QUANTILES)
@pytest.mark.parametrize("count", [1, 2, 29, 30, 997, 1001])
def test_blocks_draw_what_one_draw_of_all_resamples_does(monkeypatch, name, count):
    monkeypatch.setattr(bootstrap, "BLOCK", 3000)
    values = np.random.default_rng(1).exponential(size=count)
    at_once = values[np.random.default_rng(5).integers(0, count, size=(200, count))]
    drawn = bootstrap.resampled(values, QUANTILES[name], np.random.default_rng(5), 200)
    assert (drawn == QUANTILES[name](at_once, axis=1)).all()


@pytest.mark.parametrize("count", [2, 7, 30])
def test_the_ranks_of_the_median_are_those_of_sorted_draws(count):
    drawn = np.sort(np.random.default_rng(5).integers(0, count, size=(300, count)), axis=1)
    ranks = bootstrap.resampled_ranks(count, 0.5, np.random.default_rng(5), 300)
    assert (ranks == drawn[:, [(count - 1) // 2, count // 2]]).all()


@pytest.mark.parametrize("name", QUANTILES)
@pytest.mark.parametrize("count", [100, 101])
def test_order_statistics_have_the_distribution_of_drawn_samples(monkeypatch, name, count):
    values = np.random.default_rng(2).exponential(size=count)
    drawn = bootstrap.resampled(values, QUANTILES[name], np.random.default_rng(3), 20_000)
    monkeypatch.setattr(bootstrap, "MAX_DRAWN", 1)
    direct = bootstrap.resampled(values, QUANTILES[name], np.random.default_rng(4), 20_000)
    grid = np.sort(values)
    by_drawing, directly = ((np.searchsorted(np.sort(side), grid) / 20_000) for side in (drawn, direct))
    # Kolmogorov and Smirnov: two samples of one distribution differ by more than 1.95 / sqrt(10,000) once in 1,000
    assert np.abs(by_drawing - directly).max() < 0.0195


def test_a_million_samples_take_little_memory_and_give_the_normal_interval():
    """The median of n normal numbers has the standard error sqrt(π / 2n), and the bounds are 1.645 of them away."""
    values = np.random.default_rng(0).normal(size=1_000_000)
    tracemalloc.start()
    low, high = limits.bootstrap_interval(values, np.median)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    error = np.sqrt(np.pi / 2e6)
    assert (high - low) / (2 * 1.645 * error) == pytest.approx(1, abs=0.15)


def test_the_largest_samples_that_are_drawn_one_by_one_take_little_memory():
    values = np.random.default_rng(0).normal(size=bootstrap.MAX_DRAWN)
    tracemalloc.start()
    limits.bootstrap_interval(values, np.median)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
