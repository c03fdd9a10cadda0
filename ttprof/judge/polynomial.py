"""Finds the polynomial with rational coefficients that exact values follow, if there is one.

Counts (bytes, FLOPs, kernels) need no statistics: a polynomial through the first points that also passes through all
others, at least one, is the law itself (Newton's divided differences, in exact arithmetic).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

MAX_DEGREE = 3

Coefficients = tuple[Fraction, ...]


def identify(sizes: Sequence[int], values: Sequence[int]) -> Coefficients | None:
    """The coefficients, constant first, of the lowest-degree polynomial through all points.

    None if there is none of degree 3 or less that leaves a point to spare.
    """
    for degree in range(min(MAX_DEGREE, len(sizes) - 2) + 1):
        polynomial = _through(sizes[: degree + 1], values[: degree + 1])
        if all(_value(polynomial, size) == value for size, value in zip(sizes, values, strict=True)):
            return polynomial
    return None


def degree(coefficients: Coefficients) -> int:
    """The highest power with a non-zero coefficient."""
    return max((power for power, c in enumerate(coefficients) if c), default=0)


def format_polynomial(coefficients: Coefficients, name: str) -> str:
    """Format the polynomial, the highest power first: ``32 n² + 3072 n + 12``."""
    powers = {0: "", 1: f" {name}", 2: f" {name}²", 3: f" {name}³"}
    terms = [f"{_number(abs(c))}{powers[power]}" for power, c in enumerate(coefficients) if c]
    signs = ["-" if c < 0 else "+" for c in coefficients if c]
    text = " ".join(f"{sign} {term}" for sign, term in zip(reversed(signs), reversed(terms), strict=True))
    return text.removeprefix("+ ") or "0"


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _value(coefficients: Coefficients, size: int) -> Fraction:
    return sum((c * size**power for power, c in enumerate(coefficients)), start=Fraction(0))


def _through(sizes: Sequence[int], values: Sequence[int]) -> Coefficients:
    """The polynomial of degree len(sizes) - 1 through the points."""
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
