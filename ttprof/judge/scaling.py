"""Judges scaling: how a metric grows over a sweep, against the law that is expected.

Counts are judged exactly, by the polynomial that they follow. For times, the statistic of a size is the minimum of its
rounds, and the verdict must be the same from all rounds, the odd rounds and the even rounds. Times can't tell linear
from n log n, or constant from log.
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
from ttprof.judge.polynomial import Coefficients, degree, identify, written
from ttprof.result import ScalingFit, Status, Verdict
from ttprof.spec import LAWS, ScalingLaw
from ttprof.units import significant

EXPONENT_MARGIN = 0.35
NOISY = 0.5
OVERHEAD = 0.5
ROUGH = 0.1
MIXED = (0.3, 0.7)
PRESENT = 0.2
WORTH_TELLING = 0.05
TOP_SIZES = 3
FEWEST = 4
NAMES = ("constant", "linear", "quadratic", "cubic")
RESAMPLES = 200
BEYOND_CROSSOVER = 4

Side = Literal["below", "inside", "above", "unclear"]


@dataclass(frozen=True)
class Growth:
    """What is expected: *metric*, measured with so many *threads* (0: the default), follows *law* over *axis*.

    *heap_kept*: while it was measured the allocator gave nothing back to the system. With *at_most* it may grow slower.
    *exact* says that the metric is counted, and does not vary from run to run. *extended* tells what was measured
    beyond what was asked for.
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
    def wanted(self) -> str:
        """The law in words."""
        return f"at most {self.law.name}" if self.at_most else self.law.name

    @property
    def expectation(self) -> str:
        """The expectation in one phrase."""
        return f"{self.metric} {self.wanted} in {self.axis}"


def judge(growth: Growth, rounds: Mapping[int, np.ndarray]) -> tuple[ScalingFit | None, list[Verdict]]:
    """Fit and verdict for samples in base units by size; an ERROR for a size whose samples are none, or not above 0.

    PASS when the best law has the exponent of the expected one, and the log-log slope of what grows is within 0.35 of
    it, in all rounds, the odd and the even ones. FAIL when both are off on the same side in all three. Else
    INCONCLUSIVE, as when a large size is too noisy to say (median over 1.5 times minimum), when over half of the
    largest value does not grow, where a linear and a quadratic term are of like size, and where a step that no smooth
    growth explains makes the difference: then each step between large sizes has to be off for a FAIL.

    A metric that is counted exactly and follows a polynomial has the degree of it, and no doubt. A peak of memory is
    the largest of several polynomials, so the smallest sizes may be left out: what holds at the largest counts.
    """
    sizes = sorted(rounds)
    samples = [np.asarray(rounds[n], dtype=np.float64) for n in sizes]
    empty = [n for n, s in zip(sizes, samples, strict=True) if not len(s)]
    if empty:
        return None, [not_measured(growth.expectation, f"at {empty[0]} there is no sample")]
    values = _lowest(samples)
    start, polynomial = _largest_regime(sizes, [round(v) for v in values]) if growth.exact else (0, None)
    if polynomial is not None:
        return _exact_fit(growth, sizes, samples, polynomial), [_exact_verdict(growth, polynomial, sizes[start:])]
    zero = [n for n, value in zip(sizes, values, strict=True) if value <= 0]
    if zero:
        return None, [
            not_measured(growth.expectation, f"it is {significant(min(values))} at {zero[0]}, and not above 0")
        ]
    return _judged(growth, sizes, samples)


def _judged(growth: Growth, sizes: list[int], samples: list[np.ndarray]) -> tuple[ScalingFit, list[Verdict]]:
    """Fit and verdict of values that vary, or follow no polynomial."""
    fit = _fit(growth, sizes, samples)
    noisy = [n for n, s in list(zip(sizes, samples, strict=True))[-TOP_SIZES:] if np.median(s) / s.min() - 1 > NOISY]
    sides = {
        _side(growth.law, sizes, _lowest(part))
        for part in (samples, _every_other(samples, 0), _every_other(samples, 1))
    }
    status = Status.INCONCLUSIVE if noisy or len(sides) > 1 else _status(growth, fit, sides.pop())
    rough = status is Status.FAIL and laws.roughness(sizes, fit.values) > ROUGH
    if rough and not _every_step_is_off(growth.law, fit):
        status = Status.INCONCLUSIVE
    code = _undecided(growth, fit, noisy) if status is Status.INCONCLUSIVE else _CODES[status]
    reason = _sentence(growth, fit, code, noisy)
    return fit, [_verdict(growth, code, status, reason, fit.exponent, EXPONENT_MARGIN)]


_CODES = {Status.PASS: VerdictCode.FOLLOWS_LAW, Status.FAIL: VerdictCode.BREAKS_LAW}


