"""Runs a suite in two passes over its cases.

Pass 1 checks numerics and times every case, before a profiler session can slow the process; pass 2 records every trial
and judges the cases. A case that goes wrong ends as ERROR, and the run continues with the next.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from ttprof.baseline import Baseline
from ttprof.codes import VerdictCode
from ttprof.engine import case_passes
from ttprof.engine.backends import Backend
from ttprof.engine.case_run import CaseRun, Phases, Recorder
from ttprof.errors import (
    InputsError,
    ModuleRaised,
    NsightError,
    ProfilerRunningError,
    SpecError,
    TraceError,
    TtprofError,
    user_code,
)
from ttprof.judge.baselines import BaselineJudge
from ttprof.metrics.work import sol
from ttprof.nsight.rerun import Request
from ttprof.plan import state
from ttprof.plan.infer import WITHIN_SCRIPT, ModelInputs, called_by, is_within_script
from ttprof.plan.model_state import check_initialised, unchanged_behind_torch
from ttprof.plan.trials import Trial, default_size, expand, trial_at, wanted_captures
from ttprof.result import CaseResult, SuiteResult
from ttprof.run import environment
from ttprof.run.base import SuiteRecording
from ttprof.run.peaks import DevicePeaks
from ttprof.run.ranges import RangeCollector
from ttprof.spec import CaseSpec, SuiteSpec
from ttprof.trial_key import Point
from ttprof.verdict import Status

MAX_FOLDER_NAME = 100
"""Maximum number of characters of a suite's or a case's name in the name of its folder."""

RUNS = "runs"
"""The expectation that every case has: that it runs."""

Pass = Literal["timing", "recording"]


class Progress(Protocol):
    """Receives progress events."""

    def begin_pass(self, name: Pass) -> None:
        """A pass over all cases begins, in their order; a skipped case enters no phase."""
        ...

    def phase(self, case: str, phase: str) -> None:
        """A case enters a phase: capture, numerics, flops, warm-up, timing, profiling, parsing or judging."""
        ...

    def done(self, case: CaseResult) -> None:
        """A case has ended; its status is final."""
        ...


def run_suite(suite: SuiteSpec, backend: Backend, progress: Progress, baseline: Baseline | None = None) -> SuiteResult:
    """Run and judge every case of *suite*, also against *baseline* if there is one.

    An error in a module ends its case as ERROR, never the run.
    """
    return _SuiteRun(suite, progress).result(backend, baseline)


def record_suite(suite: SuiteSpec, backend: Backend, request: Request, progress: Progress) -> None:
    """Run every case of *suite* inside NVTX ranges and save the answer in the folder that *request* names.

    Raises:
        NsightError: This process can't create NVTX ranges.
    """
    recording = _recording_of(suite, Path(request.folder).parent)
    collector = RangeCollector(recording, request.replayed)
    try:
        if (_numberless(suite.name), list(recording.cases)) == (_numberless(request.suite), request.cases):
            _SuiteRun(suite, progress).recorded(backend, collector)
        else:
            collector.answer.error = (
                f"the second run of the script ran a different suite: {suite.name!r} with the cases "
                f"{', '.join(recording.cases)}, not {request.suite!r} with {', '.join(request.cases)}"
            )
    finally:
        collector.answer.save(Path(request.folder))


class _SuiteRun:
    def __init__(self, suite: SuiteSpec, progress: Progress) -> None:
        self._suite = suite
        self._progress = progress
        self._device: torch.device = suite.device
        self._source = ModelInputs(suite.model, self._device, suite.inputs, wanted_captures(suite))
        self._seconds: dict[str, float] = {}
        self._interrupted = False

    def result(self, backend: Backend, baseline: Baseline | None) -> SuiteResult:
        """Run both passes over all cases."""
        started = datetime.now().astimezone()
        folder = _new_folder(self._suite.trace_dir, f"{_file_name(self._suite.name)}-{started:%Y%m%d-%H%M%S}")
        described = environment.describe(self._device)
        peaks = self._peaks(described.device_name)
        cases = [self._case(spec, peaks) for spec in self._suite.cases]
        baseline_judge = None if baseline is None else BaselineJudge(baseline, described)
        self._progress.begin_pass("timing")
        for case in cases:
            self._first(case)
        results = []
        collector = backend.collector(_recording_of(self._suite, folder))
        self._progress.begin_pass("recording")
        for case, name in zip(cases, _folder_names(self._suite.cases), strict=True):
            self._second(case, Recorder(backend, collector, folder / name))
            judged = case.result()
            results.append(judged if baseline_judge is None else baseline_judge.judge(judged))
            self._progress.done(results[-1])
        if baseline_judge is not None:
            results += baseline_judge.missing_cases()
        return SuiteResult(
            name=self._suite.name,
            started=started.isoformat(timespec="seconds"),
            environment=described,
            cases=results,
            run_dir=str(folder),
            strict=self._suite.strict,
            interrupted=self._interrupted,
            backend=backend.name,
            seconds=self._seconds,
        )

    def recorded(self, backend: Backend, collector: RangeCollector) -> None:
        """Record all cases as pass 2 does, without reading or judging; errors of a case go into the answer."""
        with collector.recording():
            for spec, name in zip(self._suite.cases, _folder_names(self._suite.cases), strict=True):
                case = self._case(spec)
                if case.ended or self._interrupted:
                    continue
                recorder = Recorder(backend, collector, collector.folder / name)
                with self._guarded(case), self._prepared(case), collector.case(spec.name):
                    if not self._is_skipped(case):
                        case_passes.record_only(case, self._trials(case), recorder)
                if case.verdicts:
                    collector.answer.errors[spec.name] = case.verdicts[-1].reason

    def _peaks(self, device_name: str) -> DevicePeaks | None:
        """The peaks of the device; None if they would have to be measured and no case limits its speed of light."""
        peaks = DevicePeaks(self._device, device_name)
        limited = any(limit.metric == sol.__name__ for case in self._suite.cases for limit in case.limits)
        return peaks if limited or not peaks.measured else None

    def _case(self, spec: CaseSpec, peaks: DevicePeaks | None = None) -> CaseRun:
        phases = Phases(lambda phase: self._progress.phase(spec.name, phase), self._seconds)
        case = CaseRun(spec, self._device, self._suite.seconds_per_case, self._suite.seed, phases, peaks=peaks)
        if spec.skip_reason is not None:
            code = VerdictCode.MODULE_MISSING if spec.module is None else VerdictCode.SKIPPED
            case.end(Status.SKIP, code, "skip", spec.skip_reason)
        return case

    def _first(self, case: CaseRun) -> None:
        if case.ended or self._stopped(case):
            return
        with self._guarded(case), unchanged_behind_torch(case.spec.module), self._prepared(case):
            if not self._is_skipped(case):
                case_passes.first_pass(case, self._trials(case), self._trial_at(case))

    def _is_skipped(self, case: CaseRun) -> bool:
        """End a case as SKIP, and return True, if it depends on the model calling its module and the model does not."""
        if not case.spec.only_if_called or case.spec.module in self._called:
            return False
        hidden = is_within_script(self._suite.model, case.spec.module)
        reason = WITHIN_SCRIPT if hidden else "the model's forward does not call this module"
        case.end(Status.SKIP, VerdictCode.NOT_CALLED, "called by the model", reason)
        return True

    def _second(self, case: CaseRun, recorder: Recorder) -> None:
        if case.ended:
            return
        if not self._stopped(case):
            with self._guarded(case), self._prepared(case):
                case_passes.second_pass(case, self._trials(case), self._trial_at(case), recorder)
        with self._guarded(case), case.phase("judging"):
            case_passes.judge(case)

    def _stopped(self, case: CaseRun) -> bool:
        """End a case as ERROR, and return True, if the run was interrupted before this pass of it."""
        if self._interrupted:
            so_far = "timed, and not recorded" if case.trials else "not finished"
            reason = f"{so_far}: the run was interrupted"
            case.end(Status.ERROR, VerdictCode.INTERRUPTED, RUNS, reason)
        return self._interrupted

    @contextmanager
    def _prepared(self, case: CaseRun) -> Iterator[None]:
        """Prepare the modules of a case for the test within the context, and restore them."""
        sides = [m for m in (case.spec.module, case.spec.reference) if isinstance(m, nn.Module)]
        for module in sides:
            check_initialised(module)
        modules = list(dict.fromkeys([self._suite.model, *sides]))
        training = sides if case.spec.train else []
        with state.under_test(modules, training, self._device, self._suite.seed):
            yield

    @contextmanager
    def _guarded(self, case: CaseRun) -> Iterator[None]:
        """Turn an error within the context into an ERROR of this case alone.

        An interrupt (Ctrl-C) also ends the case, and no further case begins a pass; measurements so far are kept.
        """
        try:
            with user_code(case.spec.name):
                yield
        except TtprofError as error:
            case.end(Status.ERROR, _code_of(error), RUNS, str(error))
        except KeyboardInterrupt:
            self._interrupted = True
            case.end(Status.ERROR, VerdictCode.INTERRUPTED, RUNS, "it was interrupted")

    def _trials(self, case: CaseRun) -> list[Trial]:
        with case.phase("capture"):
            return expand(case.spec, self._suite, self._source)

    def _trial_at(self, case: CaseRun) -> Callable[[Point], Trial]:
        return lambda point: trial_at(case.spec, point, self._suite, self._source)

    @cached_property
    def _called(self) -> set[nn.Module]:
        """The modules that the model's forward calls; all of them if the model can't be run."""
        modules = [case.module for case in self._suite.cases if case.only_if_called]
        try:
            return called_by(self._source, default_size(self._suite), modules)
        except (InputsError, ModuleRaised):
            return set(modules)


def _code_of(error: TtprofError) -> VerdictCode:
    codes = {
        ModuleRaised: VerdictCode.RAISED,
        InputsError: VerdictCode.NO_INPUTS,
        TraceError: VerdictCode.TRACE_UNREADABLE,
        NsightError: VerdictCode.NSIGHT_FAILED,
        ProfilerRunningError: VerdictCode.PROFILER_RUNNING,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), VerdictCode.REFUSED)


def _numberless(name: str) -> str:
    """The name of a suite without the number that ``ttprof run`` appends to a repeated name."""
    return re.sub(r"#\d+$", "", name)


def _recording_of(suite: SuiteSpec, folder: Path) -> SuiteRecording:
    kernels = dict.fromkeys(budget.pattern for case in suite.cases for budget in case.kernel_budgets)
    return SuiteRecording(suite.name, folder, suite.device, tuple(case.name for case in suite.cases), tuple(kernels))


def _new_folder(parent: Path, name: str) -> Path:
    """Create a folder for this run alone. Raises SpecError if *parent* is not writable."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = parent / (name if number == 1 else f"{name}~{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise SpecError(f"trace_dir={str(parent)!r}: {error.strerror or error}") from error
    return folder


def _file_name(name: str) -> str:
    """*name* reduced to characters that every file system allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:MAX_FOLDER_NAME] or "unnamed"


def _folder_names(cases: tuple[CaseSpec, ...]) -> list[str]:
    """A unique folder name for each case, safe on every file system."""
    names: list[str] = []
    for case in cases:
        plain = _file_name(case.name)
        count = sum(name == plain or name.startswith(plain + "~") for name in names)
        names.append(f"{plain}~{count + 1}" if count else plain)
    return names
