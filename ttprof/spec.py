"""Frozen specs of the suite, its cases and their settings.

Specs validate themselves on construction and every edit builds a new one, so an invalid argument raises at the line
that passed it. Must not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ttprof import thresholds
from ttprof.bounds import Bound, number
from ttprof.codes import VerdictCode
from ttprof.errors import SpecError, UnknownNameError
from ttprof.thresholds import NONE as NO_THRESHOLDS
from ttprof.thresholds import Thresholds
from ttprof.verdict import Verdict

AXES = ("seq_len", "batch_size")
"""The axes that inferred inputs can follow; an input factory or an input shape can name others."""

PREFILL, TOKENS = "prefill", "tokens"
"""The axes of ``.prefill`` and ``.decode``: the tokens that fill a model's cache, and those decoded with it."""

MIN_SIZES = 3
MIN_RANGE = 4.0


def integer(name: str, value: object, minimum: int) -> int:
    """Return *value* if it is an int of at least *minimum*; raise a SpecError that names the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise SpecError(f"{name} must be at least {minimum}, got {value}")
    return value


@dataclass(frozen=True)
class Schedule:
    """The number of calls: *warmup*, then *iterations* timed ones; the profiling pass records *recorded* iterations.

    ``exact`` means that the user fixed the numbers with ``.profile``, so no iterations are added to decide a limit.
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
    """The sizes of one input *axis* (seq_len, batch_size or a user-defined name), in increasing order."""

    axis: str
    values: tuple[int, ...]
    minimum: int = 1

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError(f"a sweep over {self.axis} needs at least one size; the list is empty")
        for value in self.values:
            integer(self.axis, value, self.minimum)
        if len(set(self.values)) != len(self.values):
            raise SpecError(f"a sweep over {self.axis} repeats a size: {list(self.values)}")
        object.__setattr__(self, "values", tuple(sorted(self.values)))

    def check_separates_laws(self) -> None:
        """Raise a SpecError if the sizes are too few or too close together to tell growth laws apart."""
        if len(self.values) < MIN_SIZES or self.values[-1] < MIN_RANGE * self.values[0]:
            raise SpecError(
                f"expect_scaling needs at least {MIN_SIZES} sizes of {self.axis} over a range of {MIN_RANGE:g}x, "
                f"got {list(self.values)}"
            )


@dataclass(frozen=True)
class Tolerance:
    """The allowed relative error of a module; with *strict* it is not raised to the rounding floor of the dtype.

    With *rows*, a fraction, it holds for at least that share of the rows of the output, each by itself.
    """

    value: float
    strict: bool = False
    rows: float | None = None

    def __post_init__(self) -> None:
        number("tolerance", self.value)
        if self.rows is not None and not 0 < number("rows", self.rows) <= 1:
            raise SpecError(f"rows must be a fraction of the rows, above 0 and at most 1, got {self.rows}")

    def __str__(self) -> str:
        share = f" on {self.rows:.6g} of the rows" if self.rows is not None else ""
        return f"tolerance {self.value:.6g}{' strict' if self.strict else ''}{share}"


@dataclass(frozen=True)
class Limit:
    """A bound on one metric, in its public unit; a plain number bounds the metric in its own direction.

    It holds only on the types of device in ``on``; on all if there are none.
    """

    metric: str
    bound: float | Bound
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelBudget:
    """A budget for the kernels whose name matches a glob: their total time in ms and their count, per iteration.

    It holds only on the types of device in ``on``; on all if there are none.
    """

    pattern: str
    time_ms: Bound | None = None
    count: Bound | None = None
    on: tuple[str, ...] = ()


class ScalingLaw:
    """A growth law: its slope in a log-log plot (``exponent``) and its value at a size (``shape``).

    Laws with the same exponent form a family that timings can't tell apart. There is one object for each law.
    """

    def __init__(self, name: str, exponent: float, shape: Callable[[float], float]) -> None:
        self.name = name
        self.exponent = exponent
        self.shape = shape

    def __repr__(self) -> str:
        return f"ScalingLaw({self.name!r})"


LAWS = {
    law.name: law
    for law in (
        ScalingLaw("constant", 0.0, lambda n: 1.0),
        ScalingLaw("log", 0.0, math.log1p),
        ScalingLaw("linear", 1.0, lambda n: n),
        ScalingLaw("nlogn", 1.0, lambda n: n * math.log1p(n)),
        ScalingLaw("quadratic", 2.0, lambda n: n**2),
        ScalingLaw("cubic", 3.0, lambda n: n**3),
        ScalingLaw("quartic", 4.0, lambda n: n**4),
    )
}


def scaling_law(name: object) -> ScalingLaw:
    """Return the law called *name*.

    Raises:
        SpecError: *name* is not a string.
        UnknownNameError: there is no such law; the message lists the closest ones.
    """
    if not isinstance(name, str):
        raise SpecError(f"a scaling law must be a name such as 'linear', got {name!r}")
    if name not in LAWS:
        raise UnknownNameError("scaling law", name, LAWS)
    return LAWS[name]


AT_MOST = "at most "


