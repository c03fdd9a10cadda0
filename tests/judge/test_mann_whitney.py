"""The Mann-Whitney test by hand, and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from ttprof.judge.mann_whitney import mann_whitney

times = st.lists(st.integers(1, 40) | st.integers(1, 10**9), min_size=10, max_size=60)


def test_by_hand():
    test = mann_whitney(np.array([1.0, 2.0]), np.array([3.0, 4.0]))  # every new sample is above every base sample
    assert test.effect == 1.0
    # the count 4 has the mean 2 and the variance 2 * 2 * 5 / 12: z = (4 - 2 - 0.5) / 1.291 = 1.162
    assert test.larger == pytest.approx(0.1226, abs=1e-4) and test.smaller == pytest.approx(0.9736, abs=1e-4)


def test_equal_samples_show_no_difference():
    assert mann_whitney(np.full(10, 3.0), np.full(12, 3.0)) == (1.0, 1.0, 0.0)


@given(times, times)
def test_it_agrees_with_scipy(base, new):
    old, now = np.array(base, dtype=np.float64), np.array(new, dtype=np.float64)
    test = mann_whitney(old, now)
    larger, smaller = (mannwhitneyu(now, old, alternative=side, method="asymptotic") for side in ("greater", "less"))
    assert test.larger == pytest.approx(larger.pvalue, rel=1e-9)
    assert test.smaller == pytest.approx(smaller.pvalue, rel=1e-9)
    assert test.effect == pytest.approx(2 * larger.statistic / (len(old) * len(now)) - 1, abs=1e-12)
