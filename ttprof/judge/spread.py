"""Tells a change from the spread between processes, for a baseline that several processes recorded.

The model has two levels (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, 2013; pyperf's runs): the
logarithm of iteration j of process i is mu + b_i + e_ij. b_i, the layout of memory, the state of the allocator and what
else stays for the life of a process, has the variance between processes; e_ij the variance within one. The median of
the n iterations of a process is one draw with the variance B = between + c · within / n, which the medians of m
processes estimate with m - 1 degrees of freedom, whatever the two parts are. A new run of k processes is k further
draws, so the difference d of the means is explained by the spread unless d > t · sqrt(B · (1/m + 1/k)), with t the
one-sided quantile of Student's distribution at P_VALUE.

One slow process among those of a baseline makes that bound wide. So a run of several processes is also told from a
baseline if every one of them is slower than every one of the baseline, by more than APART: by chance alone that
happens in 1 of binomial(m + k, k) runs. Measured on eight modules in 30 processes, with all other conditions of a FAIL,
it found 63 instead of 58 % of the modules that are 40 % slower with one thread, 59 instead of 47 % with two, and no
further false alarm in 2,208 comparisons, on a machine that others slowed in a third of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ttprof.baseline import Stored

MIN_PROCESSES = 3
"""Processes from which their spread is estimated; with two, only changes of hundreds of percent would tell."""

APART = 0.05
"""By how much more than the slowest process of a baseline every process of a run has to be slower, as a ratio."""

P_VALUE = 0.01
"""Probability that the spread alone exceeds what it is said to explain."""


class Between(NamedTuple):
    """The difference of a run from the *processes* of a baseline.

    ``ratio`` is the geometric mean of the new values over that of the baseline's, above 1 if it became worse;
    ``explained`` is the ratio up to which the spread between processes explains it. ``apart`` tells whether every new
    process is worse than all of the baseline.
    """

    processes: int
    ratio: float
    explained: float
    apart: bool

    @property
    def explains(self) -> bool:
        """Whether the spread between processes explains that it became worse."""
        return self.ratio <= self.explained and not self.apart


def between(base: Stored, new: Sequence[Stored]) -> Between | None:
    """Compare the processes of a baseline with *new* ones, one stored measurement each; None if it has too few."""
    before, after = _logs([base]), _logs(new)
    if len(before) < MIN_PROCESSES or not len(after) or not np.isfinite([*before, *after]).all():
        return None
    sign = 1.0 if base.better == "lower" else -1.0
    groups = [group for group in (before, after) if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    variance = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / freedom
    t = _quantile(freedom)
    explained = t * math.sqrt(variance * (1 / len(before) + 1 / len(after)))
    difference = sign * float(after.mean() - before.mean())
    margin = float((sign * after).min() - (sign * before).max())
    apart = len(after) > 1 and margin > math.log1p(APART)
    return Between(len(before), _exp(difference), _exp(explained), apart)


def told_from(values: Sequence[float]) -> float | None:
    """The ratio from which a later run of one process would be told from these *values*; None if they are too few."""
    logs = _log(values)
    if len(logs) < MIN_PROCESSES or not np.isfinite(logs).all():
        return None
    return _exp(_quantile(len(logs) - 1) * float(logs.std(ddof=1)) * math.sqrt(1 / len(logs) + 1))


def _quantile(freedom: int) -> float:
    """The quantile of Student's distribution at ``P_VALUE``, one-sided."""
    from scipy.special import stdtrit  # imported lazily: it takes a moment

    return float(stdtrit(freedom, 1 - P_VALUE))


def _logs(stored: Sequence[Stored]) -> np.ndarray:
    return _log([value for one in stored for value in (one.values or [one.value])])


def _log(values: Sequence[float]) -> np.ndarray:
    """The logarithms; NaN or infinite for what has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.array(values, dtype=np.float64))


def _exp(exponent: float) -> float:
    """The exponential; infinite where a float ends."""
    with np.errstate(over="ignore"):
        return float(np.exp(exponent))
