"""TestSuite: collects the cases, has the engine run them, and hands the result to the reports."""

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

from ttprof import baseline as baselines
from ttprof import session
from ttprof.builder import CaseBuilder, GroupBuilder, floating_dtype
from ttprof.engine import backends
from ttprof.engine.suite_run import record_suite, run_suite
from ttprof.errors import SpecError, SuiteFailed
from ttprof.nsight import rerun
from ttprof.plan.state import device_of, dotted_path, uncompiled
from ttprof.plan.trials import usual_seq_len
from ttprof.registry import CaseRegistry
from ttprof.result import RESULT_FILE, SuiteResult, load
from ttprof.run.timers import TIMERS
from ttprof.spec import CaseSpec, SourceLine, SuiteSpec
from ttprof.system.escape import visible

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


class TestSuite:
    """Tests of the modules of one model.

    Args:
        model: the model; it is left as it was found.
        batch_size: batch size of inferred inputs.
        seq_len: sequence length of inferred inputs; by default 2048, or as much as the model takes.
        device: where to run; by default where the model's first parameter is.
        dtype: default for ``.dtype(...)`` of every case.
        inputs: inputs of the whole model, from which those of its modules are captured: a tensor, a tuple, a
            dict, or a function of batch_size and seq_len.
        seed: seed of all random inputs.
        trace_dir: where each run makes its folder of traces, result.json and TensorBoard files.
        auto_run: whether leaving the ``with`` block runs what was registered.
        on_failure: ``"raise"`` SuiteFailed on leaving the block, or only ``"report"``.
        strict: whether INCONCLUSIVE fails the suite.
        name: name of the run; by default that of the script.
        backend: what records: ``"torch"`` (torch.profiler), ``"nsys"`` (Nsight Systems), or ``"ncu"``
            (torch.profiler, and Nsight Compute says why named kernels are slow); docs/nsight.md.
        seconds_per_case: how long a case may go on timing while a limit is undecided.
        quiet: print nothing.
        baseline: a file of ``save_baseline`` (or a result) that the run is compared with: what regressed FAILs.

    Raises SpecError for a wrong argument.
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
    ) -> None:
        if not isinstance(model, nn.Module):
            raise SpecError(f"TestSuite takes a torch.nn.Module, not {type(model).__name__}")
        if on_failure not in ("raise", "report"):
            raise SpecError(f"on_failure takes 'raise' or 'report', not {on_failure!r}")
        if not isinstance(trace_dir, (str, Path)):
            raise SpecError(f"trace_dir takes a path, not {trace_dir!r}")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise SpecError(f"name must be a non-empty str, got {name!r}")
        surrounding = session.current() or session.Session()
        self._spec = SuiteSpec(
            name=surrounding.unique(visible(name or surrounding.name or _script_name(_caller(), model))),
            model=model,
            batch_size=batch_size,
            seq_len=seq_len,
            device=_device(device, model),
            inputs=inputs,
            seed=seed,
            trace_dir=surrounding.trace_dir or Path(trace_dir),
            strict=strict if surrounding.strict is None else surrounding.strict,
            seconds_per_case=seconds_per_case,
        )
        self._backend = backends.find(surrounding.backend or backend)
        self._asked = rerun.read_request()
        base = baseline if surrounding.baseline is None else surrounding.baseline
        self._baseline = None if base is None or self._asked else _baseline(_path("baseline", base), self._spec.name)
        self._registry = CaseRegistry(model, None if dtype is None else floating_dtype(dtype))
        self._auto_run = auto_run
        self._raises = on_failure == "raise" and surrounding.raises and (self._asked is None or self._asked.raises)
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
        """The sequence length of inferred inputs: the one asked for, else 2048 or as much as the model takes."""
        return usual_seq_len(self._spec)

    @property
    def device(self) -> torch.device:
        """The device that the suite runs on."""
        return self._spec.device  # type: ignore[no-any-return]

    @property
    def auto_run(self) -> bool:
        """Whether leaving the ``with`` block runs what was registered."""
        return self._auto_run

    @property
    def result(self) -> SuiteResult | None:
        """The result of the last run, or None before it."""
        return self._result

    def test(self, target: nn.Module | str | None, name: str | None = None) -> CaseBuilder:
        """Register a test of *target*: a module, or a dotted name such as ``"layers.0.attention"``.

        A name that the model does not have is an UnknownNameError with the nearest ones, raised by the next call of the
        suite or of a builder (at the latest by ``run``, before anything is measured), unless that is ``.if_exists()``:
        then the case is skipped. None is such a missing module too.
        """
        self._registry.check()
        if name is not None and not isinstance(name, str):
            raise SpecError(f"name must be a non-empty str, got {name!r}")
        if target is not None and not isinstance(target, (nn.Module, str)):
            raise SpecError(f"test takes a module or a dotted name, not {target!r}")
        source = _source_line(_caller())
        try:
            module = target if isinstance(target, nn.Module) else self._named(target, source)
        except SpecError as error:
            key = self._registry.register_missing(name or str(target or "None"), source, error)
            spec = self._registry.spec(key)
            self._registry.replace(key, replace(spec, skip_reason=f"the model has no module {spec.name!r}"))
            return CaseBuilder(self._registry, [key])
        path = self._paths.get(module)
        shown = name or (target if isinstance(target, str) else path) or _type_name(target)
        return CaseBuilder(self._registry, [self._registry.register(module, path, shown, source)])

    def _named(self, name: str | None, source: SourceLine) -> nn.Module:
        """The module of a test that names it; a SpecError with the line of the test if there is none."""
        if not name:
            raise SpecError(f"test got {name!r} instead of a module; add .if_exists() if it is optional ({source})")
        return self._registry.module(name, f"suite.test at {source}")

    def test_all_modules(self, leaves_only: bool = False) -> GroupBuilder:
        """Register a test of every submodule that the model's forward calls; ``.matching(glob)`` narrows them down.

        With *leaves_only*, only of modules without children. Modules that turn out not to be called are SKIP.
        """
        self._registry.check()
        source = _source_line(_caller())
        keys = []
        for module, path in self._paths.items():
            if (
                not path
                or isinstance(module, CONTAINERS)
                or (leaves_only and next(module.children(), None) is not None)
            ):
                continue
            key = self._registry.register(module, path, path, source)
            self._registry.replace(key, replace(self._registry.spec(key), only_if_called=True))
            keys.append(key)
        if not keys:
            raise SpecError(f"{type(self._spec.model).__name__} has no submodule to test")
        return GroupBuilder(self._registry, keys)

    def run(self) -> SuiteResult:
        """Run what is registered, print and save the result, and return it without raising on failures.

        Raises SpecError when nothing is registered, and KeyboardInterrupt, once everything measured so far is printed
        and saved, when the run was interrupted.
        """
        from ttprof.report import publish

        self._registry.check()
        if not self._registry.cases:
            raise SpecError("the suite holds no test; register one with suite.test(model.part)")
        self._ran = self._registry.cases
        suite = replace(self._spec, cases=self._ran)
        if self._asked is not None:
            return self._once_more(suite, self._asked)
        self._backend.ready(suite)
        surrounding = session.current() or session.Session()
        shown = publish.Verbosity(self._quiet, surrounding.verbose)
        with (
            surrounding.exclusive(str(suite.device)),
            publish.progress(suite.name, [case.name for case in suite.cases], shown) as progress,
        ):
            self._result = run_suite(suite, self._backend, progress, self._baseline)
        publish.publish(self._result, shown)
        rerun.finish(self._result.run_dir)
        surrounding.results.append(self._result)
        if self._result.interrupted:
            raise KeyboardInterrupt
        return self._result

    def _once_more(self, suite: SuiteSpec, asked: rerun.Request) -> SuiteResult:
        """In a second process: the result of a suite that ran in the first, or the recording, which ends this one."""
        from ttprof.report.publish import Silent

        number = len(rerun.finished())
        if number == len(asked.earlier):
            record_suite(suite, self._backend, asked, Silent())
            rerun.end()
        self._result = load(Path(asked.earlier[number]) / RESULT_FILE)
        rerun.finish(asked.earlier[number])
        return self._result

    def save_baseline(self, path: str | Path) -> Path:
        """Keep the last run as a baseline for ``TestSuite(baseline=path)`` and ``ttprof compare``.

        Returns the path. Raises SpecError before a run, ResultFileError when the file can't be written.
        """
        if self._result is None:
            raise SpecError("there is no run to save yet: call suite.run() first, or save after the with block")
        if (why := baselines.unfit(self._result)) is not None:
            raise SpecError(f"this run can't be a baseline: {why}")
        return baselines.of(self._result).save(_path("save_baseline", path))

    def __enter__(self) -> TestSuite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run what was registered, unless the block raised or ran it; raise SuiteFailed when the gate stays shut."""
        result = self.finish() if kind is None else None
        if result is not None and self._raises and not result.passed:
            from ttprof.report.console import failure_text

            raise SuiteFailed(failure_text(result), result)

    def finish(self) -> SuiteResult | None:
        """What leaving the block does, without raising on failures: run what was registered, unless that was run.

        Returns None with ``auto_run=False``, and raises like ``run``.
        """
        if not self._auto_run:
            return None
        ran_as_it_stands = self._result is not None and self._ran == self._registry.cases
        return self._result if ran_as_it_stands else self.run()


