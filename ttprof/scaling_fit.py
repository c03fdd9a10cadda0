"""The fit of a metric over a sweep, as results store it: the scaling laws, the exponent and the points."""

from __future__ import annotations

import msgspec


class LawFit(msgspec.Struct, frozen=True, kw_only=True):
    """One law fitted to the values of a sweep: ``intercept + factor * shape(size)``, both at least 0, in base units."""

    law: str
    """Name of the law, for example ``"linear"``."""
    intercept: float
    """The part of the value that does not grow with the size, in base units."""
    factor: float
    """Factor of the law's shape, in base units."""
    r2: float
    """Adjusted R² of the logarithms, at most 1: the share of their variance that the law explains."""


class ScalingFit(msgspec.Struct, frozen=True, kw_only=True):
    """The fit of a metric over a sweep. Values are in base units (ns, bytes, counts).

    Raises:
        ValueError: no sweep can have produced these fields, so the file they come from is damaged.
    """

    metric: str
    """Public name of the metric."""
    axis: str
    """The swept axis, for example ``"seq_len"``."""
    law: str
    """The expected law."""
    at_most: bool = False
    """Whether slower growth than the expected law passes too."""
    sizes: list[int]
    """The swept sizes, in increasing order."""
    values: list[float]
    """The minimum over the rounds at each size."""
    rounds: list[list[float]] = []
    """The samples at each size, one per round."""
    exponent: float
    """Log-log slope of the values less the intercept of the best law."""
    interval: tuple[float, float]
    """95 % confidence interval of the exponent."""
    laws: list[LawFit] = []
    """The fit of every law, the best first."""
    overhead: float = 0.0
    """Share of the largest value that does not grow with the size."""
    quadratic: float = 0.0
    """Share of the largest value that grows with the square of the size."""
    crossover: float | None = None
    """Size from which the quadratic term exceeds the linear one; None if either is missing."""
    threads: int = 0
    """CPU threads that torch used."""
    heap_kept: bool = False
    """Whether the allocator was kept from returning memory to the system while the metric was measured."""
    coefficients: list[float] | None = None
    """Coefficients of the polynomial that the values follow exactly, constant first; None if they follow none."""
    extended: list[str] = []
    """What was measured beyond the requested sweep because the verdict was still open."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(self.values) != len(self.sizes):
            raise ValueError(f"a fit of {self.metric} needs sizes of at least 1 and one value per size")
        if self.rounds and len(self.rounds) != len(self.sizes):
            raise ValueError(f"a fit of {self.metric} has {len(self.rounds)} rounds for {len(self.sizes)} sizes")
