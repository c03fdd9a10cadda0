"""Finds the polynomial with rational coefficients that exact values follow, if there is one.

Counts (bytes, FLOPs, kernels) need no statistics: a polynomial through the first points that also passes through all
others, at least one, is the law itself (Newton's divided differences, in exact arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

NAMES = ("constant", "linear", "quadratic", "cubic", "quartic")
"""Name of a polynomial, indexed by its degree."""

MIN_SIZES = 4
"""Minimum number of sizes that remain after the smallest ones were dropped."""

SAFE_SPARE_POINTS = 2
"""Spare points that rounded values don't meet by accident. One was met by up to 1.6 % of linear and quadratic counts
rounded up to multiples of 8 to 512 (simulated), by 0.2 % with a polynomial that also grows like a count."""

MAX_CANCELLED = 0.5
"""Largest fraction of the positive terms that the negative ones cancel at the largest size, if a count grows so."""

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Coefficients = tuple[Fraction, ...]


def identify(sizes: Sequence[int], values: Sequence[int]) -> Coefficients | None:
    """The coefficients, constant first, of the lowest-degree polynomial that the values follow.

    It passes through all points, at least one more than determine it, and is whole wherever a sweep with the same
    step could measure it. If only one point is to spare, it must also grow like a count: rounded values of another
    law may meet a single point by accident.

    Returns:
        None if there is no such polynomial.
    """
    polynomial = passing_through(sizes, values)
    spare = len(sizes) - len(polynomial)
    if spare < 1 or not _is_whole(sizes, polynomial):
        return None
    linear = degree(polynomial) <= 1
    return polynomial if linear or spare >= SAFE_SPARE_POINTS or _grows_like_a_count(sizes, polynomial) else None


def largest_regime(sizes: Sequence[int], values: Sequence[int]) -> tuple[int, Coefficients | None]:
    """The first index from which the values follow one polynomial, and that polynomial; at least four sizes remain."""
    for start in range(max(1, len(sizes) - MIN_SIZES + 1)):
        polynomial = identify(sizes[start:], values[start:])
        if polynomial is not None:
            return start, polynomial
    return 0, None


def explain(sizes: Sequence[int], values: Sequence[int]) -> Coefficients | None:
    """The lowest-degree polynomial that may be the law of the values, although they do not prove it.

    It passes through all points. Without a point to spare it must be whole and grow like a count, as any values have
    a polynomial of that degree.

    Returns:
        None if there is no such polynomial.
    """
    polynomial = passing_through(sizes, values)
    if len(polynomial) < len(sizes) or (_grows_like_a_count(sizes, polynomial) and _may_be_whole(sizes, polynomial)):
        return polynomial
    return None


def passing_through(sizes: Sequence[int], values: Sequence[int]) -> Coefficients:
    """The coefficients, constant first, of the polynomial of lowest degree through all points."""
    polynomial = _through(sizes, values)
    return polynomial[: degree(polynomial) + 1]


def degree(coefficients: Coefficients) -> int:
    """The highest power with a non-zero coefficient."""
    return max((power for power, c in enumerate(coefficients) if c), default=0)


def kind(coefficients: Coefficients) -> str:
    """The name of the polynomial's degree, e.g. ``quadratic`` or ``of degree 5``."""
    power = degree(coefficients)
    return NAMES[power] if power < len(NAMES) else f"of degree {power}"


def format_polynomial(coefficients: Coefficients, name: str) -> str:
    """Format the polynomial, the highest power first: ``32 n² + 3,072 n + 12``."""
    terms = [f"{_number(abs(c))}{_power(name, power)}" for power, c in enumerate(coefficients) if c]
    signs = ["-" if c < 0 else "+" for c in coefficients if c]
    text = " ".join(f"{sign} {term}" for sign, term in zip(reversed(signs), reversed(terms), strict=True))
    return text.removeprefix("+ ") or "0"


def _power(name: str, power: int) -> str:
    return f" {name}{str(power).translate(_SUPERSCRIPTS) if power > 1 else ''}" if power else ""


def _number(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{value.numerator:,}/{value.denominator:,}"


def _value(coefficients: Coefficients, size: int) -> Fraction:
    return sum((c * size**power for power, c in enumerate(coefficients)), start=Fraction(0))


def _is_whole(sizes: Sequence[int], polynomial: Coefficients) -> bool:
    """Whether the polynomial is whole at every size on the grid of *sizes*.

    It is if it is whole at as many neighbours on the grid as it has coefficients (Pólya, 1915). A count is; for a
    polynomial that passes through values of another law this is rare, unless the sizes have equal distances.
    """
    step = math.gcd(*(size - sizes[0] for size in sizes[1:]))
    return all(_value(polynomial, sizes[0] + step * i).denominator == 1 for i in range(len(polynomial)))


def _may_be_whole(sizes: Sequence[int], polynomial: Coefficients) -> bool:
    """The same, but True for three sizes, where one polynomial in three is whole by accident."""
    return len(sizes) <= 3 or _is_whole(sizes, polynomial)


def _grows_like_a_count(sizes: Sequence[int], polynomial: Coefficients) -> bool:
    """Whether the highest term is positive, and negative ones cancel at most half of the positive ones.

    ``(n - 2)²`` and ``n (n - 1) / 2`` do; a polynomial forced through rounded values mostly is a difference of large
    terms.
    """
    terms = [c * max(sizes) ** power for power, c in enumerate(polynomial)]
    positive, negative = sum(t for t in terms if t > 0), -sum(t for t in terms if t < 0)
    return bool(terms[-1] > 0 and negative <= MAX_CANCELLED * positive)


def _through(sizes: Sequence[int], values: Sequence[int]) -> Coefficients:
    """The polynomial of degree len(sizes) - 1 or less through the points."""
    differences = [Fraction(value) for value in values]
    for order in range(1, len(sizes)):
        for i in range(len(sizes) - 1, order - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / (sizes[i] - sizes[i - order])
    product = [Fraction(0)]
    for i in range(len(sizes) - 1, -1, -1):  # product = product * (n - sizes[i]) + differences[i]
        shifted = [Fraction(0), *product]
        product = [high - sizes[i] * low for high, low in zip(shifted, [*product, Fraction(0)], strict=True)]
        product[0] += differences[i]
    return tuple(product[: len(sizes)])
