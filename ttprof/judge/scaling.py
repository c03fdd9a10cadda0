"""Judges how a metric grows over a sweep against the expected scaling law.

Counted metrics are judged exactly, by the polynomial they follow, whatever its degree. For times, the statistic at each
size is the minimum over its rounds, and all rounds, the odd rounds and the even rounds must agree on the verdict.
Timings cannot separate linear from n log n, or constant from log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from ttprof import metrics
from ttprof.codes import Kind, VerdictCode
from ttprof.judge import laws
from ttprof.judge.bootstrap import resampled
from ttprof.judge.polynomial import Coefficients, degree, explain, format_polynomial, kind, largest_regime
from ttprof.scaling_fit import ScalingFit
from ttprof.spec import LAWS, ScalingLaw
from ttprof.units import significant
from ttprof.verdict import Status, Verdict

EXPONENT_MARGIN = 0.35
"""Largest accepted distance of the log-log slope from the law's exponent; below 0.5, so that laws stay apart."""

NOISY = 0.5
"""Excess of the median over the minimum, as a fraction of the minimum, above which the rounds of a size are noisy."""

OVERHEAD = 0.5
"""Fraction of the largest value that may be constant; above it, overhead hides the growth."""

ROUGH = 0.1
"""Relative residual of a cubic fit above which growth has a step, e.g. from a cache that overflows."""

MIXED = (0.3, 0.7)
"""Fractions of the largest value between which the quadratic term neither dominates nor is negligible."""

PRESENT = 0.2
"""Fraction of the largest value above which a quadratic term may still dominate at larger sizes."""

MENTIONED = 0.05
"""Fraction of the largest value above which a reason mentions the overhead or the quadratic term."""

TOP_SIZES = 3
"""Number of largest sizes checked for noise: they determine the exponent."""

HIGHEST_EXPONENT = max(law.exponent for law in LAWS.values())
"""Exponent of the fastest law: growth beyond it is judged by its slope alone."""

RESAMPLES = 200
"""Bootstrap resamples for the interval of the exponent; each one needs a fit, so there are few."""

BEYOND_CROSSOVER = 4
"""Multiple of the crossover to measure up to: there the quadratic term is four times the linear one."""

LawSide = Literal["below", "inside", "above", "unclear"]


@dataclass(frozen=True)
class ExpectedLaw:
    """The expectation that *metric* follows *law* over *axis*.

    Attributes:
        threads: Number of threads during the measurement; 0 means torch's default.
        heap_kept: Whether the allocator returned no memory to the system during the measurement.
        at_most: Whether slower growth than *law* also passes.
        exact: Whether the metric is counted and so does not vary between runs.
        extended: Clauses that describe the sizes and rounds added to the requested sweep.
    """

    law: ScalingLaw
    axis: str
    metric: str
    threads: int = 0
    heap_kept: bool = False
    at_most: bool = False
    exact: bool = False
    extended: tuple[str, ...] = ()

    @property
    def law_text(self) -> str:
        """The accepted laws, e.g. ``at most linear``."""
        return f"at most {self.law.name}" if self.at_most else self.law.name

    @property
    def exponent_text(self) -> str:
        """The accepted exponents, e.g. ``1 ± 0.35``."""
        exponent = self.law.exponent
        return f"at most {exponent + EXPONENT_MARGIN:g}" if self.at_most else f"{exponent:g} ± {EXPONENT_MARGIN}"

    @property
    def expectation(self) -> str:
        """The expectation as a phrase, e.g. ``latency_ms linear in seq_len``."""
        return f"{self.metric} {self.law_text} in {self.axis}"