def _baseline(path: Path, name: str) -> baselines.Baseline | None:
    """What the run *name* is compared with. A file of many runs that lacks it compares nothing, and that is said."""
    found = baselines.read_for(path, name)
    if found is None:
        caller = _caller()
        text = f"{path} holds no suite {name!r}: nothing is compared with it"
        warnings.warn_explicit(text, UserWarning, caller.f_code.co_filename, caller.f_lineno)
    return found


def _path(what: str, value: object) -> Path:
    """*value* as a path; SpecError names the argument otherwise."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise SpecError(f"{what} takes the path of a file, not {value!r}")
    return Path(value)


def test_model(
    model: nn.Module,
    modules: Mapping[str, Mapping[str, float]] | None = None,
    /,
    *,
    options: Mapping[str, Any] | None = None,
    **modules_to_test: Mapping[str, float],
) -> SuiteResult:
    """Test modules by name in one call: ``test_model(model, attention={"latency_ms": 5.0}, norm={})``.

    Each is tested with a tolerance of 1e-3 and the limits given. Dotted names go in a dict:
    ``test_model(model, {"layers.0.mlp": {}})``. *options* are those of TestSuite.

    Raises SuiteFailed like leaving a suite does, and UnknownNameError for a name that the model does not have.
    """
    with TestSuite(model, **(options or {})) as suite:
        for name, limits in {**(modules or {}), **modules_to_test}.items():
            case = suite.test(name).tolerance(1e-3)
            if limits:
                case.expect(**limits)
        return suite.run()


test_model.__test__ = False  # type: ignore[attr-defined]


def _type_name(target: object) -> str:
    """The class of a target; of a compiled module, the class that was compiled."""
    return type(uncompiled(target) if isinstance(target, nn.Module) else target).__name__


def _device(device: torch.device | str | None, model: nn.Module) -> torch.device:
    """Where to run: the device asked for, else the model's own, else the CPU."""
    try:
        found = torch.device(device) if device is not None else device_of(model) or torch.device("cpu")
    except (RuntimeError, TypeError) as error:
        raise SpecError(f"device={device!r}: {error}") from error
    if found.type not in TIMERS:
        raise SpecError(
            f"ttprof can't time {found.type!r} devices, only {' and '.join(TIMERS)} (ROCm is cuda to torch)"
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device={device!r}: torch sees no CUDA or ROCm device here")
    return found


def _caller() -> FrameType:
    """The innermost frame outside this package: the line that the user wrote."""
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
