"""Defines a metric and the registry of metrics.

A metric is one function of an ``Observation``: its name is the public id, its docstring the help. It returns one sample
per iteration in base units (ns, bytes, counts), or None if it could not be measured. Limits, tables and
``ttprof metrics`` take labels, units and directions from the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ttprof.errors import UnknownNameError
from ttprof.machine import Timed
from ttprof.observation import Observation
from ttprof.result import Measurement
from ttprof.units import RATIO, Unit

Samples = NDArray[Any] | None
Compute = Callable[[Observation], Samples]
Statistic = Literal["median", "p90", "p99", "max", "min", "growth"]


def growth(samples: NDArray[Any]) -> float:
    """The permanent growth of the samples, per sample; 0 unless there are at least two permanent rises.

    A rise is permanent if no later sample falls back to the level before it. Only the first two thirds are searched,
    because the last third has to show that the samples don't fall back. Memory that is added once therefore doesn't
    count, nor does memory that comes and goes within a third, and a single drop doesn't hide the growth after it.
    """
    values = np.asarray(samples, dtype=np.float64)
    floor = np.minimum.accumulate(values[::-1])[::-1][: len(values) - len(values) // 3 + 1]
    rises = int((np.diff(floor) > 0).sum())
    return float((floor[-1] - floor[0]) / (len(floor) - 1)) if rises > 1 else 0.0


STATISTICS: dict[Statistic, Callable[..., Any]] = {
    "median": np.median,
    "p90": lambda samples, axis=None: np.quantile(samples, 0.9, axis=axis),
    "p99": lambda samples, axis=None: np.quantile(samples, 0.99, axis=axis),
    "max": np.max,
    "min": np.min,
    "growth": growth,
}

QUANTILES: dict[Statistic, float] = {"median": 0.5, "p90": 0.9, "p99": 0.99}
"""The statistics that are quantiles."""

SAMPLED: frozenset[Statistic] = frozenset(QUANTILES)
"""The statistics of metrics that vary from run to run: their limits are judged by a confidence interval."""

MIN_SAMPLES: dict[Statistic, int] = {"median": 1, "p90": 10, "p99": 100, "max": 1, "min": 1, "growth": 3}
"""Minimum number of samples for which a statistic means anything: the p99 of 30 samples is just the largest one."""


@dataclass(frozen=True)
class Metric:
    """A row of the registry.

    ``needs`` completes the message "it needs …" when the metric was not measured. ``regresses`` is false for a metric
    that is not compared with a baseline, because it is derived from others or judged in each run. ``of`` names the
    metric of whose samples this one is another statistic. ``allocations``: it is computed from the events of torch's
    allocator. A case with a limit on the metric records at least ``recorded`` iterations. ``lacks`` may replace
    ``needs`` by what one observation lacks. No value is above ``highest``. ``timed``: its samples are those of the
    timed iterations: of their wall time, of CPU time, or paired with those of the reference beside them.
    ``permitted``: some systems do not let users measure it.
    """

    name: str
    compute: Compute
    label: str
    unit: Unit
    better: Literal["lower", "higher"]
    statistic: Statistic
    needs: str
    help: str
    aliases: tuple[str, ...]
    regresses: bool
    of: str
    allocations: bool
    recorded: int
    lacks: Callable[[Observation], str]
    highest: float | None
    timed: Timed
    permitted: bool

    @property
    def sampled(self) -> bool:
        """Whether the samples vary from run to run, so that limits are judged by a confidence interval.

        Such metrics have a quantile as their statistic; metrics that are counted exactly have the extreme.
        """
        return self.statistic in SAMPLED

    @property
    def whole(self) -> bool:
        """Whether the samples are whole numbers: bytes, operations, kernels."""
        return not self.sampled and self.unit is not RATIO

    @property
    def min_samples(self) -> int:
        """Minimum number of samples from which the metric is computed."""
        return MIN_SAMPLES[self.statistic]

    def samples(self, observation: Observation) -> Samples:
        """The samples in base units, or None if they are missing, too few, or not finite."""
        values = self.compute(observation)
        if values is None or len(values) < self.min_samples or not np.isfinite(values).all():
            return None
        return values

    def missing(self, observation: Observation) -> str:
        """The reason why the metric was not measured; completes "it needs …"."""
        if self.allocations and not observation.allocations:
            return "events of torch's allocator, which Nsight Systems does not record: backend='torch' does"
        return self.lacks(observation) or self.needs

    def measure(self, observation: Observation) -> Measurement | None:
        """The measurement to store, or None if the metric was not measured."""
        values = self.samples(observation)
        if values is None:
            return None
        return Measurement(
            name=self.name,
            label=self.label,
            unit=self.unit.symbol,
            better=self.better,
            statistic=self.statistic,
            value=self.unit.public(float(STATISTICS[self.statistic](values))),
            samples=[] if self.of else [float(v) for v in values],
            samples_of=self.of,
            timed=self.timed,
        )


REGISTRY: dict[str, Metric] = {}


def metric(
    label: str,
    unit: Unit,
    *,
    needs: str,
    better: Literal["lower", "higher"] = "lower",
    statistic: Statistic = "median",
    aliases: tuple[str, ...] = (),
    regresses: bool = True,
    of: str = "",
    allocations: bool = False,
    recorded: int = 0,
    lacks: Callable[[Observation], str] = lambda observation: "",
    highest: float | None = None,
    timed: Timed = "never",
    permitted: bool = False,
) -> Callable[[Compute], Compute]:
    """Register the decorated function as a metric; the arguments are the fields of ``Metric``."""

    def register(compute: Compute) -> Compute:
        REGISTRY[compute.__name__] = Metric(
            name=compute.__name__,
            compute=compute,
            label=label,
            unit=unit,
            better=better,
            statistic=statistic,
            needs=needs,
            help=" ".join((compute.__doc__ or "").split()),
            aliases=aliases,
            regresses=regresses,
            of=of,
            allocations=allocations,
            recorded=recorded,
            lacks=lacks,
            highest=highest,
            timed=timed,
            permitted=permitted,
        )
        return compute

    return register


def find(name: str) -> Metric:
    """The metric called *name*, or with that alias. Raises UnknownNameError, which suggests the nearest names."""
    by_name = REGISTRY | {alias: row for row in REGISTRY.values() for alias in row.aliases}
    if not isinstance(name, str) or name not in by_name:
        raise UnknownNameError("metric", str(name), by_name)
    return by_name[name]


def measure_all(observation: Observation) -> list[Measurement]:
    """The measurements of all metrics that *observation* allows, in the order of the registry."""
    measurements = (row.measure(observation) for row in REGISTRY.values())
    return [measurement for measurement in measurements if measurement is not None]