def judge(expected: ExpectedLaw, rounds: Mapping[int, np.ndarray]) -> tuple[ScalingFit | None, list[Verdict]]:
    """Fit the samples and judge the fit against the expected law.

    PASS if the best law has the expected exponent and the log-log slope of the growing part is within 0.35 of it, for
    all rounds, the odd rounds and the even rounds. FAIL if both are off on the same side in all three sets. Otherwise
    INCONCLUSIVE, for example if a large size is noisy (median above 1.5 times the minimum), if more than half of the
    largest value is constant, or if a linear and a quadratic term are of similar size. If growth is not smooth, a FAIL
    also requires every step between large sizes to be off.

    An exact metric that follows a polynomial is judged by its degree. Peak memory is the maximum of several
    polynomials, so the smallest sizes may be dropped: the polynomial at the largest sizes decides. Without one, the
    fit decides, but not against a polynomial of higher degree that may be the law: then INCONCLUSIVE.

    Args:
        expected: The law, the metric and the axis.
        rounds: Samples by size, one per round, in base units.

    Returns:
        The fit and its verdict; an ERROR without a fit if a size has no samples, or one that is not above 0.
    """
    sizes = sorted(rounds)
    samples = [np.asarray(rounds[n], dtype=np.float64) for n in sizes]
    empty = [n for n, s in zip(sizes, samples, strict=True) if not len(s)]
    if empty:
        return None, [not_measured(expected, f"no samples at {empty[0]}")]
    values = _minima(samples)
    counts = [round(v) for v in values] if expected.exact else []
    start, polynomial = largest_regime(sizes, counts) if counts else (0, None)
    if polynomial is not None:
        return _exact_fit(expected, sizes, samples, polynomial), [_exact_verdict(expected, polynomial, sizes[start:])]
    for size, value in zip(sizes, values, strict=True):
        if value <= 0:
            return None, [not_measured(expected, f"the value at {size} is {significant(value)}, not above 0")]
    fit, verdict = _judge_fit(expected, sizes, samples)
    possible = explain(sizes, counts) if counts else None
    return fit, [_unless_higher(verdict, expected, fit, possible) if possible else verdict]


def _judge_fit(expected: ExpectedLaw, sizes: list[int], samples: list[np.ndarray]) -> tuple[ScalingFit, Verdict]:
    """Fit and judge values that vary between runs or follow no polynomial."""
    fit = _fit(expected, sizes, samples)
    spreads = {n: float(np.median(s) / s.min()) for n, s in list(zip(sizes, samples, strict=True))[-TOP_SIZES:]}
    noisy = {n: spread for n, spread in spreads.items() if spread - 1 > NOISY}
    sides = {
        _side(expected.law, sizes, _minima(part))
        for part in (samples, _alternate_rounds(samples, 0), _alternate_rounds(samples, 1))
    }
    status = Status.INCONCLUSIVE if noisy or len(sides) > 1 else _status(expected, fit, sides.pop())
    rough = status is Status.FAIL and laws.roughness(sizes, fit.values) > ROUGH
    if rough and not _every_step_off(expected.law, fit):
        status = Status.INCONCLUSIVE
    code = _inconclusive_code(expected, fit, noisy) if status is Status.INCONCLUSIVE else _CODES[status]
    reason = _reason(expected, fit, code, noisy)
    return fit, _verdict(expected, code, status, reason, fit.exponent, EXPONENT_MARGIN)


def _unless_higher(verdict: Verdict, expected: ExpectedLaw, fit: ScalingFit, possible: Coefficients) -> Verdict:
    """*verdict*, unless it takes the values for slower growth than that of *possible*, a polynomial through all points.

    A term that is small at the measured sizes hardly bends a fit, but decides what larger sizes cost.
    """
    power, limit = degree(possible), expected.law.exponent
    too_low = verdict.status is Status.PASS and power > limit
    too_slow = verdict.status is Status.FAIL and fit.exponent < limit == power
    if not (too_low or too_slow):
        return verdict
    code, count = VerdictCode.TOO_FEW_SIZES, max(len(fit.sizes) + 1, power + 2)
    clause = (
        f"but {_formatted(expected, possible)} passes through all {len(fit.sizes)} sizes, which are too few to rule it "
        f"out: use at least {count} sizes"
    )
    reason = f"{_reason(expected, fit, VerdictCode.FOLLOWS_LAW, {})}; {clause}"
    return _verdict(expected, code, Status.INCONCLUSIVE, reason, fit.exponent, EXPONENT_MARGIN)


