"""What the user asked for, as frozen values: the suite, its cases, and the settings of each case.

Every edit makes a new spec, and every spec validates itself when it is made, so that a wrong argument is an error at
the line that wrote it. No torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ttprof.errors import SpecError, UnknownNameError

AXES = ("seq_len", "batch_size")
"""The sizes that inferred inputs follow; others are named by an input factory or an input shape of the user's."""

MIN_SIZES = 3
MIN_RANGE = 4.0


def integer(name: str, value: object, minimum: int) -> int:
    """*value* as an int of at least *minimum*; SpecError names the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(f"{name} must be an integer, not {value!r}")
    if value < minimum:
        raise SpecError(f"{name} must be at least {minimum}, not {value}")
    return value


def number(name: str, value: object) -> float:
    """*value* as a finite, non-negative float; SpecError names the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number, not {value!r}")
    if not 0 <= value < float("inf"):
        raise SpecError(f"{name} must be a finite number of at least 0, not {value}")
    return float(value)


@dataclass(frozen=True)
class Schedule:
    """How often a case is called: *warmup* calls, then *iterations* timed ones; pass 2 records *recorded* of them.

    ``exact`` says that the user fixed the numbers with ``.profile``: then no iteration is added to decide a limit.
    """

    warmup: int = 3
    iterations: int = 30
    recorded: int = 5
    exact: bool = False

    def __post_init__(self) -> None:
        integer("warmup", self.warmup, 0)
        integer("iterations", self.iterations, 1)
        integer("trace_iterations", self.recorded, 1)
        if self.exact and self.recorded > self.iterations:
            raise SpecError(f"trace_iterations={self.recorded} is more than iterations={self.iterations}")


@dataclass(frozen=True)
class Sweep:
    """The sizes that one *axis* of the input takes, in increasing order: seq_len, batch_size or a name."""

    axis: str
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError(f"a sweep over {self.axis} needs at least one size; the list is empty")
        for value in self.values:
            integer(self.axis, value, 1)
        if len(set(self.values)) != len(self.values):
            raise SpecError(f"a sweep over {self.axis} repeats a size: {list(self.values)}")
        object.__setattr__(self, "values", tuple(sorted(self.values)))

    def check_tells_laws(self) -> None:
        """Raise SpecError unless a law can be told from these sizes: enough of them, far enough apart."""
        if len(self.values) < MIN_SIZES or self.values[-1] < MIN_RANGE * self.values[0]:
            raise SpecError(
                f"expect_scaling needs at least {MIN_SIZES} sizes of {self.axis} over a range of {MIN_RANGE:g}x, "
                f"not {list(self.values)}"
            )


@dataclass(frozen=True)
class Tolerance:
    """The relative error that a module may have; *strict* keeps it below the floor of its dtype too."""

    value: float
    strict: bool = False

    def __post_init__(self) -> None:
        number("tolerance", self.value)


