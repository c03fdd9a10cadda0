"""Units: converts base quantities (ns, bytes, counts) to public numbers such as ms and MB, and formats them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A public unit: its *symbol*, and its size in base units (ns, bytes, 1)."""

    symbol: str
    scale: float = 1.0

    def public(self, base: float) -> float:
        """Convert *base*, in base units, to this unit."""
        return base / self.scale

    def format(self, value: float) -> str:
        """Format *value*, in this unit, for example as ``5.12 ms`` or ``12``."""
        return f"{significant(value)} {self.symbol}".rstrip()


MS = Unit("ms", 1e6)
MB = Unit("MB", 2.0**20)
FLOP = Unit("FLOP")
TFLOPS = Unit("TFLOP/s", 1e12)
BYTE = Unit("B")
COUNT = Unit("")
RATIO = Unit("")
BY_SYMBOL = {unit.symbol: unit for unit in (MS, MB, FLOP, TFLOPS, BYTE, COUNT)}
"""Units by their symbol in saved results."""


LARGEST_RATIO = 1e9
"""The largest ratio that is shown."""

LARGEST_COUNT = 2.0**53
"""Up to here a float holds every integer, so that a count is shown in full."""


def significant(value: float) -> str:
    """Format a number with about three significant digits, an integer up to 2**53 in full, as ``1,048,576``."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    size = abs(value)
    if value == int(value) and size <= LARGEST_COUNT:
        return f"{int(value):,}"
    if size >= 1e7:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.3g}" if size < 10 else f"{value:.2f}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Format two numbers for comparison: with nine digits if three do not tell them apart."""
    short = significant(one), significant(other)
    return short if short[0] != short[1] else (f"{one:.9g}", f"{other:.9g}")


def percent(ratio: float) -> str:
    """Format the change that a ratio is, as ``+36 %`` or ``-4.2 %``, and from a thousand on as ``×1,200``."""
    if ratio >= 1000:
        return f"×{min(ratio, LARGEST_RATIO):,.0f}"
    change = 100 * (ratio - 1)
    return f"{change:+,.0f} %" if abs(change) >= 9.95 else f"{change:+.1f} %"


def format_bound(low: float | None, high: float | None) -> str:
    """Format a range as ``≤ 5``, ``≥ 5``, ``= 10`` or ``490 … 522``; None is an open end, two give ``""``."""
    if low is not None and high is not None:
        return f"= {significant(low)}" if low == high else f"{significant(low)} … {significant(high)}"
    if high is not None:
        return f"≤ {significant(high)}"
    return "" if low is None else f"≥ {significant(low)}"


def format_ns(ns: float) -> str:
    """Format a duration in ns as s, ms, µs or ns; two decimals, so that the numbers of a column line up."""
    for symbol, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= scale:
            return f"{ns / scale:.2f} {symbol}"
    return f"{ns:.0f} ns"


def format_bytes(size: float) -> str:
    """Format a number of bytes in powers of 1024: ``512 B``, ``1.5 KiB``, ``3.2 MiB``, ``1.1 GiB``."""
    for symbol, scale in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if abs(size) >= scale:
            return f"{significant(size / scale)} {symbol}"
    return f"{significant(size)} B"


def format_rate(bytes_per_s: float) -> str:
    """Format a rate in powers of 1000, as data sheets and other profilers do: ``6.28 GB/s``."""
    for symbol, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(bytes_per_s) >= scale:
            return f"{significant(bytes_per_s / scale)} {symbol}/s"
    return f"{significant(bytes_per_s)} B/s"


def share(text: str) -> float:
    """The number that ``5%`` or ``0.05`` stands for. Raises ValueError for other texts."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a fraction or percentage, e.g. 0.05 or 5%")
    return float(match[1]) / (100 if match[2] else 1)
