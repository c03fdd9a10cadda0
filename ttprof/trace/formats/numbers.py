"""Turns lists of decoded JSON numbers into exact int64 (or float64) columns.

Times are decimal microseconds. A float64 is exact to the nanosecond only below 2^43 µs, so a reader decodes times as
integers, floats or text; each is converted exactly or rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from ttprof.trace.events import UNKNOWN, Float, Int

EXACT_FLOAT_US = 2**43
"""Below this many microseconds a float64 is within half a nanosecond of the decimal text that it was parsed from."""

MAX_TIME_US = 2**52
"""Times must be below this (142 years), so that a time plus the base fits in 64 bits of nanoseconds."""

MAX_DURATION_US = 2**40
"""Durations must be below this (12 days), so that their sums fit in 64 bits of nanoseconds."""

MAX_TIME_CHARS = 64
"""Longer texts are not times; their conversion could take long."""

_NOT_A_TIME = "it has no {}, or one that is not a time"

_POINT = ord(".")
_ZERO = ord("0")
_DECIMALS = 3


class TooLargeForFloats(Exception):
    """Raised for times that are not exact as float64: their text has to be decoded instead."""


def whole_numbers(values: list[Any]) -> Int:
    """Integers, or strings of decimal or hexadecimal integers, as int64; None and "" become -1."""
    try:
        return np.fromiter(values, np.int64, len(values))
    except (TypeError, ValueError, OverflowError):
        return np.fromiter(map(_whole, values), np.int64, len(values))


def _whole(value: Any) -> int:
    """One integer; unsigned 64-bit ids and addresses keep their bits."""
    if value is None or value == "":
        return UNKNOWN
    number = int(value, 0) if isinstance(value, str) else int(value)
    return number - 2**64 if 2**63 <= number < 2**64 else number


def fractions(values: list[Any]) -> Float:
    """Numbers as float64; None becomes NaN."""
    return np.fromiter((np.nan if v is None else v for v in values), np.float64, len(values))


def durations_ns(values: Sequence[Any]) -> Int:
    """Durations in exact nanoseconds, as in ``times_ns``, negative ones too. Raises ValueError if one is too long."""
    try:
        durations = times_ns(values, "dur")
    except TooLargeForFloats as error:
        raise ValueError(_NOT_A_TIME.format("dur")) from error
    if (np.abs(durations) >= MAX_DURATION_US * 1000).any():
        raise ValueError(_NOT_A_TIME.format("dur"))
    return durations


def times_ns(values: Sequence[Any], key: str) -> Int:
    """Microseconds, all as ints, floats or text (``msgspec.Raw``), in exact nanoseconds.

    Raises:
        ValueError: a value is missing or not a time; the message names *key*.
        TooLargeForFloats: a float is too large to be exact to the nanosecond.
    """
    if not values:
        return np.zeros(0, dtype=np.int64)
    try:
        if isinstance(values[0], msgspec.Raw):
            return _from_text(values)
        return _from_floats(values) if isinstance(values[0], float) else _from_whole(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(_NOT_A_TIME.format(key)) from error


def _from_whole(values: Sequence[int]) -> Int:
    us = np.fromiter(values, np.int64, len(values))
    _check(us.min(), us.max())
    us *= 1000
    return us


def _from_floats(values: Sequence[float]) -> Int:
    us = np.fromiter(values, np.float64, len(values))
    _check(us.min(), us.max())
    if np.abs(us).max() >= EXACT_FLOAT_US:
        raise TooLargeForFloats
    whole = np.floor(us)
    us -= whole
    us *= 1000
    return whole.astype(np.int64) * 1000 + np.rint(us, out=us).astype(np.int64)


def _check(smallest: Any, largest: Any) -> None:
    if not (-MAX_TIME_US < smallest <= largest < MAX_TIME_US):
        raise ValueError("not a time")


def _from_text(values: Sequence[msgspec.Raw]) -> Int:
    """Vectorised if all texts have the same length and three decimals; one by one otherwise."""
    text = np.frombuffer(b"".join(values), dtype=np.uint8)
    width = len(memoryview(values[0]))
    if len(text) == width * len(values) and _DECIMALS + 1 < width <= 20:
        digits = text.reshape(-1, width)
        point = width - _DECIMALS - 1
        numbers = np.delete(digits, point, axis=1) - _ZERO
        if (digits[:, point] == _POINT).all() and (numbers <= 9).all():
            return _checked_ns(numbers @ (10 ** np.arange(width - 2, -1, -1)))
    return _checked_ns(np.fromiter((_decimal_ns(bytes(value)) for value in values), np.int64, len(values)))


def _checked_ns(ns: Int) -> Int:
    _check(ns.min() // 1000, ns.max() // 1000)
    return ns


def _decimal_ns(text: bytes) -> int:
    text = text.strip(b'"')  # torch_npu writes times as texts
    if len(text) > MAX_TIME_CHARS:
        raise ValueError("not a time")
    try:
        us = Decimal(text.decode())
    except ArithmeticError:
        us = Decimal(MAX_TIME_US)
    if not us.is_finite() or us.copy_abs() >= MAX_TIME_US:  # abs() would round, and fail for a huge exponent
        raise ValueError("not a time")
    return int((us * 1000).to_integral_value())