_CODES = {Status.PASS: VerdictCode.FOLLOWS_LAW, Status.FAIL: VerdictCode.BREAKS_LAW}


def _verdict(
    expected: ExpectedLaw, code: VerdictCode, status: Status, reason: str, exponent: float, margin: float = 0.0
) -> Verdict:
    """Build the verdict; its bound is the law's exponent ± *margin*, open below for an "at most" law."""
    law_exponent = expected.law.exponent
    return Verdict(
        kind=Kind.SCALING,
        code=code,
        expectation=expected.expectation,
        status=status,
        reason=reason,
        measured=exponent,
        bound=(None if expected.at_most else law_exponent - margin, law_exponent + margin),
    )


def not_measured(expected: ExpectedLaw, cause: str) -> Verdict:
    """Build the ERROR for a scaling whose metric was not measured at every size."""
    return Verdict(
        kind=Kind.SCALING,
        code=VerdictCode.NOT_MEASURED,
        expectation=expected.expectation,
        status=Status.ERROR,
        reason=f"the scaling of {expected.metric} was not measured: {cause}",
    )


def _minima(samples: Sequence[np.ndarray]) -> list[float]:
    return [float(s.min()) for s in samples]


def _alternate_rounds(samples: Sequence[np.ndarray], first: int) -> list[np.ndarray]:
    """Every second round from index *first* on; a single round stays as it is."""
    return [s[first::2] if len(s) > 1 else s for s in samples]


def _fit(expected: ExpectedLaw, sizes: list[int], samples: Sequence[np.ndarray]) -> ScalingFit:
    values = _minima(samples)
    ranked, terms = laws.ranked(sizes, values), laws.terms(sizes, values)
    best = ranked[0]
    exponent = laws.exponent(sizes, values, best.intercept)
    if exponent is None:
        exponent = laws.exponent(sizes, values, 0.0) or 0.0
    return msgspec.structs.replace(
        _unfitted(expected, sizes, samples, exponent),
        interval=_interval(LAWS[best.law], sizes, samples, exponent),
        laws=ranked,
        overhead=1 - laws.grows(best, sizes[-1]),
        quadratic=terms.quadratic,
        crossover=terms.crossover,
    )


def _exact_fit(
    expected: ExpectedLaw, sizes: list[int], samples: Sequence[np.ndarray], polynomial: Coefficients
) -> ScalingFit:
    """The fit of an exact metric: its exponent is the degree of the polynomial, without an interval."""
    coefficients = [float(c) for c in polynomial]
    fit = _unfitted(expected, sizes, samples, float(degree(polynomial)))
    return msgspec.structs.replace(fit, coefficients=coefficients)


def _unfitted(expected: ExpectedLaw, sizes: list[int], samples: Sequence[np.ndarray], exponent: float) -> ScalingFit:
    """A fit with the samples and the exponent only; the callers add the rest."""
    return ScalingFit(
        metric=expected.metric,
        axis=expected.axis,
        law=expected.law.name,
        at_most=expected.at_most,
        sizes=sizes,
        values=_minima(samples),
        rounds=[s.tolist() for s in samples],
        exponent=exponent,
        interval=(exponent, exponent),
        threads=expected.threads,
        heap_kept=expected.heap_kept,
        extended=list(expected.extended),
    )


