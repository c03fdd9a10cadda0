"""The fluent line: each method checks its arguments, replaces the frozen spec and returns the builder."""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from ttprof import metrics
from ttprof.errors import SpecError, nearest, user_code
from ttprof.plan.state import uncompiled
from ttprof.registry import CaseRegistry
from ttprof.spec import (
    AT_MOST,
    AXES,
    Bound,
    CaseSpec,
    GivenInputs,
    KernelBudget,
    Limit,
    Scaling,
    Schedule,
    Sweep,
    Tolerance,
    integer,
    number,
    scaling_law,
)

Self = TypeVar("Self", bound="_Builder")


def floating_dtype(value: object) -> torch.dtype:
    """*value* when it is a floating-point dtype; SpecError otherwise."""
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise SpecError(f"dtype takes a floating-point torch.dtype such as torch.bfloat16, not {value!r}")
    return value


class _Builder:
    """The methods that a case and a group of cases share."""

    __test__ = False

    def __init__(self, registry: CaseRegistry, keys: Sequence[int]) -> None:
        self._registry = registry
        self._keys = list(keys)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing: the case was registered by ``suite.test`` already."""

    @property
    def specs(self) -> list[CaseSpec]:
        """The specs as they stand."""
        return [self._registry.spec(key) for key in self._keys]

    def _edit(self: Self, change: Callable[[CaseSpec], CaseSpec]) -> Self:
        """Change every spec, or none when one of the changes is wrong."""
        self._registry.check()
        changed = [change(spec) for spec in self.specs]
        for key, spec in zip(self._keys, changed, strict=True):
            self._registry.replace(key, spec)
        return self

    def _set(self: Self, **values: Any) -> Self:
        return self._edit(lambda spec: replace(spec, **values))

    def tolerance(self: Self, tol: float, *, strict: bool = False) -> Self:
        """Allow a relative error of *tol* against the same module in float64 (or against ``compare_with``).

        It is raised to the rounding floor of the dtype (0 for float32, 2.5e-3 for float16, 2e-2 for bfloat16)
        unless *strict*. This finds precision loss, not logic bugs: both copies hold the same bug.
        """
        return self._set(tolerance=Tolerance(number("tolerance", tol), strict))

    def expect(self: Self, **limits: float | Bound) -> Self:
        """Limit metrics, each in the unit of its name: ``expect(latency_ms=5.0, memory_mb=512)``.

        Of a plain number the direction is the metric's own (pcc, speedup and tflops are lower limits);
        ``at_most(5)``, ``at_least(.999)``, ``exactly(12)`` and ``within(512, "2%")`` say it. A later limit replaces an
        earlier one on the same side of the same metric. ``ttprof metrics`` lists the metrics. One that is not measured
        is an ERROR.
        """
        if not limits:
            raise SpecError("expect() needs at least one limit, for example expect(latency_ms=5.0)")
        new = [Limit(metrics.find(name).name, _bound(name, bound)) for name, bound in limits.items()]
        twice = [name for name in limits if sum(limit.metric == metrics.find(name).name for limit in new) > 1]
        if twice:
            raise SpecError(f"{' and '.join(twice)} are one metric: give one limit of them")

        def change(spec: CaseSpec) -> CaseSpec:
            kept = {_side(limit): limit for limit in (*spec.limits, *new)}
            return replace(spec, limits=tuple(kept.values()))

        return self._edit(change)

    def expect_kernel(
        self: Self, pattern: str, *, time_ms: float | Bound | None = None, count: float | Bound | None = None
    ) -> Self:
        """Budget the kernels whose name matches a glob (in any case): their time and number in one iteration.

        ``expect_kernel("*gemm*", time_ms=1.5, count=exactly(3))``. A glob that matches no kernel is an ERROR (but
        for ``count=0``, which forbids it), and so is a device without kernels.
        """
        if not isinstance(pattern, str) or not pattern.strip():
            raise SpecError(f"expect_kernel takes a glob such as '*gemm*', not {pattern!r}")
        if time_ms is None and count is None:
            raise SpecError("expect_kernel() needs a budget: time_ms=..., count=..., or both")
        if isinstance(time_ms, Bound) and time_ms.exact:
            raise SpecError(f"time_ms varies from run to run: use at_most or within, not {time_ms}")
        budget = KernelBudget(pattern, _upper("time_ms", time_ms), _upper("count", count))
        return self._edit(lambda spec: replace(spec, kernel_budgets=(*spec.kernel_budgets, budget)))

    def no_leak(self: Self) -> Self:
        """Expect that iterations do not leave more and more memory allocated: ``expect(leak_mb=0)``."""
        return self.expect(leak_mb=0)

    def no_sync(self: Self) -> Self:
        """Expect that the module never waits for the device, as ``.item()`` does: ``expect(sync_count=0)``."""
        return self.expect(sync_count=0)

    def deterministic(self: Self) -> Self:
        """Expect the same output, bit by bit, whenever the module runs on the same inputs with the same seed."""
        return self._set(deterministic=True)

    def expect_scaling(self: Self, law: str, *, over: str | None = None, metric: str | None = None) -> Self:
        """Expect *metric* to follow *law* (constant, log, linear, nlogn, quadratic, cubic) over an axis.

        ``"at most quadratic"`` allows slower growth. What is counted exactly (memory, FLOPs) is judged exactly where it
        follows a polynomial; times by the law that fits best and by their exponent. While that is open, the rounds are
        doubled once and then the largest size once, as far as ``seconds_per_case`` allows; ``.profile`` forbids it.

        *over* is ``"seq_len"``, ``"batch_size"`` or a name of ``with_sweep``; by default the axis that is swept.
        *metric* defaults to CPU time on a CPU and kernel time on a GPU. Without a sweep four sizes are taken, doubling.
        """
        at_most = isinstance(law, str) and law.startswith(AT_MOST)
        found = scaling_law(law.removeprefix(AT_MOST) if at_most else law)
        swept = {sweep.axis for spec in self.specs for sweep in spec.sweeps}
        if over is not None and over not in {*AXES, *swept}:
            known = nearest(str(over), [*AXES, *swept])
            raise SpecError(f"expect_scaling(over={over!r}): {known}; another name has to be swept before: with_sweep")
        name = metrics.find(metric).name if metric is not None else None
        self._once("expect_scaling", "scaling")
        return self._set(scaling=Scaling(found, over, name, at_most))

    def _once(self, method: str, attribute: str) -> None:
        """Raise SpecError where a test already has what a second call would silently drop."""
        for spec in self.specs:
            if getattr(spec, attribute) is not None:
                raise SpecError(
                    f"{spec.name}: a test has one {method}; for another one register another test, "
                    f"suite.test(..., name={spec.name + ' 2'!r})"
                )

    def input_shape(self: Self, shape: Sequence[int | str]) -> Self:
        """Test with one random input of *shape* in the module's dtype (token ids for an embedding).

        A dimension may be the name of a size: ``(2, 3, "side", "side")`` with ``with_sweep(side=[32, 64])``. A sweep
        that the shape does not name replaces dimension 0 (batch sizes) or 1 (sequence lengths).
        """
        if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence) or not shape:
            raise SpecError(f"input_shape takes a tuple of integers such as (2, 512, 768), not {shape!r}")
        sizes = tuple(n if isinstance(n, str) and n.isidentifier() else integer("input_shape", n, 1) for n in shape)
        return self._set(given=GivenInputs(shape=sizes))

    def inputs(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Test with exactly these arguments; they are cloned before each use."""
        if not args and not kwargs:
            raise SpecError("inputs() needs the arguments of the module's forward, for example inputs(x, mask=mask)")
        return self._set(given=GivenInputs(args=args, kwargs=kwargs))

    def input_factory(self: Self, fn: Callable[..., Any]) -> Self:
        """Test with what ``fn(batch_size=…, seq_len=…)`` returns; it gets the sizes that it names, swept ones too.

        It returns a tensor, a tuple of arguments, a dict of keyword arguments, or (tuple, dict).
        """
        if not callable(fn):
            raise SpecError(f"input_factory takes a function of batch_size and seq_len, not {fn!r}")
        return self._set(given=GivenInputs(factory=fn))

    def with_seq_lengths(self: Self, lengths: Iterable[int]) -> Self:
        """Run at each of these sequence lengths."""
        return self._sweep("seq_len", lengths)

    def with_batch_sizes(self: Self, sizes: Iterable[int]) -> Self:
        """Run at each of these batch sizes."""
        return self._sweep("batch_size", sizes)

    def with_sweep(self: Self, **sizes: Iterable[int]) -> Self:
        """Run at other sizes, ``side=[32, 64, 128]``, by names that ``input_factory`` or ``input_shape`` know."""
        if not sizes:
            raise SpecError("with_sweep() needs a size and its values, for example with_sweep(side=[32, 64, 128])")
        for axis, values in sizes.items():
            self._sweep(axis, values)
        return self

    def _sweep(self: Self, axis: str, values: Iterable[int]) -> Self:
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise SpecError(f"a sweep over {axis} takes a list of integers, not {values!r}")
        sweep = Sweep(axis, tuple(values))

        def change(spec: CaseSpec) -> CaseSpec:
            others = tuple(s for s in spec.sweeps if s.axis != axis)
            return replace(spec, sweeps=(*others, sweep))

        return self._edit(change)

    def compare_with(self: Self, reference: Any, *, share_weights: bool = False) -> Self:
        """Compare output, speed and memory with *reference*: a module, a dotted name in the model, or a callable.

        With *share_weights* a copy of the reference gets the weights that the module has now; both name them alike.
        """
        if isinstance(reference, str):
            name, reference = repr(reference), self._registry.module(reference)
        elif isinstance(reference, nn.Module):
            name = type(reference).__name__
        elif callable(reference) and not isinstance(reference, type):
            name = getattr(reference, "__name__", type(reference).__name__)
        else:
            raise SpecError(f"compare_with takes a module, a dotted name or a function, not {reference!r}")
        self._once("compare_with", "reference")
        described = f"the reference {name}"
        if not share_weights:
            return self._set(reference=reference, reference_name=described)
        return self._edit(
            lambda spec: replace(spec, reference=_with_weights_of(spec, reference), reference_name=described)
        )

    def profile(self: Self, warmup: int = 10, iterations: int = 100, *, trace_iterations: int | None = None) -> Self:
        """Time exactly *iterations* calls after at least *warmup*, and record as many with torch.profiler.

        The profiler gets ``schedule(wait=0, warmup=warmup, active=iterations, repeat=1)``; *trace_iterations*
        records fewer.
        """
        recorded = iterations if trace_iterations is None else trace_iterations
        return self._set(schedule=Schedule(warmup, iterations, recorded, exact=True))

    def backward(self: Self) -> Self:
        """Make an iteration a forward and the backward of the sum of its outputs."""
        return self._set(backward=True)

    def train(self: Self) -> Self:
        """Test in train mode, so with dropout, and batch statistics in norms; the model is left as it was.

        Where outputs or gradients are compared, both sides draw the same random numbers, whatever their dtype.
        """
        return self._set(train=True)

    def autocast(self: Self, dt: torch.dtype) -> Self:
        """Run each iteration under ``torch.autocast`` to *dt*, against the module as it is in float64."""
        if dt not in (torch.bfloat16, torch.float16):
            raise SpecError(f"autocast takes torch.bfloat16 or torch.float16, not {dt!r}")
        return self._set(autocast=dt)

    def dtype(self: Self, dt: torch.dtype) -> Self:
        """Test a copy of the module in *dt*, against the module as it is in float64."""
        return self._set(dtype=floating_dtype(dt))

    def call(self: Self, k: int) -> Self:
        """Capture the inputs of call number *k* (from 0) that the model's forward makes of this module."""
        return self._set(call=integer("call", k, 0))

    def cache(self: Self, state: Literal["warm", "cold"]) -> Self:
        """With ``"cold"``, overwrite the last-level cache before each timed iteration."""
        if state not in ("warm", "cold"):
            raise SpecError(f"cache takes 'warm' or 'cold', not {state!r}")
        return self._set(cache=state)

    def if_exists(self: Self) -> Self:
        """SKIP instead of an error when the model has no such module.

        It follows ``suite.test`` directly: ``suite.test("moe").if_exists().tolerance(1e-3)``.
        """
        for key in self._keys:
            self._registry.accept_missing(key)
        return self

    def allow_nonfinite(self: Self) -> Self:
        """Accept NaN and Inf in the output where the reference has them too."""
        return self._set(allow_nonfinite=True)

    def skip(self: Self, reason: str) -> Self:
        """Do not run; *reason* is shown."""
        if not isinstance(reason, str) or not reason.strip():
            raise SpecError("skip needs a reason, for example skip('needs flash-attn')")
        return self._set(skip_reason=reason)


