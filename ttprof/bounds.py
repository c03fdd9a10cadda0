"""Bounds on a value, as ``expect`` takes them: at most, at least, exactly, within. Must not import torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ttprof.errors import SpecError


def number(name: str, value: object) -> float:
    """Return *value* as a finite, non-negative float; raise a SpecError that names the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number, got {value!r}")
    if not 0 <= value < float("inf"):
        raise SpecError(f"{name} must be a finite number of at least 0, got {value}")
    return float(value)


@dataclass(frozen=True)
class Bound:
    """A closed range that a value must stay in."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def exact(self) -> bool:
        """Whether the range is a single value."""
        return self.low == self.high


def at_most(value: float) -> Bound:
    """Bound a metric from above.

    Args:
        value: the highest value that passes, in the unit of the metric.

    Raises:
        SpecError: *value* is not a finite number of at least 0.

    ```python
    suite.test(model.attention).expect(latency_ms=at_most(5))
    ```
    """
    return Bound(high=number("at_most", value))


def at_least(value: float) -> Bound:
    """Bound a metric from below.

    Args:
        value: the lowest value that passes, in the unit of the metric.

    Raises:
        SpecError: *value* is not a finite number of at least 0.

    ```python
    suite.test(model.attention).compare_with(reference_attention).expect(speedup=at_least(1.2))
    ```
    """
    return Bound(low=number("at_least", value))


def exactly(value: float) -> Bound:
    """Expect an exact value; only for metrics that do not vary from run to run, such as counts.

    Args:
        value: the only value that passes, in the unit of the metric.

    Raises:
        SpecError: *value* is not a finite number of at least 0.

    ```python
    suite.test(model.attention).expect(flops=exactly(33_554_432))
    ```
    """
    return Bound(number("exactly", value), number("exactly", value))


def within(value: float, margin: float | str) -> Bound:
    """Expect a value in the range *value* ± *margin*, ends included.

    Args:
        value: the middle of the range, in the unit of the metric.
        margin: half the width of the range: a number in the unit of the metric, or a percentage of *value* such as
            ``"2%"``.

    Raises:
        SpecError: *value* or *margin* is not a finite number of at least 0, or the percentage can't be parsed.

    ```python
    suite.test(model.attention).expect(memory_mb=within(512, "2%"))
    ```
    """
    middle = number("within", value)
    if isinstance(margin, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", margin)
        if match is None:
            raise SpecError(f'within needs a number or a margin such as "2%", got {margin!r}')
        width = middle * float(match[1]) / 100
    else:
        width = number("within", margin)
    return Bound(middle - width, middle + width)