def _interval(law: ScalingLaw, sizes: list[int], samples: Sequence[np.ndarray], exponent: float) -> tuple[float, float]:
    """The 95 % bootstrap interval of the exponent over rounds, with the intercept refitted for each resample."""
    rng = np.random.default_rng(0)
    lowest = np.stack([resampled(s, np.min, rng, RESAMPLES) for s in samples], axis=1)
    drawn = (laws.exponent(sizes, row.tolist(), laws.fit(law, sizes, row.tolist()).intercept) for row in lowest)
    exponents = [exponent, *(e for e in drawn if e is not None)]
    return min(exponent, float(np.quantile(exponents, 0.025))), max(exponent, float(np.quantile(exponents, 0.975)))


def _side(law: ScalingLaw, sizes: list[int], values: list[float]) -> LawSide:
    """Compare the best law and the exponent of *values* with the expected law; "unclear" if the two disagree."""
    best = laws.ranked(sizes, values)[0]
    exponent = laws.exponent(sizes, values, best.intercept)
    if exponent is None:
        return "unclear"
    family, off = LAWS[best.law].exponent, exponent - law.exponent
    if family == law.exponent == HIGHEST_EXPONENT and off > EXPONENT_MARGIN:
        return "above"
    if family == law.exponent and abs(off) <= EXPONENT_MARGIN:
        return "inside"
    if family < law.exponent and off < -EXPONENT_MARGIN:
        return "below"
    return "above" if family > law.exponent and off > EXPONENT_MARGIN else "unclear"


def _status(expected: ExpectedLaw, fit: ScalingFit, side: LawSide) -> Status:
    """The status for the side that all rounds agree on; INCONCLUSIVE if larger sizes could change it."""
    if expected.at_most and side in ("below", "inside") and not (_mixed(fit) and expected.law.exponent < 2):
        return Status.PASS
    if side == "unclear" or _overhead_hides_growth(expected, fit) or (_mixed(fit) and expected.law.exponent in (1, 2)):
        return Status.INCONCLUSIVE
    if side == "inside":
        return Status.PASS
    too_early = side == "below" and expected.law.exponent == 2 and fit.quadratic >= PRESENT
    return Status.INCONCLUSIVE if too_early else Status.FAIL


def _every_step_off(law: ScalingLaw, fit: ScalingFit) -> bool:
    """Whether the slope between all neighbouring large sizes is off the law, on the same side as the exponent."""
    steps = laws.steps(fit.sizes, fit.values)
    if fit.exponent > law.exponent:
        return min(steps) > law.exponent + EXPONENT_MARGIN
    return max(steps) < law.exponent - EXPONENT_MARGIN


def _overhead_hides_growth(expected: ExpectedLaw, fit: ScalingFit) -> bool:
    """Whether constant overhead is too large a fraction of the largest value to judge the growth."""
    constant = expected.law.exponent == 0
    return fit.overhead > OVERHEAD and not (constant and fit.laws[0].law in ("constant", "log"))


def _mixed(fit: ScalingFit) -> bool:
    """Whether the quadratic term neither dominates nor is negligible at the largest size."""
    return MIXED[0] < fit.quadratic < MIXED[1]


def _reason(expected: ExpectedLaw, fit: ScalingFit, code: VerdictCode, noisy: Mapping[int, float]) -> str:
    half = max(fit.exponent - fit.interval[0], fit.interval[1] - fit.exponent)
    largest = fit.sizes[-1]
    text = (
        f"{fit.metric} grows as {fit.axis}^{fit.exponent:.2f} ± {half:.2f} over {fit.sizes[0]} … {largest}, "
        f"{expected.law_text} requires an exponent of {expected.exponent_text}"
    )
    if fit.overhead > MENTIONED and fit.laws[0].law != "constant":
        text += f"; {100 * fit.overhead:.0f} % of the value at {largest} is constant"
    if fit.quadratic > MENTIONED and LAWS[fit.laws[0].law].exponent <= 2:  # a + b n + c n² takes faster growth as c n²
        text += f"; {100 * fit.quadratic:.0f} % of the value at {largest} is quadratic"
    text += f"; {fit.laws[0].law} fits best" if code is not VerdictCode.FOLLOWS_LAW else ""
    if code not in _CODES.values():
        text += f"; {_explain_inconclusive(expected, fit, code, noisy)}"
    return "; ".join([text, *fit.extended])


