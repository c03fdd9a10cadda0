"""The builder methods that state expectations: limits, tolerances, references and scaling laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ttprof import arguments, metrics
from ttprof.bounds import Bound, number
from ttprof.errors import SpecError, nearest
from ttprof.near_miss import NearMisses
from ttprof.registry import CaseRegistry
from ttprof.spec import AT_MOST, AXES, CaseSpec, Scaling, Tolerance, scaling_law

Expecting = TypeVar("Expecting", bound="Expectations")


class Expectations(NearMisses):
    """Edits the specs of one or more cases; the base of all builders, with the methods that state expectations."""

    __test__ = False

    def __init__(self, registry: CaseRegistry, keys: Sequence[int]) -> None:
        self._registry = registry
        self._keys = list(keys)

    @property
    def specs(self) -> list[CaseSpec]:
        """The current specs."""
        return [self._registry.spec(key) for key in self._keys]

    def _edit(self: Expecting, change: Callable[[CaseSpec], CaseSpec]) -> Expecting:
        """Change every spec, or none if one of the changes raises."""
        self._registry.check()
        changed = [change(spec) for spec in self.specs]
        for key, spec in zip(self._keys, changed, strict=True):
            self._registry.replace(key, spec)
        return self

    def _set(self: Expecting, **values: Any) -> Expecting:
        return self._edit(lambda spec: replace(spec, **values))

    def _require_unset(self, method: str, field: str) -> None:
        """Raise a SpecError if *field* is set already, because a second call would silently replace the first."""
        for spec in self.specs:
            if getattr(spec, field) is not None:
                raise SpecError(
                    f"{spec.name}: a test can have only one {method}; register a second test for another one: "
                    f"suite.test(..., name={spec.name + ' 2'!r})"
                )

    def tolerance(self: Expecting, tol: float, *, strict: bool = False, rows: float | None = None) -> Expecting:
        """Limit the numerical error against the same module in float64, or against the reference of ``compare_with``.

        Against float64 this catches loss of precision, not logic bugs: both copies have the same bug.

        Args:
            tol: allowed ‖a-b‖/‖b‖; max|a-b|/max|b| may be five times as large.
            strict: keep *tol* even below the rounding floor of the dtype (0 for float32, 2.5e-3 for float16, 2e-2 for
                bfloat16), to which it is raised otherwise.
            rows: share of the rows (the last dimension) that must be within *tol*, each by itself, instead of the whole
                output. For modules in which rounding sends single rows elsewhere, such as a mixture of experts.

        Raises:
            SpecError: *tol* is not a finite number of at least 0, or *rows* is not a fraction.

        ```python
        suite.test(model.attention).tolerance(1e-3)
        suite.test(model.ffn).tolerance(1e-2, rows=0.99)
        ```
        """
        return self._set(tolerance=Tolerance(number("tolerance", tol), strict, rows))

    def expect(self: Expecting, *, on: str | Sequence[str] = (), **limits: float | Bound) -> Expecting:
        """Limit metrics, each in the unit that its name ends in. ``ttprof metrics`` lists them.

        A plain number bounds a metric in its own direction: it is the highest latency, and the lowest speedup, that
        passes. A later limit replaces an earlier one on the same side of the same metric. A limit on a metric that
        could not be measured is an ERROR.

        Args:
            on: the type of device that the limits are for, or several, such as ``"cuda"``: on any other they are SKIP,
                with the reason, and never count as passed.
            limits: a number, ``at_most``, ``at_least``, ``exactly`` or ``within`` for each metric.

        Raises:
            UnknownNameError: there is no such metric or type of device.
            SpecError: a limit is not a number, or bounds a metric exactly that varies from run to run.

        ```python
        suite.test(model.ffn).expect(latency_ms=5.0, memory_mb=within(512, "2%")).expect(on="cuda", kernel_time_ms=1.0)
        ```
        """
        new = arguments.metric_limits(limits, arguments.device_types(on))
        return self._edit(lambda spec: replace(spec, limits=arguments.merged_limits(spec.limits, new)))

    def expect_kernel(
        self: Expecting,
        pattern: str,
        *,
        time_ms: float | Bound | None = None,
        count: float | Bound | None = None,
        on: str | Sequence[str] = (),
    ) -> Expecting:
        """Set a budget for the GPU kernels whose name matches a glob.

        A glob that matches no kernel is an ERROR, unless ``count=0`` forbids the kernel. So is a budget on a CPU,
        unless it is only for other devices.

        Args:
            pattern: glob for the kernel name, in any case.
            time_ms: total time of these kernels in one iteration, in ms.
            count: number of these kernels in one iteration.
            on: the type of device that the budget is for, or several; on any other it is SKIP.

        Raises:
            SpecError: both budgets are missing, or an argument is invalid.

        ```python
        suite.test(model.attention).expect_kernel("*gemm*", time_ms=1.5, count=exactly(3), on="cuda")
        ```
        """
        budget = arguments.kernel_budget(pattern, time_ms, count, arguments.device_types(on))
        return self._edit(lambda spec: replace(spec, kernel_budgets=(*spec.kernel_budgets, budget)))

    def regression(self: Expecting, threshold: float | str | None = None, **metrics_: float | str) -> Expecting:
        """Choose how much worse than a baseline the test may become, in place of the threshold of the suite.

        Without this a time may become 5 % slower (``TestSuite(baseline_threshold=)``, ``ttprof run --threshold``), and
        exact metrics, such as ``op_count`` or ``memory_mb``, must not grow at all. ``ttprof compare`` keeps to it, too.

        Args:
            threshold: for all metrics that vary between iterations, such as ``latency_ms``, as ``0.1`` or ``"10%"``.
            metrics_: for single metrics, also exact ones.

        Raises:
            UnknownNameError: there is no such metric.
            SpecError: there is no threshold, or one is not a fraction or percentage above 0, or a metric is one that
                baselines don't compare.

        ```python
        suite.test(model.ffn).regression("10%", memory_mb="2%")
        ```
        """
        new = arguments.thresholds(threshold, metrics_)
        return self._edit(lambda spec: replace(spec, thresholds=arguments.merged_thresholds(spec.thresholds, new)))

    def no_leak(self: Expecting) -> Expecting:
        """Expect that memory does not grow from iteration to iteration: short for ``expect(leak_mb=0)``.

        ```python
        suite.test(model.ffn).no_leak()
        ```
        """
        return self.expect(leak_mb=0)

    def no_sync(self: Expecting, *, on: str | Sequence[str] = ()) -> Expecting:
        """Expect that the module never waits for the GPU, as ``.item()`` does: short for ``expect(sync_count=0)``.

        Args:
            on: the type of device that this is for, or several; on any other it is SKIP. Without it, it is an ERROR
                on a CPU, which counts no waits.

        ```python
        suite.test(model.ffn).no_sync(on="cuda")
        ```
        """
        return self.expect(on=on, sync_count=0)

    def deterministic(self: Expecting) -> Expecting:
        """Expect bitwise equal outputs whenever the module runs on the same inputs with the same seed.

        ```python
        suite.test(model.ffn).deterministic()
        ```
        """
        return self._set(deterministic=True)

    def expect_scaling(self: Expecting, law: str, *, over: str | None = None, metric: str | None = None) -> Expecting:
        """Expect a metric to follow a growth law over a swept size; without a sweep, over four doubling sizes.

        Counted metrics (memory, FLOPs) are judged by the exact polynomial that they follow, times by the best-fitting
        law and its exponent. An undecided verdict gets twice the rounds once and a doubled size once, as far as
        ``seconds_per_case`` allows and unless ``profile`` fixes the number of iterations.

        Args:
            law: ``"constant"``, ``"log"``, ``"linear"``, ``"nlogn"``, ``"quadratic"``, ``"cubic"`` or ``"quartic"``;
                with the prefix ``"at most "`` slower growth passes too.
            over: ``"seq_len"``, ``"batch_size"`` or a name of ``with_sweep``; by default the swept axis.
            metric: name of a metric; by default CPU time on a CPU and kernel time on a GPU.

        Raises:
            UnknownNameError: there is no such law or metric.
            SpecError: the axis is unknown or ambiguous, fewer than 3 sizes or a range below 4x is swept, or the test
                has an ``expect_scaling`` already.

        ```python
        suite.test(model.ffn).with_seq_lengths([512, 1024, 2048, 4096]).expect_scaling("at most linear")
        ```
        """
        at_most = isinstance(law, str) and law.startswith(AT_MOST)
        expected = scaling_law(law.removeprefix(AT_MOST) if at_most else law)
        swept = {sweep.axis for spec in self.specs for sweep in spec.sweeps}
        if over is not None and over not in {*AXES, *swept}:
            hint = nearest(str(over), [*AXES, *swept])
            raise SpecError(f"expect_scaling(over={over!r}): {hint}; sweep any other axis with with_sweep first")
        name = metrics.find(metric).name if metric is not None else None
        self._require_unset("expect_scaling", "scaling")
        return self._set(scaling=Scaling(expected, over, name, at_most))

    def compare_with(self: Expecting, reference: Any, *, share_weights: bool = False) -> Expecting:
        """Compare output, speed and memory with a reference, which runs on the same inputs.

        Args:
            reference: a module, the dotted name of a module in the model, or a function.
            share_weights: load the module's current weights into a copy of the reference; their names must match.

        Raises:
            UnknownNameError: the model has no module of this name.
            SpecError: *reference* is something else, the weights do not fit, or the test has a reference already.

        ```python
        suite.test(model.attention).compare_with(reference_attention, share_weights=True).expect(speedup=1.2)
        ```
        """
        if isinstance(reference, str):
            name, reference = repr(reference), self._registry.module(reference)
        else:
            name = arguments.reference_name(reference)
        self._require_unset("compare_with", "reference")

        def change(spec: CaseSpec) -> CaseSpec:
            module = arguments.with_weights_of(spec, reference) if share_weights else reference
            return replace(spec, reference=module, reference_name=f"the reference {name}")

        return self._edit(change)

    def allow_nonfinite(self: Expecting) -> Expecting:
        """Accept NaN and Inf in the output where the reference has them too; otherwise they FAIL every test.

        ```python
        suite.test(model.attention).allow_nonfinite()
        ```
        """
        return self._set(allow_nonfinite=True)