@dataclass(frozen=True)
class Scaling:
    """The expectation that a metric follows *law*, or with ``at_most`` grows no faster.

    A ``metric`` of None means the device's default metric; an ``over`` of None means the axis that is swept.
    """

    law: ScalingLaw
    over: str | None = None
    metric: str | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Expected:
    """What a case expects of its measurements: all that judging needs to know of its spec."""

    limits: tuple[Limit, ...] = ()
    kernel_budgets: tuple[KernelBudget, ...] = ()
    scaling: Scaling | None = None
    sweeps: tuple[Sweep, ...] = ()
    thresholds: Thresholds = NO_THRESHOLDS

    @property
    def several(self) -> list[Sweep]:
        """The sweeps over more than one size."""
        return [sweep for sweep in self.sweeps if len(sweep.values) > 1]

    @property
    def scaling_axis(self) -> str:
        """The axis of the scaling expectation; by default the swept one, else seq_len."""
        if self.scaling is not None and self.scaling.over is not None:
            return self.scaling.over
        return next((sweep.axis for sweep in (*self.several, *self.sweeps)), "seq_len")


@dataclass(frozen=True)
class GivenInputs:
    """Inputs from the user: fixed values, a shape, or a factory; exactly one of them is set.

    Each dimension of the shape is a number or the name of a swept size.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int | str, ...] | None = None
    factory: Callable[..., Any] | None = None

    @property
    def fixed(self) -> bool:
        """Whether the inputs are fixed values, which cannot follow a sweep."""
        return self.shape is None and self.factory is None


@dataclass(frozen=True)
class SourceLine:
    """The file and line at which a case was registered."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False)
class CaseSpec:
    """One module under test, with its settings and expectations.

    It runs only on the types of device in ``on``; on all if there are none. ``left_out`` holds the verdicts on those of
    its expectations that are not for the device of the run.
    """

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
    thresholds: Thresholds = NO_THRESHOLDS
    reference: Any = None
    reference_name: str = ""
    backward: bool = False
    gradients_of_inputs: bool | None = None
    train: bool = False
    autocast: Any = None
    dtype: Any = None
    call: int = 0
    every_call: bool = False
    cache: Literal["warm", "cold"] = "warm"
    allow_nonfinite: bool = False
    only_if_called: bool = False
    skip_reason: str | None = None
    skip_code: VerdictCode = VerdictCode.SKIPPED
    on: tuple[str, ...] = ()
    left_out: tuple[Verdict, ...] = ()

    def __post_init__(self) -> None:
        if self.sweeps and self.given is not None and self.given.fixed:
            raise SpecError(
                f"{self.name}: .inputs(...) fixes the inputs, so they can't follow a sweep; use .input_factory(fn)"
            )
        if self.call and self.given is not None:
            raise SpecError(f"{self.name}: .call({self.call}) selects captured inputs, but its inputs are given")
        if self.every_call and (self.given is not None or self.call):
            chosen = "its inputs are given" if self.given is not None else f".call({self.call}) selects one of them"
            raise SpecError(f"{self.name}: .every_call() tests each captured call, but {chosen}")
        swept = {sweep.axis for sweep in self.sweeps}
        if self.given is not None and PREFILL in swept:
            raise SpecError(f"{self.name}: .prefill(...) tests with the inputs of the model, but its inputs are given")
        if PREFILL in swept and "seq_len" in swept:
            raise SpecError(f"{self.name}: .prefill(...) sets the sequence length, so seq_len can't be swept beside it")
        if self.scaling is None:
            return
        if self.scaling.over is None and len(self.expected.several) > 1:
            raise SpecError(f"{self.name}: several sizes are swept; choose one: expect_scaling(..., over='seq_len')")
        for sweep in self.sweeps:
            if sweep.axis == self.scaling_axis:
                sweep.check_separates_laws()

    @property
    def expected(self) -> Expected:
        """What judging needs to know of this case."""
        return Expected(self.limits, self.kernel_budgets, self.scaling, self.sweeps, self.thresholds)

    @property
    def scaling_axis(self) -> str:
        """The axis of the scaling expectation; by default the swept one, else seq_len."""
        return self.expected.scaling_axis


@dataclass(frozen=True, eq=False)
class SuiteSpec:
    """A model and the cases to run on it. A ``seq_len`` of None means 2048, or the model's maximum if shorter.

    ``timeout_s`` bounds each pass of a case, ``memory_limit_mb`` the memory of an isolated one. ``confirm_s`` are the
    seconds for looking again at cases that would fail by a time; None is the default. ``baseline_threshold`` is the
    slowdown that counts as a regression, as a fraction.
    """

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
    timeout_s: float = 3600.0
    confirm_s: float | None = None
    baseline_threshold: float = thresholds.DEFAULT
    memory_limit_mb: float | None = None

    def __post_init__(self) -> None:
        integer("batch_size", self.batch_size, 1)
        if self.seq_len is not None:
            integer("seq_len", self.seq_len, 1)
        integer("seed", self.seed, 0)
        number("seconds_per_case", self.seconds_per_case)
        if self.timeout_s != math.inf and not number("timeout_s", self.timeout_s):
            raise SpecError("timeout_s must be above 0 seconds, or math.inf for no limit")
        if self.confirm_s is not None and not 0 <= number("confirm_s", self.confirm_s) < math.inf:
            raise SpecError("confirm_s must be a number of seconds, 0 to fail by one look")
        if not 0 < number("baseline_threshold", self.baseline_threshold) < math.inf:
            raise SpecError("baseline_threshold must be a fraction above 0, such as 0.05 for 5 %")
        if self.memory_limit_mb is not None and not number("memory_limit_mb", self.memory_limit_mb):
            raise SpecError("memory_limit_mb must be above 0")