def _inconclusive_code(expected: ExpectedLaw, fit: ScalingFit, noisy: Mapping[int, float]) -> VerdictCode:
    """The code that explains an INCONCLUSIVE verdict; *noisy* has the median / minimum of each noisy size."""
    if noisy:
        return VerdictCode.ROUNDS_NOISY
    if _mixed(fit) and fit.crossover:
        return VerdictCode.TERMS_MIXED
    if laws.roughness(fit.sizes, fit.values) > ROUGH:
        return VerdictCode.NOT_SMOOTH
    if _overhead_hides_growth(expected, fit) or fit.quadratic >= PRESENT:
        return VerdictCode.OVERHEAD_DOMINATED
    return VerdictCode.ROUNDS_DISAGREE


def _explain_inconclusive(expected: ExpectedLaw, fit: ScalingFit, code: VerdictCode, noisy: Mapping[int, float]) -> str:
    """The bound that prevents a decision, and how to reach one."""
    if code is VerdictCode.ROUNDS_NOISY:
        spreads = ", ".join(f"{spread:.2f} at {size}" for size, spread in noisy.items())
        return f"the median of the rounds exceeds {1 + NOISY} times the minimum ({spreads}): use a quieter machine"
    if code is VerdictCode.TERMS_MIXED:
        low, high = (100 * share for share in MIXED)
        crossover = fit.crossover or 0.0
        enough = max(BEYOND_CROSSOVER * crossover, 2 * fit.sizes[-1])
        return (
            f"{low:.0f} … {high:.0f} % is undecided, the linear and quadratic terms are equal at {crossover:.0f}: "
            f"use sizes up to {enough:.0f}"
        )
    if code is VerdictCode.NOT_SMOOTH:
        steps = ", ".join(f"{step:.2f}" for step in laws.steps(fit.sizes, fit.values))
        off = 100 * laws.roughness(fit.sizes, fit.values)
        return (
            f"values are up to {off:.0f} % off a smooth curve, limit {100 * ROUGH:.0f} % (exponents between sizes: "
            f"{steps}; caches, allocator, other processes?): use other sizes"
        )
    if code is VerdictCode.OVERHEAD_DOMINATED:
        if _overhead_hides_growth(expected, fit):
            return f"at most {100 * OVERHEAD:.0f} % may be constant: use larger sizes"
        return f"a quadratic share of {100 * PRESENT:.0f} % or more may come to dominate: use larger sizes"
    return "best law and exponent, or odd and even rounds, disagree: use larger sizes or a quieter machine"


def _exact_verdict(expected: ExpectedLaw, polynomial: Coefficients, sizes: list[int]) -> Verdict:
    """PASS if the polynomial's degree equals the law's exponent (or is at most that, for "at most"), else FAIL."""
    power, limit = degree(polynomial), expected.law.exponent
    passes = power <= limit if expected.at_most else power == limit
    status = Status.PASS if passes else Status.FAIL
    reason = (
        f"{expected.metric} is exactly {_formatted(expected, polynomial)} at {len(sizes)} sizes from {sizes[0]} to "
        f"{sizes[-1]}: {kind(polynomial)}, expected {expected.law_text}"
    )
    return _verdict(expected, _CODES[status], status, reason, float(power))


def _formatted(expected: ExpectedLaw, polynomial: Coefficients) -> str:
    """The polynomial in base units, e.g. ``32 n² + 12 bytes``."""
    unit = metrics.find(expected.metric).unit
    base = {"MB": "bytes"}.get(unit.symbol, unit.symbol)
    return f"{format_polynomial(polynomial, expected.axis)} {base}".rstrip()