def _bound(name: str, value: object) -> float | Bound:
    """A limit on a metric; SpecError for an exact one on a metric that varies from run to run."""
    if not isinstance(value, Bound):
        return number(name, value)
    if value.exact and metrics.find(name).sampled:
        raise SpecError(f"{name} varies from run to run: use at_most, at_least or within, not exactly({value.low:g})")
    return value


def _side(limit: Limit) -> tuple[str, bool, bool]:
    """The metric of a limit, and the sides on which it bounds."""
    if isinstance(limit.bound, Bound):
        return limit.metric, limit.bound.low > -math.inf, limit.bound.high < math.inf
    lower = metrics.find(limit.metric).better == "lower"
    return limit.metric, not lower, lower


def _upper(name: str, value: object) -> Bound | None:
    return value if value is None or isinstance(value, Bound) else Bound(high=number(name, value))


def _with_weights_of(spec: CaseSpec, reference: Any) -> Any:
    """A copy of a reference with the weights of the module under test; SpecError where they do not fit."""
    if spec.module is None:  # an optional one that is not there
        return reference
    if not isinstance(reference, nn.Module) or not isinstance(spec.module, nn.Module):
        raise SpecError(f"share_weights=True needs a module as the reference, not {reference!r}")
    with user_code(f"copying {type(reference).__name__}"):
        copied = copy.deepcopy(uncompiled(reference))
    try:
        copied.load_state_dict(uncompiled(spec.module).state_dict())
    except RuntimeError as error:
        raise SpecError(f"{spec.name}: its weights do not fit the reference: {' '.join(str(error).split())}") from error
    return copied


class CaseBuilder(_Builder):
    """One module under test."""


class GroupBuilder(_Builder):
    """Several modules under test; every method applies to each of them."""

    def matching(self, glob: str, exclude: str | None = None) -> GroupBuilder:
        """Keep the members whose dotted path matches *glob* (and not *exclude*); the others are not tested.

        Raises SpecError when none is left.
        """
        for pattern in (glob, exclude):
            if pattern is not None and not isinstance(pattern, str):
                raise SpecError(f"matching takes a glob such as '*attention*', not {pattern!r}")
        names = {key: self._registry.spec(key).path or "" for key in self._keys}
        kept = [key for key, name in names.items() if fnmatch.fnmatchcase(name, glob)]
        kept = [key for key in kept if exclude is None or not fnmatch.fnmatchcase(names[key], exclude)]
        if not kept:
            less = f" without {exclude!r}" if exclude is not None else ""
            raise SpecError(f"{glob!r}{less} matches no module; {nearest(glob.strip('*'), names.values())}")
        for key in set(self._keys) - set(kept):
            self._registry.remove(key)
        self._keys = kept
        return self

    def __len__(self) -> int:
        return len(self._keys)
