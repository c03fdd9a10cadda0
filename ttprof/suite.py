"""TestSuite and test_model: collect test cases, run them and publish the result."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal

import torch
from torch import nn

from ttprof import arguments, rerun, running, session, shards, thresholds
from ttprof import baseline as baselines
from ttprof.applicable import applicable
from ttprof.builder import CaseBuilder, GroupBuilder
from ttprof.engine import backends
from ttprof.errors import SpecError, SuiteFailed
from ttprof.near_miss import NearMisses
from ttprof.plan.state import dotted_path, is_compiled, uncompiled
from ttprof.plan.trials import usual_seq_len
from ttprof.registry import CaseRegistry
from ttprof.result import SuiteResult
from ttprof.running import SuiteLaunch
from ttprof.spec import CaseSpec, SourceLine, SuiteSpec
from ttprof.system.escape import visible

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


class TestSuite(NearMisses):
    """A set of tests of a model's modules. Leaving the ``with`` block runs them and raises SuiteFailed on failure.

    Args:
        model: the model. Its modes, parameters, buffers, gradients and hooks are restored after a run.
        batch_size: batch size of inferred inputs.
        seq_len: sequence length of inferred inputs; by default 2048, or the model's maximum if that is shorter.
        device: device to run on (docs/devices.md); by default that of the model's first parameter, or the CPU.
        dtype: dtype in which every module is tested, unless its test calls ``dtype``; by default the module's own.
        inputs: inputs of the whole model, from which those of its modules are captured: a tensor, a tuple, a
            dict, or a function of batch_size and seq_len. By default they are synthesised.
        seed: seed of all random inputs.
        trace_dir: folder in which each run creates a folder of traces, result.json and TensorBoard files.
        auto_run: whether leaving the ``with`` block runs the tests.
        on_failure: ``"raise"`` SuiteFailed on leaving the ``with`` block, or only ``"report"`` failures.
        strict: whether INCONCLUSIVE counts as failure.
        name: name of the suite; by default that of the script.
        backend: what records traces: ``"torch"`` (torch.profiler), ``"nsys"`` (Nsight Systems) or ``"ncu"``
            (torch.profiler, plus Nsight Compute for the kernels of ``expect_kernel``); see docs/nsight.md.
        seconds_per_case: how long to keep timing a case whose limits are still undecided, in seconds.
        quiet: print nothing.
        baseline: file of ``save_baseline``, or a saved result, to compare the run with; a regression is a FAIL.
        isolate: run the cases in processes of their own, so that a module that crashes, hangs or fills the memory ends
            as ERROR and the others are measured; see docs/isolation.md.
        baseline_threshold: slowdown against *baseline* that counts as a regression, as a fraction.
        confirm_s: how long to measure again what would fail by a time, in seconds; 0 fails it at once. By default a
            third of the time that the run took before, and at least 20 s.
        timeout_s: how long each pass of a case may take, in seconds; ``math.inf`` sets no limit.
        memory_limit_mb: how much memory the process of an isolated case may hold, the model included, in MB.

    Raises:
        SpecError: an argument is invalid.
        ResultFileError: *baseline* can't be read.

    ```python
    with TestSuite(model, batch_size=2, seq_len=128) as suite:
        suite.test(model.attention).tolerance(1e-3).expect(latency_ms=50.0)
        suite.test_all_modules().matching("ffn*").no_leak()
    ```
    """

    __test__ = False

    def __init__(
        self,
        model: nn.Module,
        *,
        batch_size: int = 1,
        seq_len: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        inputs: Any = None,
        seed: int = 0,
        trace_dir: str | Path = "traces",
        auto_run: bool = True,
        on_failure: Literal["raise", "report"] = "raise",
        strict: bool = False,
        name: str | None = None,
        backend: str = "torch",
        seconds_per_case: float = 2.0,
        quiet: bool = False,
        baseline: str | Path | None = None,
        isolate: bool = False,
        timeout_s: float = 3600.0,
        memory_limit_mb: float | None = None,
        confirm_s: float | None = None,
        baseline_threshold: float = thresholds.DEFAULT,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise SpecError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if on_failure not in ("raise", "report"):
            raise SpecError(f"on_failure must be 'raise' or 'report', got {on_failure!r}")
        if not isinstance(trace_dir, (str, Path)):
            raise SpecError(f"trace_dir must be a path, got {trace_dir!r}")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise SpecError(f"name must be a non-empty str, got {name!r}")
        surrounding = session.current() or session.Session()
        self._spec = SuiteSpec(
            name=surrounding.unique(visible(name or surrounding.name or _script_name(_caller(), model))),
            model=model,
            batch_size=batch_size,
            seq_len=seq_len,
            device=arguments.run_device(device, model),
            inputs=inputs,
            seed=seed,
            trace_dir=surrounding.trace_dir or Path(trace_dir),
            strict=strict if surrounding.strict is None else surrounding.strict,
            seconds_per_case=seconds_per_case,
            timeout_s=timeout_s if surrounding.timeout_s is None else surrounding.timeout_s,
            memory_limit_mb=memory_limit_mb if surrounding.memory_limit_mb is None else surrounding.memory_limit_mb,
            confirm_s=confirm_s if surrounding.confirm_s is None else surrounding.confirm_s,
            baseline_threshold=baseline_threshold if surrounding.threshold is None else surrounding.threshold,
        )
        self._isolate = isolate if surrounding.isolate is None else surrounding.isolate
        if self._spec.memory_limit_mb is not None and not self._isolate:
            raise SpecError("memory_limit_mb bounds the process of an isolated case: add isolate=True")
        self._backend = backends.find(surrounding.backend or backend)
        request = rerun.read_request()
        base = baseline if surrounding.baseline is None else surrounding.baseline
        compared = base is not None and not request and not surrounding.no_baseline
        self._baseline = (
            None if base is None or not compared else _baseline(arguments.file_path("baseline", base), self._spec.name)
        )
        self._registry = CaseRegistry(model, None if dtype is None else arguments.floating_dtype(dtype))
        self._auto_run = auto_run
        self._raises = on_failure == "raise" and surrounding.raises and (request is None or request.raises)
        self._quiet = quiet or surrounding.quiet
        self._paths = {module: dotted_path(path) for path, module in model.named_modules()}
        self._result: SuiteResult | None = None
        self._ran: tuple[CaseSpec, ...] = ()

    @property
    def model(self) -> nn.Module:
        """The model under test."""
        return self._spec.model  # type: ignore[no-any-return]

    @property
    def batch_size(self) -> int:
        """The batch size of inferred inputs."""
        return self._spec.batch_size

    @property
    def seq_len(self) -> int:
        """The sequence length of inferred inputs, whether given or the default."""
        return usual_seq_len(self._spec)

    @property
    def device(self) -> torch.device:
        """The device that the tests run on."""
        return self._spec.device  # type: ignore[no-any-return]

    @property
    def auto_run(self) -> bool:
        """Whether leaving the ``with`` block runs the tests."""
        return self._auto_run

    @property
    def result(self) -> SuiteResult | None:
        """The result of the last run; None before the first."""
        return self._result

    def test(self, target: nn.Module | str | None, name: str | None = None) -> CaseBuilder:
        """Register a test of one module.

        Args:
            target: a module (it may be outside the model), or its dotted name in the model, such as
                ``"layers.0.attention"``. None counts as a module that is missing.
            name: name of the test in reports; by default the dotted name of the module.

        Returns:
            The builder that configures the test.

        Raises:
            SpecError: an argument has the wrong type.
            UnknownNameError: the model has no such module; the message lists the closest names. Because
                ``if_exists()`` may follow, it is raised by the next call of the suite or of a builder, at the latest
                by ``run``, before anything is measured.

        ```python
        suite.test(model.attention).tolerance(1e-3)
        suite.test("attention.key_proj", name="keys").expect(latency_ms=5.0)
        ```
        """
        self._registry.check()
        if name is not None and not isinstance(name, str):
            raise SpecError(f"name must be a non-empty str, got {name!r}")
        if target is not None and not isinstance(target, (nn.Module, str)):
            raise SpecError(f"target must be a module or a dotted name, got {target!r}")
        source = _source_line(_caller())
        try:
            module = target if isinstance(target, nn.Module) else self._named(target, source)
        except SpecError as error:
            key = self._registry.register_missing(name or str(target or "None"), source, error)
            spec = self._registry.spec(key)
            self._registry.replace(key, replace(spec, skip_reason=f"the model has no module {spec.name!r}"))
            return CaseBuilder(self._registry, [key])
        path = self._paths.get(module)
        label = name or (target if isinstance(target, str) else path) or _type_name(target)
        return CaseBuilder(self._registry, [self._registry.register(module, path, label, source)])

    def _named(self, name: str | None, source: SourceLine) -> nn.Module:
        """Return the module called *name*; the SpecError for a missing one shows the line of the test."""
        if not name:
            raise SpecError(f"test got {name!r} instead of a module; add .if_exists() if it is optional ({source})")
        return self._registry.module(name, f"suite.test at {source}")

    def test_all_modules(self, leaves_only: bool = False) -> GroupBuilder:
        """Register a test of every submodule; ``matching(glob)`` narrows them down.

        Containers such as ``nn.ModuleList`` are left out, and modules that the model's ``forward`` does not call are
        SKIP.

        Args:
            leaves_only: only modules without children.

        Returns:
            The builder that configures all of these tests.

        Raises:
            SpecError: the model has no submodules.

        ```python
        suite.test_all_modules(leaves_only=True).tolerance(1e-3)
        ```
        """
        self._registry.check()
        source = _source_line(_caller())
        keys = []
        fused = {uncompiled(module) for module in self._paths if is_compiled(module)}  # tested as their wrapper
        for module, path in self._paths.items():
            left_out = not path or module in fused or isinstance(module, CONTAINERS)
            if left_out or (leaves_only and next(module.children(), None) is not None):
                continue
            key = self._registry.register(module, path, path, source)
            self._registry.replace(key, replace(self._registry.spec(key), only_if_called=True))
            keys.append(key)
        if not keys:
            raise SpecError(f"{type(self._spec.model).__name__} has no submodule to test")
        return GroupBuilder(self._registry, keys)

    def run(self) -> SuiteResult:
        """Run the registered tests, print and save the result, and return it. Failures do not raise.

        Leaving the ``with`` block does not run them again.

        Raises:
            SpecError: no test is registered.
            UnknownNameError: the model has no module of a registered name.
            KeyboardInterrupt: the run was interrupted; all measurements so far have been saved and printed. SIGTERM and
                SIGHUP raise SystemExit with 128 + their number.

        ```python
        suite.test(model.attention).expect(latency_ms=5.0)
        result = suite.run()
        ```
        """
        self._registry.check()
        if not self._registry.cases:
            raise SpecError("the suite has no tests; register one with suite.test(model.part)")
        self._ran = self._registry.cases
        request = rerun.read_request()
        of_shard = request or session.current() or session.Session()
        name = request.suite if request else self._spec.name  # only ttprof run appends #2 to a repeated name
        part = shards.Part.of(name, self._ran, of_shard.shard)
        launch = SuiteLaunch(
            suite=replace(self._spec, cases=tuple(applicable(case, self.device.type) for case in part.cases)),
            backend=self._backend,
            baseline=part.baseline(self._baseline),
            shard=part.label(self._baseline),
            isolate=self._isolate,
            quiet=self._quiet,
        )
        ended = running.run(launch)
        self._result = ended.result
        running.stop_if_interrupted(ended)
        return ended.result

    def save_baseline(self, path: str | Path) -> Path:
        """Save the last run as a baseline for ``TestSuite(baseline=path)`` and ``ttprof compare``; return the path.

        Raises:
            SpecError: there is no run yet, or it can't be a baseline because it was interrupted or has an ERROR.
            ResultFileError: the file can't be written.

        ```python
        suite.test(model.ffn).no_leak()
        suite.run()
        suite.save_baseline("baseline.json")
        ```
        """
        if self._result is None:
            raise SpecError("there is no run to save yet: call suite.run() first, or save after the with block")
        return running.save_baseline(self._result, arguments.file_path("path", path))

    def __enter__(self) -> TestSuite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run the tests, unless the block raised or ran them itself; raise SuiteFailed if the suite failed."""
        result = self.finish() if kind is None else None
        if result is not None and self._raises and not result.passed:
            from ttprof.report.console import failure_text

            raise SuiteFailed(failure_text(result), result)

    def finish(self) -> SuiteResult | None:
        """Run the tests if any were registered since the last run, and return the result; failures do not raise.

        Returns None with ``auto_run=False``, and in a child process that only imports the script. Raises like ``run``.
        """
        if not self._auto_run or running.is_repeated_in_child(self._spec.name):
            return None
        up_to_date = self._result is not None and self._ran == self._registry.cases
        return self._result if up_to_date else self.run()


