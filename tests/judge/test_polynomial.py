"""Polynomials of counted values, and the verdicts on their degree."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.judge import scaling
from ttprof.judge.polynomial import degree, format_polynomial, identify
from ttprof.judge.scaling import ExpectedLaw
from ttprof.spec import LAWS
from ttprof.verdict import Status

SIZES = [128, 256, 512, 1024, 2048]


def value(coefficients, n):
    return sum(c * n**power for power, c in enumerate(coefficients))


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=4))
def test_any_polynomial_is_identified(coefficients):
    identified = identify(SIZES, [value(coefficients, n) for n in SIZES])
    assert [value(identified, n) for n in (1, 7, 10**6)] == [value(coefficients, n) for n in (1, 7, 10**6)]
    assert degree(identified) == max((p for p, c in enumerate(coefficients) if c), default=0)


def test_the_polynomials_of_a_transformer():
    feed_forward, attention = [8192 * n for n in SIZES], [32 * n**2 + 3072 * n + 12 for n in SIZES]
    assert format_polynomial(identify(SIZES, feed_forward), "n") == "8192 n"
    assert format_polynomial(identify(SIZES, attention), "n") == "32 n² + 3072 n + 12"
    assert format_polynomial((Fraction(-1, 2), Fraction(0), Fraction(3)), "n") == "3 n² - 1/2"


@given(st.integers(0, 4), st.integers(1, 10**6))
def test_values_with_one_error_follow_no_low_polynomial(which, off):
    values = [32 * n**2 + 12 for n in SIZES]
    values[which] += off
    identified = identify(SIZES, values)
    assert identified is None or degree(identified) == 3


def test_nothing_is_identified_without_a_point_to_spare():
    assert identify([1, 2, 3], [1, 8, 27]) is None
    assert identify([1, 2, 3], [2, 4, 6]) is not None


def judged(law, values, at_most=False, exact=True):
    expected = ExpectedLaw(LAWS[law], "seq_len", "memory_mb", at_most=at_most, exact=exact)
    fit, (verdict,) = scaling.judge(
        expected, {n: np.array([v], dtype=np.float64) for n, v in zip(SIZES, values, strict=True)}
    )
    return fit, verdict


@pytest.mark.parametrize(
    ("law", "at_most", "status"),
    [
        ("linear", False, Status.FAIL),
        ("quadratic", False, Status.PASS),
        ("quadratic", True, Status.PASS),
        ("cubic", True, Status.PASS),
        ("cubic", False, Status.FAIL),
        ("linear", True, Status.FAIL),
    ],
)
def test_a_quadratic_term_of_a_thousandth_is_judged_exactly(law, at_most, status):
    fit, verdict = judged(law, [n**2 + 10**6 * n for n in SIZES], at_most)
    assert verdict.status is status
    assert (
        "memory_mb is exactly 1 seq_len² + 1000000 seq_len bytes at 5 sizes from 128 to 2048: quadratic, expected "
        in verdict.reason
    )
    assert fit.coefficients == [0.0, 10.0**6, 1.0]


def test_a_peak_is_judged_by_the_polynomial_at_the_largest_sizes():
    late = [max(2000 * n, 16 * n**2) for n in SIZES]
    assert "exactly 16 seq_len² bytes at 5 sizes from 128" in judged("linear", late)[1].reason
    middle = [max(4000 * n, 16 * n**2) for n in SIZES]
    assert "exactly 16 seq_len² bytes at 4 sizes from 256" in judged("linear", middle)[1].reason


def test_values_that_follow_no_polynomial_are_judged_by_their_slope():
    fit, verdict = judged("linear", [n * 8192 + 512 * (n % 3) for n in SIZES])
    assert fit.coefficients is None
    assert verdict.status is Status.PASS


@pytest.mark.parametrize(("exponent", "status"), [(0.5, Status.PASS), (1.0, Status.PASS), (2.0, Status.FAIL)])
def test_at_most_allows_slower_growth_of_times(exponent, status):
    expected = ExpectedLaw(LAWS["linear"], "seq_len", "cpu_time_ms", at_most=True)
    rounds = {n: np.full(8, 1000.0 * n**exponent) for n in SIZES}
    (verdict,) = scaling.judge(expected, rounds)[1]
    assert verdict.status is status
    assert verdict.expectation == "cpu_time_ms at most linear in seq_len"


def test_0_at_every_size_is_constant_but_0_among_other_values_is_an_error():
    assert judged("constant", [0] * 5)[1].status is Status.PASS
    assert judged("linear", [0] * 5)[1].status is Status.FAIL
    fit, verdict = judged("linear", range(5), exact=False)
    assert (fit, verdict.status) == (None, Status.ERROR)
    assert verdict.reason == f"the scaling of memory_mb was not measured: the value at {SIZES[0]} is 0, not above 0"
