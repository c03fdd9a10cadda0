"""Values that grow by a known law, with known noise, judged against every law."""

from __future__ import annotations

import numpy as np
import pytest

from ttprof.codes import VerdictCode
from ttprof.judge import scaling
from ttprof.judge.scaling import ExpectedLaw
from ttprof.spec import LAWS
from ttprof.verdict import Status, Verdict

SIZES = (256, 512, 1024, 2048)
GROWTH = {
    "constant": lambda n: 1000.0,
    "log": lambda n: 1e5 + 100 * np.log(n),
    "linear": lambda n: 50.0 * n,
    "nlogn": lambda n: 5.0 * n * np.log(n),
    "quadratic": lambda n: 0.1 * n**2,
    "cubic": lambda n: 1e-3 * n**3,
    "quartic": lambda n: 1e-6 * n**4,
}


def rounds(growth, noise: float = 0.02, sizes=SIZES) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(3)
    return {n: growth(n) * (1 + noise * rng.random(10)) for n in sizes}


def judged(law: str, samples: dict[int, np.ndarray]) -> Verdict:
    _, (verdict,) = scaling.judge(ExpectedLaw(LAWS[law], "seq_len", "cpu_time_ms"), samples)
    return verdict


def status(law: str, growth, **options) -> Status:
    return judged(law, rounds(growth, **options)).status


@pytest.mark.parametrize("law", LAWS)
def test_every_law_passes_on_its_own_growth(law):
    assert status(law, GROWTH[law]) is Status.PASS


@pytest.mark.parametrize(
    ("law", "growth"),
    [
        ("linear", "quadratic"),
        ("quadratic", "linear"),
        ("constant", "linear"),
        ("quadratic", "cubic"),
        ("linear", "cubic"),
        ("cubic", "quartic"),
        ("quartic", "cubic"),
        ("linear", "quartic"),
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
    attention = status("quadratic", lambda n: 32 * n**2 + 3072 * n + 12, noise=0.01, sizes=sizes)
    assert attention is (Status.PASS if smallest >= 32 else Status.INCONCLUSIVE)
    assert status("quadratic", lambda n: 3072.0 * n, noise=0.01, sizes=sizes) is Status.FAIL


@pytest.mark.parametrize("overhead", [120_000, 10**7])
def test_overhead_that_hides_the_growth_is_inconclusive_not_a_failure(overhead):
    assert status("linear", lambda n: overhead + 50.0 * n) is Status.INCONCLUSIVE
    assert status("quadratic", lambda n: overhead + 50.0 * n) is not Status.PASS


@pytest.mark.parametrize("at_most", [False, True])
def test_growth_beyond_the_fastest_law_fails_as_that_law(at_most):
    samples = rounds(lambda n: 1e-9 * n**5.0)
    _, (verdict,) = scaling.judge(ExpectedLaw(LAWS["quartic"], "n", "cpu_time_ms", at_most=at_most), samples)
    assert verdict.status is Status.FAIL and "grows as n^5.0" in verdict.reason


def test_too_fast_a_growth_fails_even_where_the_curve_bends_down():
    assert status("linear", lambda n: 0.1 * n**2.5 / (1 + n / 2000)) is Status.FAIL


def test_a_quadratic_that_slips_into_a_linear_module_does_not_pass():
    assert status("linear", lambda n: 50.0 * n + 0.05 * n**2) is not Status.PASS


def test_noisy_rounds_are_inconclusive_and_the_reason_states_the_bound():
    samples = {n: np.array([1.0, 1.0, 1.0]) * GROWTH["linear"](n) for n in SIZES}
    samples[1024] = samples[1024] * [1, 1.5, 1.5]
    assert judged("linear", samples).status is Status.PASS
    samples[1024] = samples[1024] * [1, 1.4, 1.4]
    verdict = judged("linear", samples)
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, VerdictCode.ROUNDS_NOISY)
    assert "; the median of the rounds exceeds 1.5 times the minimum (2.10 at 1024): " in verdict.reason


@pytest.mark.parametrize(
    ("law", "growth", "code", "clause"),
    [
        (
            "linear",
            lambda n: 50.0 * n + 0.025 * n**2,
            VerdictCode.TERMS_MIXED,
            "requires an exponent of 1 ± 0.35; 51 % of the value at 2048 is quadratic; nlogn fits best; 30 … 70 % is "
            "undecided, the linear and quadratic terms are equal at 2000: use sizes up to 8000",
        ),
        (
            "linear",
            lambda n: 120_000 + 50.0 * n,
            VerdictCode.OVERHEAD_DOMINATED,
            "54 % of the value at 2048 is constant; linear fits best; at most 50 % may be constant: use larger sizes",
        ),
        (
            "quadratic",
            lambda n: 1.0 * n**2 * (1 if n < 2048 else 2),
            VerdictCode.NOT_SMOOTH,
            "values are up to 12 % off a smooth curve, limit 10 % (exponents between sizes: 2.00, 2.00, 3.00; "
            "caches, allocator, other processes?): use other sizes",
        ),
    ],
)
def test_an_inconclusive_verdict_states_its_bound(law, growth, code, clause):
    verdict = judged(law, {n: np.full(4, growth(n)) for n in SIZES})
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, code)
    assert clause in verdict.reason


@pytest.mark.parametrize(("growth", "mentioned"), [("quadratic", True), ("cubic", False), ("linear", False)])
def test_a_reason_mentions_a_quadratic_share_only_of_growth_that_is_at_most_quadratic(growth, mentioned):
    verdict = judged("linear", rounds(GROWTH[growth]))
    assert ("% of the value at 2048 is quadratic" in verdict.reason) is mentioned


def test_the_fit_has_the_data_of_a_plot():
    fit, (verdict,) = scaling.judge(ExpectedLaw(LAWS["linear"], "seq_len", "cpu_time_ms"), rounds(GROWTH["quadratic"]))
    assert fit.sizes == list(SIZES) and len(fit.values) == 4
    assert fit.exponent == pytest.approx(2, abs=0.05)
    assert fit.interval[0] <= fit.exponent <= fit.interval[1]
    assert "seq_len^2.0" in verdict.reason and "quadratic fits best" in verdict.reason
