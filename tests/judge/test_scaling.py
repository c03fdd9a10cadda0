"""Growth of a known law, with known noise, against every law."""

from __future__ import annotations

import numpy as np
import pytest

from ttprof.judge import scaling
from ttprof.judge.scaling import Growth
from ttprof.spec import LAWS
from ttprof.verdict import Status

SIZES = (256, 512, 1024, 2048)
GROWTH = {
    "constant": lambda n: 1000.0,
    "log": lambda n: 1e5 + 100 * np.log(n),
    "linear": lambda n: 50.0 * n,
    "nlogn": lambda n: 5.0 * n * np.log(n),
    "quadratic": lambda n: 0.1 * n**2,
    "cubic": lambda n: 1e-3 * n**3,
}


def rounds(growth, noise: float = 0.02, sizes=SIZES) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(3)
    return {n: growth(n) * (1 + noise * rng.random(10)) for n in sizes}


def status(law: str, growth, **options) -> Status:
    return scaling.judge(Growth(LAWS[law], "seq_len", "cpu_time_ms"), rounds(growth, **options))[1][0].status


@pytest.mark.parametrize("law", LAWS)
def test_each_law_passes_its_own_growth(law):
    assert status(law, GROWTH[law]) is Status.PASS


@pytest.mark.parametrize(
    ("law", "growth"),
    [
        ("linear", "quadratic"),
        ("quadratic", "linear"),
        ("constant", "linear"),
        ("quadratic", "cubic"),
        ("linear", "cubic"),
    ],
)
def test_another_growth_fails(law, growth):
    assert status(law, GROWTH[growth]) is Status.FAIL


@pytest.mark.parametrize("share", [0.3, 0.4, 0.42, 0.44, 0.46, 0.48, 0.5, 0.6, 0.9])
def test_a_linear_module_with_any_overhead_never_fails_as_linear(share):
    sizes = (64, 128, 256, 512)
    growth = lambda n: 1e4 * (n + 512 * share / (1 - share))  # noqa: E731
    assert status("linear", growth, noise=0.01, sizes=sizes) is not Status.FAIL


@pytest.mark.parametrize("smallest", [8, 16, 32, 64, 128, 512])
def test_attention_in_its_linear_regime_never_fails_as_quadratic(smallest):
    sizes = tuple(smallest * 2**i for i in range(4))
    found = status("quadratic", lambda n: 32 * n**2 + 3072 * n + 12, noise=0.01, sizes=sizes)
    assert found is (Status.PASS if smallest >= 32 else Status.INCONCLUSIVE)
    assert status("quadratic", lambda n: 3072.0 * n, noise=0.01, sizes=sizes) is Status.FAIL


@pytest.mark.parametrize("overhead", [120_000, 10**7])
def test_overhead_that_hides_the_growth_is_inconclusive_not_a_failure(overhead):
    assert status("linear", lambda n: overhead + 50.0 * n) is Status.INCONCLUSIVE
    assert status("quadratic", lambda n: overhead + 50.0 * n) is not Status.PASS


def test_too_fast_a_growth_fails_even_where_the_curve_bends_down():
    assert status("linear", lambda n: 0.1 * n**2.5 / (1 + n / 2000)) is Status.FAIL


def test_a_quadratic_that_slips_into_a_linear_module_does_not_pass():
    assert status("linear", lambda n: 50.0 * n + 0.05 * n**2) is not Status.PASS


def test_wild_rounds_are_inconclusive():
    assert status("linear", GROWTH["linear"], noise=5) is Status.INCONCLUSIVE


def test_the_fit_keeps_what_a_plot_needs():
    fit, (verdict,) = scaling.judge(Growth(LAWS["linear"], "seq_len", "cpu_time_ms"), rounds(GROWTH["quadratic"]))
    assert fit.sizes == list(SIZES) and len(fit.values) == 4
    assert fit.exponent == pytest.approx(2, abs=0.05)
    assert fit.interval[0] <= fit.exponent <= fit.interval[1]
    assert "seq_len^2.0" in verdict.reason and "quadratic fits best" in verdict.reason