def _verdict(
    growth: Growth, code: VerdictCode, status: Status, reason: str, exponent: float, margin: float = 0.0
) -> Verdict:
    """The verdict on an exponent, which may be *margin* off that of the law; below it only with "at most"."""
    expected = growth.law.exponent
    return Verdict(
        kind=Kind.SCALING,
        code=code,
        expectation=growth.expectation,
        status=status,
        reason=reason,
        measured=exponent,
        bound=(None if growth.at_most else expected - margin, expected + margin),
    )


def not_measured(expectation: str, why: str) -> Verdict:
    """The ERROR of a scaling whose metric was not measured at every size."""
    return Verdict(
        kind=Kind.SCALING,
        code=VerdictCode.NOT_MEASURED,
        expectation=expectation,
        status=Status.ERROR,
        reason=f"{expectation} was not measured: {why}",
    )


def _lowest(samples: Sequence[np.ndarray]) -> list[float]:
    return [float(s.min()) for s in samples]


def _every_other(samples: Sequence[np.ndarray], first: int) -> list[np.ndarray]:
    """The odd or the even rounds; of a single round there is just the one."""
    return [s[first::2] if len(s) > 1 else s for s in samples]


def _fit(growth: Growth, sizes: list[int], samples: Sequence[np.ndarray]) -> ScalingFit:
    values = _lowest(samples)
    ranked, terms = laws.ranked(sizes, values), laws.terms(sizes, values)
    best = ranked[0]
    exponent = laws.exponent(sizes, values, best.intercept)
    if exponent is None:
        exponent = laws.exponent(sizes, values, 0.0) or 0.0
    return msgspec.structs.replace(
        _measured(growth, sizes, samples, exponent),
        interval=_interval(LAWS[best.law], sizes, samples, exponent),
        laws=ranked,
        overhead=1 - laws.grows(best, sizes[-1]),
        quadratic=terms.quadratic,
        crossover=terms.crossover,
    )


def _exact_fit(growth: Growth, sizes: list[int], samples: Sequence[np.ndarray], polynomial: Coefficients) -> ScalingFit:
    """The fit of what is counted: its exponent is the degree, and there is no doubt about it."""
    coefficients = [float(c) for c in polynomial]
    found = _measured(growth, sizes, samples, float(degree(polynomial)))
    return msgspec.structs.replace(found, coefficients=coefficients)


def _measured(growth: Growth, sizes: list[int], samples: Sequence[np.ndarray], exponent: float) -> ScalingFit:
    """A fit of which only the samples and the exponent are known."""
    return ScalingFit(
        metric=growth.metric,
        axis=growth.axis,
        law=growth.law.name,
        at_most=growth.at_most,
        sizes=sizes,
        values=_lowest(samples),
        rounds=[s.tolist() for s in samples],
        exponent=exponent,
        interval=(exponent, exponent),
        threads=growth.threads,
        heap_kept=growth.heap_kept,
        extended=list(growth.extended),
    )


def _interval(law: ScalingLaw, sizes: list[int], samples: Sequence[np.ndarray], exponent: float) -> tuple[float, float]:
    """The 95 % interval of the exponent, by the bootstrap over rounds, the intercept fitted anew each time."""
    rng = np.random.default_rng(0)
    lowest = np.stack([s[rng.integers(0, len(s), size=(RESAMPLES, len(s)))].min(axis=1) for s in samples], axis=1)
    drawn = (laws.exponent(sizes, row.tolist(), laws.fit(law, sizes, row.tolist()).intercept) for row in lowest)
    found = [exponent, *(e for e in drawn if e is not None)]
    return min(exponent, float(np.quantile(found, 0.025))), max(exponent, float(np.quantile(found, 0.975)))


def _side(law: ScalingLaw, sizes: list[int], values: list[float]) -> Side:
    """Where the best law and the exponent of a set of values lie, beside an expected law."""
    best = laws.ranked(sizes, values)[0]
    exponent = laws.exponent(sizes, values, best.intercept)
    if exponent is None:
        return "unclear"
    family, off = LAWS[best.law].exponent, exponent - law.exponent
    if family == law.exponent and abs(off) <= EXPONENT_MARGIN:
        return "inside"
    if family < law.exponent and off < -EXPONENT_MARGIN:
        return "below"
    return "above" if family > law.exponent and off > EXPONENT_MARGIN else "unclear"


def _status(growth: Growth, fit: ScalingFit, side: Side) -> Status:
    """The verdict on a side that all rounds agree on; INCONCLUSIVE where larger sizes could turn it."""
    if growth.at_most and side in ("below", "inside") and not (_mixed(fit) and growth.law.exponent < 2):
        return Status.PASS
    if side == "unclear" or _hidden(growth, fit) or (_mixed(fit) and growth.law.exponent in (1, 2)):
        return Status.INCONCLUSIVE
    if side == "inside":
        return Status.PASS
    too_early = side == "below" and growth.law.exponent == 2 and fit.quadratic >= PRESENT
    return Status.INCONCLUSIVE if too_early else Status.FAIL