@dataclass(frozen=True)
class Bound:
    """A range that a number has to stay in; both ends belong to it."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def exact(self) -> bool:
        """Whether only one number will do."""
        return self.low == self.high


def at_most(value: float) -> Bound:
    """``expect(latency_ms=at_most(5))``: no more than *value*, in the unit of the metric."""
    return Bound(high=number("at_most", value))


def at_least(value: float) -> Bound:
    """``expect(pcc=at_least(0.999))``: no less than *value*, in the unit of the metric."""
    return Bound(low=number("at_least", value))


def exactly(value: float) -> Bound:
    """``expect(kernel_count=exactly(12))``: *value* and nothing else; for metrics that do not vary from run to run."""
    return Bound(number("exactly", value), number("exactly", value))


def within(value: float, margin: float | str) -> Bound:
    """``expect(memory_mb=within(512, "2%"))``: *value* give or take a *margin*, in its unit or as a percentage."""
    middle = number("within", value)
    if isinstance(margin, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", margin)
        if match is None:
            raise SpecError(f'within takes a margin such as "2%" or a number, not {margin!r}')
        width = middle * float(match[1]) / 100
    else:
        width = number("within", margin)
    return Bound(middle - width, middle + width)


@dataclass(frozen=True)
class Limit:
    """A bound on one metric, in the metric's public unit; of a plain number the direction is the metric's."""

    metric: str
    bound: float | Bound


@dataclass(frozen=True)
class KernelBudget:
    """What the kernels whose name matches a glob may take: their time in ms and their number, per iteration."""

    pattern: str
    time_ms: Bound | None = None
    count: Bound | None = None


@dataclass(frozen=True)
class ScalingLaw:
    """A growth law: the exponent that a log-log slope shows for it, and its shape, the growth at a size.

    Laws of one exponent are one family: a time can't tell them apart.
    """

    name: str
    exponent: float
    shape: Callable[[float], float]


LAWS = {
    law.name: law
    for law in (
        ScalingLaw("constant", 0.0, lambda n: 1.0),
        ScalingLaw("log", 0.0, math.log1p),
        ScalingLaw("linear", 1.0, lambda n: n),
        ScalingLaw("nlogn", 1.0, lambda n: n * math.log1p(n)),
        ScalingLaw("quadratic", 2.0, lambda n: n**2),
        ScalingLaw("cubic", 3.0, lambda n: n**3),
    )
}


def scaling_law(name: object) -> ScalingLaw:
    """The law called *name*; UnknownNameError lists the laws otherwise."""
    if not isinstance(name, str):
        raise SpecError(f"a scaling law is a name such as 'linear', not {name!r}")
    if name not in LAWS:
        raise UnknownNameError("scaling law", name, LAWS)
    return LAWS[name]


AT_MOST = "at most "


@dataclass(frozen=True)
class Scaling:
    """The expectation that a metric follows *law*, or with ``at_most`` grows no faster.

    The metric None is the default of the device; the axis ``over`` None is the one that is swept.
    """

    law: ScalingLaw
    over: str | None = None
    metric: str | None = None
    at_most: bool = False


@dataclass(frozen=True)
class GivenInputs:
    """Inputs that the user wrote: fixed values, a shape, or a factory; exactly one of them is set.

    A dimension of the shape is a number, or the name of a size.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int | str, ...] | None = None
    factory: Callable[..., Any] | None = None

    @property
    def fixed(self) -> bool:
        """Whether the inputs can not follow a sweep."""
        return self.shape is None and self.factory is None


@dataclass(frozen=True)
class SourceLine:
    """Where a case was written: a file and a line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False)
class CaseSpec:
    """One module under test and everything that is expected of it."""

    name: str
    module: Any
    path: str | None
    source: SourceLine
    schedule: Schedule = Schedule()
    sweeps: tuple[Sweep, ...] = ()
    given: GivenInputs | None = None
    tolerance: Tolerance | None = None
    limits: tuple[Limit, ...] = ()
    kernel_budgets: tuple[KernelBudget, ...] = ()
    deterministic: bool = False
    scaling: Scaling | None = None
    reference: Any = None
    reference_name: str = ""
    backward: bool = False
    train: bool = False
    autocast: Any = None
    dtype: Any = None
    call: int = 0
    cache: Literal["warm", "cold"] = "warm"
    allow_nonfinite: bool = False
    only_if_called: bool = False
    skip_reason: str | None = None

    def __post_init__(self) -> None:
        if self.sweeps and self.given is not None and self.given.fixed:
            raise SpecError(
                f"{self.name}: .inputs(...) fixes the inputs, so they can not follow a sweep; use .input_factory(fn)"
            )
        if self.call and self.given is not None:
            raise SpecError(f"{self.name}: .call({self.call}) selects a captured call, and these inputs are given")
        if self.scaling is None:
            return
        if self.scaling.over is None and len(self.sweeps) > 1:
            raise SpecError(f"{self.name}: two sizes are swept; say which one with expect_scaling(..., over='seq_len')")
        for sweep in self.sweeps:
            if sweep.axis == self.scaling_axis:
                sweep.check_tells_laws()

    @property
    def scaling_axis(self) -> str:
        """The axis over which a scaling is expected."""
        if self.scaling is not None and self.scaling.over is not None:
            return self.scaling.over
        return self.sweeps[0].axis if self.sweeps else "seq_len"


@dataclass(frozen=True, eq=False)
class SuiteSpec:
    """A model and the cases to run on it. ``seq_len`` None means: 2048, or as much as the model takes."""

    name: str
    model: Any
    device: Any = None
    cases: tuple[CaseSpec, ...] = ()
    batch_size: int = 1
    seq_len: int | None = None
    inputs: Any = None
    seed: int = 0
    trace_dir: Path = Path("traces")
    strict: bool = False
    seconds_per_case: float = 2.0

    def __post_init__(self) -> None:
        integer("batch_size", self.batch_size, 1)
        if self.seq_len is not None:
            integer("seq_len", self.seq_len, 1)
        integer("seed", self.seed, 0)
        number("seconds_per_case", self.seconds_per_case)
