"""Polynomials of counted values, and the verdicts on their degree."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.codes import VerdictCode
from ttprof.judge import scaling
from ttprof.judge.polynomial import degree, explain, format_polynomial, identify
from ttprof.judge.scaling import ExpectedLaw
from ttprof.spec import LAWS
from ttprof.verdict import Status

SIZES = [128, 256, 512, 1024, 2048]


def value(coefficients, n):
    return sum(c * n**power for power, c in enumerate(coefficients))


def doubling(count: int) -> list[int]:
    return [16 * 2**i for i in range(count)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_a_polynomial_of_any_degree_is_identified_with_one_point_to_spare(coefficients):
    sizes = doubling(max(3, len(coefficients) + 1))
    identified = identify(sizes, [value(coefficients, n) for n in sizes])
    assert [value(identified, n) for n in (1, 7, 10**6)] == [value(coefficients, n) for n in (1, 7, 10**6)]
    assert degree(identified) == max((p for p, c in enumerate(coefficients) if c), default=0)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=6))
def test_a_polynomial_of_any_sign_is_identified_with_two_points_to_spare(coefficients):
    sizes = doubling(len(coefficients) + 2)
    identified = identify(sizes, [value(coefficients, n) for n in sizes])
    assert [value(identified, n) for n in (1, 7, 10**6)] == [value(coefficients, n) for n in (1, 7, 10**6)]


@pytest.mark.parametrize(
    ("sizes", "values"),
    [
        ([1, 2, 4, 8], [4, 4, 5, 11]),  # n²/6 - n/2 + 13/3, which is no whole number at 3
        ([10, 20, 30, 40], [104, 208, 304, 392]),  # 10.4 n but for rounding to 8; -0.04 n² + 11.6 n - 8
    ],
    ids=["fractions in between", "a negative highest term"],
)
def test_a_single_spare_point_that_is_met_by_accident_identifies_nothing(sizes, values):
    assert identify(sizes, values) is None
    assert degree(explain(sizes, values)) == 2


@pytest.mark.parametrize(
    ("sizes", "values", "power"),
    [
        ([16, 32, 64, 128], [2 * n**3 + 5 for n in (16, 32, 64, 128)], 3),
        ([16, 32, 64, 128], [n * (n - 1) // 2 for n in (16, 32, 64, 128)], 2),
        ([16, 32, 64], [100, 200, 401], 2),  # three sizes: whatever bends upwards, rounded or not
        ([16, 32, 64, 128], [2400, 4800, 7200, 14400], None),  # 100 n, padded to multiples of 24
        ([16, 32, 64, 128], [16 * 4, 32 * 5, 64 * 6, 128 * 7], None),  # n log n
        ([100, 200, 300, 400], [104, 200, 304, 400], None),  # n, padded to multiples of 8
    ],
)
def test_what_may_explain_the_values_without_a_point_to_spare(sizes, values, power):
    explained = explain(sizes, values)
    assert (explained and degree(explained)) == power


def test_the_polynomials_of_a_transformer():
    feed_forward, attention = [8192 * n for n in SIZES], [32 * n**2 + 3072 * n + 12 for n in SIZES]
    assert format_polynomial(identify(SIZES, feed_forward), "n") == "8,192 n"
    assert format_polynomial(identify(SIZES, attention), "n") == "32 n² + 3,072 n + 12"
    assert format_polynomial((Fraction(-1, 2), Fraction(0), Fraction(3)), "n") == "3 n² - 1/2"
    assert format_polynomial((Fraction(0),) * 13 + (Fraction(1),), "n") == "1 n¹³"


@given(st.integers(0, 4), st.integers(1, 10**6))
def test_values_with_one_error_follow_no_low_polynomial(which, off):
    values = [32 * n**2 + 12 for n in SIZES]
    values[which] += off
    identified = identify(SIZES, values)
    assert identified is None or degree(identified) == 3


def flops(law: str, growth, sizes, at_most=False):
    expected = ExpectedLaw(LAWS[law], "n", "flops", at_most=at_most, exact=True)
    return scaling.judge(expected, {n: np.array([float(growth(n))]) for n in sizes})[1][0]


@pytest.mark.parametrize(
    ("law", "at_most", "status"),
    [
        ("quartic", False, Status.PASS),
        ("quartic", True, Status.PASS),
        ("linear", False, Status.FAIL),
        ("cubic", False, Status.FAIL),
        ("cubic", True, Status.FAIL),
    ],
)
def test_a_quartic_count_is_judged_exactly(law, at_most, status):
    verdict = flops(law, lambda n: 2 * n**4 + 10**9 * n, doubling(6), at_most)
    assert verdict.status is status
    assert verdict.reason.startswith(
        "flops is exactly 2 n⁴ + 1,000,000,000 n FLOP at 6 sizes from 16 to 512: quartic, "
    )


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("at_most", [False, True])
def test_a_count_of_degree_5_breaks_every_law(law, at_most):
    verdict = flops(law, lambda n: 3 * n**5 + 10**12 * n, doubling(7), at_most)
    assert verdict.status is Status.FAIL
    assert (
        "exactly 3 n⁵ + 1,000,000,000,000 n FLOP at 7 sizes from 16 to 1024: of degree 5, expected " in verdict.reason
    )


@pytest.mark.parametrize(("law", "at_most"), [("linear", False), ("linear", True), ("quadratic", False)])
def test_three_sizes_cannot_rule_out_a_quadratic_term(law, at_most):
    verdict = flops(law, lambda n: n**2 + 30000 * n, (256, 512, 1024), at_most)
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, VerdictCode.TOO_FEW_SIZES)
    assert verdict.reason.endswith(
        "but 1 n² + 30,000 n FLOP passes through all 3 sizes, which are too few to rule it out: use at least 4 sizes"
    )


@pytest.mark.parametrize(
    ("law", "growth", "status"),
    [
        ("quadratic", lambda n: 5 * n**2, Status.PASS),
        ("linear", lambda n: 5 * n**2, Status.FAIL),
        ("cubic", lambda n: 5 * n**3, Status.PASS),
        ("quadratic", lambda n: 5 * n**3, Status.FAIL),
        ("linear", lambda n: 5 * n, Status.PASS),
        ("cubic", lambda n: n**2 + 30000 * n, Status.FAIL),
    ],
)
def test_three_sizes_are_enough_for_one_dominant_term(law, growth, status):
    assert flops(law, growth, (256, 512, 1024)).status is status


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("power", [2, 3, 4, 5])
def test_a_higher_term_never_passes_as_linear_if_the_sizes_determine_it(power, count):
    verdict = flops("linear", lambda n: n**power + 10**14 * n, doubling(count))
    if count >= power + 2:
        assert verdict.status is Status.FAIL
    if count == power + 1:
        assert verdict.status is Status.INCONCLUSIVE


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
        "memory_mb is exactly 1 seq_len² + 1,000,000 seq_len bytes at 5 sizes from 128 to 2048: quadratic, expected "
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
