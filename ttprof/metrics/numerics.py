"""Metrics of the error of an output against its reference; the largest over all output tensors."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import RATIO

_NEEDS = "a finite output and a reference to compare it with"


@metric("relative error", RATIO, needs=_NEEDS, statistic="max", regresses=False)
def rel_error(o: Observation) -> Samples:
    """Relative error ‖output - reference‖ / ‖reference‖ (2-norm), of the output tensor where it is largest."""
    return np.array([o.numerics.rel]) if o.numerics else None


@metric("largest error", RATIO, needs=_NEEDS, statistic="max", regresses=False)
def max_error(o: Observation) -> Samples:
    """Largest error max|output - reference| / max|reference|, of the output tensor where it is largest."""
    return np.array([o.numerics.max]) if o.numerics else None


@metric("ULP distance", RATIO, needs=_NEEDS, statistic="max", regresses=False)
def ulp_error(o: Observation) -> Samples:
    """Largest error in units in the last place of the reference, in the output's dtype; values near 0 inflate it."""
    return np.array([o.numerics.ulp]) if o.numerics else None


@metric("PCC", RATIO, needs=_NEEDS + ", neither of them constant", better="higher", statistic="min", regresses=False)
def pcc(o: Observation) -> Samples:
    """Pearson correlation of output and reference, which ignores scale: never judge by it alone."""
    return np.array([o.numerics.pcc]) if o.numerics and o.numerics.pcc is not None else None


NUMERIC_METRICS = tuple(compute.__name__ for compute in (rel_error, max_error, pcc, ulp_error))
"""The names of the metrics that need a reference to compare the output with."""
