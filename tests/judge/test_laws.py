"""Laws fitted to values that they generated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.judge import laws
from ttprof.spec import LAWS

SIZES = (256, 512, 1024, 2048, 4096)
GROWING = [law for law in LAWS.values() if law.name != "constant"]


@given(st.sampled_from(GROWING), st.floats(1e-3, 1e6), st.floats(0, 0.9))
def test_a_fit_recovers_the_coefficients(law, factor, overhead):
    top = factor * law.shape(SIZES[-1])
    intercept = overhead * top
    values = [intercept + factor * law.shape(n) for n in SIZES]
    fit = laws.fit(law, SIZES, values)
    assert fit.factor == pytest.approx(factor, rel=1e-6)
    assert fit.intercept == pytest.approx(intercept, rel=1e-6, abs=1e-6 * top)
    assert fit.r2 == pytest.approx(1)
    assert laws.grows(fit, SIZES[-1]) == pytest.approx(top / (top + intercept), rel=1e-6)


@pytest.mark.parametrize("law", GROWING)
def test_the_law_that_generated_the_values_is_ranked_first(law):
    assert laws.ranked(SIZES, [5 + law.shape(n) for n in SIZES])[0].law == law.name


def test_values_that_hardly_grow_are_constant():
    assert laws.ranked(SIZES, [1e6 + n for n in SIZES])[0].law == "constant"
    assert laws.ranked(SIZES, [7.0] * 5)[0].law == "constant"


@given(st.sampled_from([1.0, 2.0, 3.0]), st.floats(0, 1e3))
def test_the_exponent_is_that_of_the_part_above_the_intercept(exponent, intercept):
    values = [intercept + n**exponent for n in SIZES]
    assert laws.exponent(SIZES, values, intercept) == pytest.approx(exponent, abs=1e-3)


def test_no_exponent_if_too_few_values_clear_the_intercept():
    assert laws.exponent(SIZES, [100.0, 100.0, 101.0, 101.0, 150.0], 100.0) is None


def test_terms_and_their_crossover():
    terms = laws.terms(SIZES, [1000.0 * n + 0.5 * n**2 for n in SIZES])
    assert terms.crossover == pytest.approx(2000)
    assert (terms.constant, terms.linear, terms.quadratic) == pytest.approx((0, 1000 / 3048, 2048 / 3048), abs=1e-6)
    assert laws.terms(SIZES, [3.0 * n for n in SIZES]).crossover is None
    assert laws.terms(SIZES, [3.0 * n**2 for n in SIZES]).crossover is None


def test_a_step_is_rough_and_a_sum_of_powers_is_not():
    smooth = [9 + 5 * n + 0.01 * n**2 + 1e-6 * n**3 for n in SIZES]
    assert laws.roughness(SIZES, smooth) < 1e-6
    step = [n**2 * (1 if n < 4096 else 2) for n in SIZES]
    assert laws.roughness(SIZES, step) > 0.1
    assert laws.steps(SIZES, step) == pytest.approx([2, 2, 3])


@given(st.lists(st.floats(1, 1e9), min_size=5, max_size=5))
def test_all_values_get_finite_fits(values):
    for fit in laws.ranked(SIZES, values):
        assert np.isfinite([fit.intercept, fit.factor, fit.r2]).all()
        assert fit.intercept >= 0 and fit.factor >= 0
