"""Numbers as traces write them: lists of decoded JSON values enter, exact int64 (or float64) columns leave.

Times are microseconds in decimal text. As float64 they are exact to the nanosecond only below 2^43 µs, so a reader
decodes them as whole numbers, as floats, or as text, and whatever came is exact here or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from ttprof.trace.events import UNKNOWN, Float, Int

EXACT_FLOAT_US = 2**43
"""Below this many microseconds a float64 lies within half a nanosecond of the decimal text it was parsed from."""

LARGEST_US = 2**52
"""Times from here on (142 years) are no times; below it, a time and the base fit in 64 bits of nanoseconds."""

LONGEST_US = 2**40
"""Durations from here on (12 days) are no durations; sums of shorter ones fit in 64 bits of nanoseconds."""

_POINT = ord(".")
_ZERO = ord("0")
_DECIMALS = 3


class TooLargeForFloats(Exception):
    """Timestamps that a float64 does not hold exactly: their text has to be read."""


def whole_numbers(values: list[Any]) -> Int:
    """Numbers, or numbers in decimal or hexadecimal text, as int64; -1 where the trace states none."""
    try:
        return np.fromiter(values, np.int64, len(values))
    except (TypeError, ValueError, OverflowError):
        return np.fromiter(map(_whole, values), np.int64, len(values))


def _whole(value: Any) -> int:
    """One number; ids and addresses of 64 unsigned bits keep their bits."""
    if value is None or value == "":
        return UNKNOWN
    number = int(value, 0) if isinstance(value, str) else int(value)
    return number - 2**64 if 2**63 <= number < 2**64 else number


def fractions(values: list[Any]) -> Float:
    """Numbers as float64; NaN where the trace states none."""
    return np.fromiter((np.nan if v is None else v for v in values), np.float64, len(values))


def durations_ns(values: Sequence[Any]) -> Int:
    """As ``times_ns``, for durations, which are not negative and shorter than 12 days."""
    try:
        found = times_ns(values, "dur")
    except TooLargeForFloats as error:
        raise ValueError("it has no dur, or one that is no time") from error
    if (found < 0).any():
        raise ValueError("its duration is negative")
    if (found >= LONGEST_US * 1000).any():
        raise ValueError("it has no dur, or one that is no time")
    return found


def times_ns(values: Sequence[Any], what: str) -> Int:
    """Microseconds in exact nanoseconds; all are ints, floats, or text (``msgspec.Raw``).

    Raises ValueError for what is no time, TooLargeForFloats for floats that stand for more than one decimal text.
    """
    if not values:
        return np.zeros(0, dtype=np.int64)
    try:
        if isinstance(values[0], msgspec.Raw):
            return _from_text(values)
        return _from_floats(values) if isinstance(values[0], float) else _from_whole(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"it has no {what}, or one that is no time") from error


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
    if not (-LARGEST_US < smallest <= largest < LARGEST_US):
        raise ValueError("no time")


def _from_text(values: Sequence[msgspec.Raw]) -> Int:
    """All at once where every text has the same number of digits, with three decimals; else one by one."""
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
    try:
        us = Decimal(text.decode())
    except ArithmeticError:
        us = Decimal(LARGEST_US)
    if not us.is_finite() or abs(us) >= LARGEST_US:
        raise ValueError("no time")
    return int((us * 1000).to_integral_value())