def _every_step_is_off(law: ScalingLaw, fit: ScalingFit) -> bool:
    """Whether each step from one large size to the next is off the law, on the side of the exponent."""
    steps = laws.steps(fit.sizes, fit.values)
    if fit.exponent > law.exponent:
        return min(steps) > law.exponent + EXPONENT_MARGIN
    return max(steps) < law.exponent - EXPONENT_MARGIN


def _hidden(growth: Growth, fit: ScalingFit) -> bool:
    """Whether the growth is too small a part of the largest value to judge it."""
    constant = growth.law.exponent == 0
    return fit.overhead > OVERHEAD and not (constant and fit.laws[0].law in ("constant", "log"))


def _mixed(fit: ScalingFit) -> bool:
    """Whether the quadratic term is neither small nor the main one at the largest size."""
    return MIXED[0] < fit.quadratic < MIXED[1]


def _sentence(growth: Growth, fit: ScalingFit, code: VerdictCode, noisy: list[int]) -> str:
    half = max(fit.exponent - fit.interval[0], fit.interval[1] - fit.exponent)
    largest, wanted = fit.sizes[-1], growth.law.exponent
    text = (
        f"{fit.metric} grows as {fit.axis}^{fit.exponent:.2f} ± {half:.2f} over {fit.sizes[0]} … {largest}; "
        f"{growth.wanted} means an exponent of {significant(wanted)} ± {EXPONENT_MARGIN}"
    )
    if fit.overhead > WORTH_TELLING and fit.laws[0].law != "constant":
        text += f"; {100 * fit.overhead:.0f} % of the value at {largest} does not grow"
    if fit.quadratic > WORTH_TELLING:
        text += f"; the quadratic term is {100 * fit.quadratic:.0f} % at {largest}"
    text += f"; {fit.laws[0].law} fits best" if code is not VerdictCode.FOLLOWS_LAW else ""
    if code not in _CODES.values():
        text += f": {_remedy(code, fit, noisy)}"
    return "; ".join([text, *fit.extended])


def _undecided(growth: Growth, fit: ScalingFit, noisy: list[int]) -> VerdictCode:
    """Why a verdict is open."""
    if noisy:
        return VerdictCode.ROUNDS_NOISY
    if _mixed(fit) and fit.crossover:
        return VerdictCode.TERMS_MIXED
    if laws.roughness(fit.sizes, fit.values) > ROUGH:
        return VerdictCode.NOT_SMOOTH
    if _hidden(growth, fit) or fit.quadratic >= PRESENT:
        return VerdictCode.OVERHEAD_DOMINATED
    return VerdictCode.ROUNDS_DISAGREE


def _remedy(code: VerdictCode, fit: ScalingFit, noisy: list[int]) -> str:
    """What would decide an open verdict."""
    if code is VerdictCode.ROUNDS_NOISY:
        return f"the rounds at {', '.join(map(str, noisy))} differ too much to say; measure on a quieter machine"
    if code is VerdictCode.TERMS_MIXED:
        crossover = fit.crossover or 0.0
        enough = max(BEYOND_CROSSOVER * crossover, 2 * fit.sizes[-1])
        return f"it is half of the growth at {crossover:.0f}; use sizes up to {enough:.0f}"
    if code is VerdictCode.NOT_SMOOTH:
        steps = ", ".join(f"{step:.2f}" for step in laws.steps(fit.sizes, fit.values))
        return f"growth is not smooth, the exponent goes {steps} (caches, allocator, other processes?); use other sizes"
    if code is VerdictCode.OVERHEAD_DOMINATED:
        return "use larger sizes"
    return "the rounds do not agree; use larger sizes, or measure on a quieter machine"


def _largest_regime(sizes: list[int], values: list[int]) -> tuple[int, Coefficients | None]:
    """The polynomial that holds from the earliest size on, and the index of that size; four sizes are the fewest."""
    for start in range(max(1, len(sizes) - FEWEST + 1)):
        found = identify(sizes[start:], values[start:])
        if found is not None:
            return start, found
    return 0, None


def _exact_verdict(growth: Growth, polynomial: Coefficients, sizes: list[int]) -> Verdict:
    """PASS when the degree of the polynomial is the exponent of the law (or with "at most" no more), else FAIL."""
    found, wanted = degree(polynomial), growth.law.exponent
    passes = found <= wanted if growth.at_most else found == wanted
    unit = metrics.find(growth.metric).unit
    base = {"MB": "bytes"}.get(unit.symbol, unit.symbol)
    text = f"{growth.metric} is exactly {written(polynomial, growth.axis)} {base}".rstrip()
    status = Status.PASS if passes else Status.FAIL
    reason = f"{text} at {len(sizes)} sizes from {sizes[0]} to {sizes[-1]}: {NAMES[found]}, {growth.wanted} expected"
    return _verdict(growth, _CODES[status], status, reason, float(found))