def _baseline(path: Path, name: str) -> baselines.Baseline | None:
    """Return the baseline of the suite *name*; warn and return None if the file contains only other suites."""
    baseline = baselines.read_for(path, name)
    if baseline is None:
        caller = _caller()
        text = f"{path} has no suite {name!r}, so this run is not compared with it"
        warnings.warn_explicit(text, UserWarning, caller.f_code.co_filename, caller.f_lineno)
    return baseline


def test_model(
    model: nn.Module,
    modules: Mapping[str, Mapping[str, Any]] | None = None,
    /,
    *,
    options: Mapping[str, Any] | None = None,
    **modules_to_test: Mapping[str, Any],
) -> SuiteResult:
    """Test modules by name in one call, each with a tolerance of 1e-3.

    Args:
        model: the model.
        modules: limits by dotted name; the limits are the keywords of ``expect`` and may be empty.
        options: arguments of ``TestSuite``.
        modules_to_test: limits by name, for names without a dot.

    Raises:
        SuiteFailed: a test failed or could not be judged.
        UnknownNameError: the model has no such module, or there is no such metric.

    ```python
    test_model(model, attention={"latency_ms": 50.0}, norm={}, options={"seq_len": 128})
    test_model(model, {"attention.key_proj": {"memory_mb": 64}})
    ```
    """
    with TestSuite(model, **(options or {})) as suite:
        for name, limits in {**(modules or {}), **modules_to_test}.items():
            case = suite.test(name).tolerance(1e-3)
            if limits:
                case.expect(**limits)
        return suite.run()


test_model.__test__ = False  # type: ignore[attr-defined]


def _type_name(target: object) -> str:
    """The class name of a target, without the wrapper of ``torch.compile``."""
    return type(uncompiled(target) if isinstance(target, nn.Module) else target).__name__


def _caller() -> FrameType:
    """Return the innermost frame outside this package, which is at the user's line."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != __package__:
            return frame
        frame = frame.f_back
    return frame or sys._getframe(0)


def _source_line(caller: FrameType) -> SourceLine:
    return SourceLine(caller.f_code.co_filename, caller.f_lineno)


def _script_name(caller: FrameType, model: nn.Module) -> str:
    stem = Path(caller.f_code.co_filename).stem
    return _type_name(model) if stem.startswith("<") else stem
