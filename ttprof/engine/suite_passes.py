"""The two passes over the cases of a suite: each runs what the journal lacks, and adds the outcomes to it at once.

Pass 1 checks numerics and times every case, before a profiler session can slow the process; pass 2 records every
trial. A case that goes wrong ends as ERROR, and the run continues with the next.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from ttprof.codes import VerdictCode
from ttprof.engine import case_passes, watchdog
from ttprof.engine.backends import Backend
from ttprof.engine.case_run import CaseRun, Recorder
from ttprof.engine.events import Began, CaseLooked, CaseRecorded, CaseTimed, Entered, Reading, RecordedTrial, Stage
from ttprof.engine.journal import Journal
from ttprof.engine.judging import verdict_on, verdict_on_run
from ttprof.engine.opening import folder_names
from ttprof.engine.phases import Phases
from ttprof.errors import InputsError, ModuleRaised, TtprofError, ends_a_run, user_code, users_line
from ttprof.metrics.work import sol
from ttprof.observation import Recording
from ttprof.plan import state
from ttprof.plan.infer import WITHIN_SCRIPT, ModelInputs, called_by, is_within_script
from ttprof.plan.model_state import check_initialised, unchanged_behind_torch
from ttprof.plan.trials import Trial, default_size, expand, trial_at, wanted_captures
from ttprof.result import CaseResult
from ttprof.run.base import SuiteRecording
from ttprof.run.peaks import DevicePeaks
from ttprof.run.ranges import RangeCollector
from ttprof.run.yardstick import Yardstick
from ttprof.spec import CaseSpec, SuiteSpec
from ttprof.system import children
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

OUT_OF_TIME = "it did not end within the time for looking again (--confirm), or within timeout_s"

LEAST_LOOK_S = 1.0
"""A look that has begun is not interrupted earlier."""


class Progress(Protocol):
    """Receives progress events."""

    def begin_pass(self, name: Stage) -> None:
        """A pass over all cases begins, in their order; a skipped case enters no phase."""
        ...

    def phase(self, case: str, phase: str) -> None:
        """A case enters a phase: capture, numerics, flops, warm-up, timing, profiling, parsing or judging."""
        ...

    def done(self, case: CaseResult) -> None:
        """A case has ended; its status is final."""
        ...


class SuiteCases:
    """Prepares the cases of a suite for their passes, and keeps what goes wrong in one from the others."""

    def __init__(self, suite: SuiteSpec, progress: Progress) -> None:
        self.suite = suite
        self.progress = progress
        self.device: torch.device = suite.device
        self.stop: BaseException | None = None
        self._source = ModelInputs(suite.model, self.device, suite.inputs, wanted_captures(suite))

    def cut_captures(self) -> None:
        """Run no whole forward of the model from now on: one ended the process, or did not end."""
        self._source = replace(self._source, cut=True)

    def case(self, spec: CaseSpec, announce: Callable[[str], None], peaks: DevicePeaks | None = None) -> CaseRun:
        """A case at the start of a pass."""

        def phase(name: str) -> None:
            self.progress.phase(spec.name, name)
            announce(name)

        suite = self.suite
        return CaseRun(spec, self.device, suite.seconds_per_case, suite.seed, Phases(phase), peaks=peaks)

    @contextmanager
    def prepared(self, case: CaseRun) -> Iterator[None]:
        """Prepare the modules of a case for the test within the context, and restore them."""
        sides = [m for m in (case.spec.module, case.spec.reference) if isinstance(m, nn.Module)]
        for module in sides:
            check_initialised(module)
        modules = list(dict.fromkeys([self.suite.model, *sides]))
        training = sides if case.spec.train else []
        with state.under_test(modules, training, self.device, self.suite.seed):
            yield

    @contextmanager
    def guarded(self, case: CaseRun) -> Iterator[None]:
        """Turn an error within the context into an ERROR of this case alone.

        An exception that ends a run, such as KeyboardInterrupt, becomes ``stop``: no further pass of a case begins.
        """
        try:
            with user_code(case.spec.name):
                yield
        except TtprofError as error:
            case.verdicts.append(verdict_on(error))
        except watchdog.TimedOut as error:
            line = users_line(traceback.extract_tb(error.__traceback__)[1:])
            case.verdicts.append(self.timed_out(case, line))
        except ends_a_run() as stop:
            self.stop = stop

    def timed_out(self, case: CaseRun, line: str) -> Verdict:
        """The verdict on a case that took too long, at a line of its code."""
        at = f", at {line}" if line else ""
        during = f" during {case.phase.current}" if case.phase.current else ""
        reason = f"it did not end within timeout_s={self.suite.timeout_s:g}{during}{at}"
        return verdict_on_run(Status.ERROR, VerdictCode.TIMED_OUT, reason)

    def not_called(self, case: CaseRun) -> Verdict | None:
        """A SKIP for a case that depends on the model calling its module, if the model does not."""
        spec = case.spec
        with case.phase("capture"):
            if not spec.only_if_called or spec.module in self._called:
                return None
        hidden = is_within_script(self.suite.model, spec.module)
        reason = WITHIN_SCRIPT if hidden else "the model's forward does not call this module"
        return verdict_on_run(Status.SKIP, VerdictCode.NOT_CALLED, reason, "called by the model")

    def trials(self, case: CaseRun) -> list[Trial]:
        """The trials of a case, with their inputs."""
        with case.phase("capture"):
            return expand(case.spec, self.suite, self._source.cut_at(self._part(case)))

    def trial_at(self, case: CaseRun) -> Callable[[Point], Trial]:
        """Makes a trial of a case at another point."""
        return lambda point: trial_at(case.spec, point, self.suite, self._source.cut_at(self._part(case)))

    def _part(self, case: CaseRun) -> nn.Module | None:
        """The module of a case if it is a part of the model, and not the model itself."""
        module = case.spec.module
        parts = self.suite.model.modules()
        return module if module is not self.suite.model and any(part is module for part in parts) else None

    @cached_property
    def _called(self) -> set[nn.Module]:
        """The modules that the model's forward calls; all of them if the model can't be run."""
        modules = [case.module for case in self.suite.cases if case.only_if_called]
        try:
            return called_by(self._source, default_size(self.suite), modules)
        except (InputsError, ModuleRaised):
            return set(modules)

    def record_all(self, backend: Backend, collector: RangeCollector) -> None:
        """Record all cases as pass 2 does, without reading or judging; errors of a case go into the answer."""
        with collector.recording():
            for spec in self.suite.cases:
                if skipped(spec) is not None or self.stop is not None:
                    continue
                case = self.case(spec, lambda phase: None)
                recorder = Recorder(backend, collector, collector.folder / spec.name)
                with self.guarded(case), self.prepared(case), collector.case(spec.name):
                    if self.not_called(case) is None:
                        case_passes.record_only(case, self.trials(case), recorder)
                if case.verdicts:
                    collector.answer.errors[spec.name] = case.verdicts[-1].reason


class SuitePasses(SuiteCases):
    """The passes over the cases of a suite: each runs what the journal lacks, and adds its outcomes to it.

    A pass of a case ends after *timeout_s*; if that is impossible, *stuck* is called in another thread. ``stop`` is the
    exception that ended the run before its time; None if none did.
    """

    def __init__(
        self,
        suite: SuiteSpec,
        backend: Backend,
        journal: Journal,
        progress: Progress,
        timeout_s: float,
        stuck: Callable[[], object],
    ) -> None:
        super().__init__(suite, progress)
        self._backend = backend
        self._journal = journal
        self._timeout_s = timeout_s
        self._stuck = stuck
        self._reading: Reading = {}
        self._ending = threading.Lock()

    def time(self) -> None:
        """Run the first pass of each case."""
        self.progress.begin_pass("timing")
        peaks = self._peaks
        for spec in self.suite.cases:
            if self._journal.cases[spec.name].missing("timing") and self.stop is None:
                self._time(spec, peaks)

    def look(self, seconds: float, until: float) -> None:
        """Time each doubted case once more, for some seconds each, until a time of the monotonic clock."""
        for spec in self.suite.cases:
            missing = self._journal.cases[spec.name].missing("looking")
            if missing and self.stop is None and time.monotonic() < until:
                self._look(spec, seconds, until)

    def record(self, advanced: Callable[[], None]) -> None:
        """Run the second pass of each case; *advanced* is called after each."""
        collector = self._backend.collector(recording_of(self.suite, self._journal.folder))
        self.progress.begin_pass("recording")
        folders = folder_names(self.suite.cases)
        for spec in self.suite.cases:
            if self._journal.cases[spec.name].missing("recording") and self.stop is None:
                self._record(spec, Recorder(self._backend, collector, self._journal.folder / folders[spec.name]))
            if self.stop is None:
                advanced()

    @property
    def _peaks(self) -> DevicePeaks | None:
        """The peaks of the device; None if they would have to be measured and no case limits its speed of light."""
        peaks = DevicePeaks(self.device, self._journal.opened.environment.device_name)
        limited = any(limit.metric == sol.__name__ for case in self.suite.cases for limit in case.limits)
        return peaks if limited or not peaks.measured else None

    def _begin(self, spec: CaseSpec, stage: Stage, peaks: DevicePeaks | None = None) -> CaseRun:
        self._journal.add(Began(case=spec.name, stage=stage))
        case = self.case(spec, lambda phase: self._journal.add(Entered(phase=phase)), peaks)
        case.yardstick = None if stage == "recording" else self._yardstick
        return case

    def _time(self, spec: CaseSpec, peaks: DevicePeaks | None) -> None:
        if (verdict := skipped(spec)) is not None:
            self._journal.add(CaseTimed(case=spec.name, verdicts=[verdict]))
            return
        case = self._begin(spec, "timing", peaks)
        before = self._reading or self._yardstick.read()
        with self._passing(case), unchanged_behind_torch(spec.module), self.prepared(case), self._limited(case):
            if (verdict := self.not_called(case)) is not None:
                case.verdicts.append(verdict)
            else:
                case.verdicts += spec.left_out
                case_passes.first_pass(case, self.trials(case), self.trial_at(case))
        if self._timed_out_in_capture(case):
            self.cut_captures()
            self._time(spec, peaks)
        elif self.stop is None:
            self._reading = self._yardstick.read()
            self._journal.add(_timed(case, [before, self._reading]))

    def _look(self, spec: CaseSpec, seconds: float, until: float) -> None:
        case = self._begin(spec, "looking")
        case.seconds = min(case.seconds, seconds or case.seconds)
        before, limit_s = self._yardstick.read(), min(self._timeout_s, max(LEAST_LOOK_S, until - time.monotonic()))
        with (
            self._passing(case),
            unchanged_behind_torch(spec.module),
            self.prepared(case),
            watchdog.limit(limit_s, lambda line: self._end_stuck(case, line)),
        ):
            case_passes.look_again(case, self.trials(case))
        if self.stop is None:
            self._journal.add(_looked(case, [before, self._yardstick.read()]))

    @cached_property
    def _yardstick(self) -> Yardstick:
        return Yardstick(self.device)

    def _timed_out_in_capture(self, case: CaseRun) -> bool:
        """Whether the case may have run out of time in what another one's module does in the model's forward."""
        timed_out = any(verdict.code is VerdictCode.TIMED_OUT for verdict in case.verdicts)
        return timed_out and case.phase.current == "capture" and not self._source.cut

    def _record(self, spec: CaseSpec, recorder: Recorder) -> None:
        case = self._begin(spec, "recording")
        timed = self._journal.cases[spec.name].timed
        case.timed = timed.trials if timed is not None else []
        with self._passing(case), self.prepared(case), self._limited(case):
            case_passes.second_pass(case, self.trials(case), self.trial_at(case), recorder)
        if self.stop is None:
            self._journal.add(_recorded(case, self._journal.folder))

    @contextmanager
    def _passing(self, case: CaseRun) -> Iterator[None]:
        """A pass of a case, whose errors are its own; one that never ends, even before and after, ends the run."""
        with (
            children.owning(),
            self.guarded(case),
            watchdog.deadline(self._timeout_s, lambda line: self._end_stuck(case, line)),
        ):
            yield

    @contextmanager
    def _limited(self, case: CaseRun) -> Iterator[None]:
        """End a pass of a case when its time is up; never while the model is prepared or restored."""
        with watchdog.limit(self._timeout_s, lambda line: self._end_stuck(case, line)):
            yield

    def _end_stuck(self, case: CaseRun, line: str) -> None:
        """In another thread: end the run with what there is, because a pass at *line* can't be ended."""
        with self._ending:
            case.verdicts.append(self.timed_out(case, line))
            stage = self._journal.cases[case.spec.name].under_way
            if stage == "recording":
                self._journal.add(_recorded(case, self._journal.folder))
            else:
                self._journal.add(_timed(case, []) if stage == "timing" else _looked(case, []))
            self._stuck()


def skipped(spec: CaseSpec) -> Verdict | None:
    """The verdict on a case that is not run: SKIP; None if it is run."""
    if spec.skip_reason is None:
        return None
    code = VerdictCode.MODULE_MISSING if spec.module is None else spec.skip_code
    return verdict_on_run(Status.SKIP, code, spec.skip_reason, "skip")


def _timed(case: CaseRun, readings: list[Reading]) -> CaseTimed:
    return CaseTimed(
        case=case.spec.name,
        verdicts=case.verdicts,
        trials=case.timed,
        rounds=case.rounds,
        seconds=case.phase.seconds,
        process=os.getpid(),
        readings=readings,
    )


def _looked(case: CaseRun, readings: list[Reading]) -> CaseLooked:
    timed_out = any(verdict.code is VerdictCode.TIMED_OUT for verdict in case.verdicts)
    return CaseLooked(
        case=case.spec.name,
        trials=[] if case.verdicts else case.looked,
        problem=OUT_OF_TIME if timed_out else case.verdicts[-1].reason if case.verdicts else "",
        seconds=case.phase.seconds,
        process=os.getpid(),
        readings=readings,
    )


def _recorded(case: CaseRun, folder: Path) -> CaseRecorded:
    return CaseRecorded(
        case=case.spec.name,
        verdicts=case.verdicts,
        trials=[_within(folder, trial) for trial in case.recorded],
        rounds=case.rounds,
        seconds=case.phase.seconds,
    )


def _within(folder: Path, trial: RecordedTrial) -> RecordedTrial:
    """The recordings with their paths relative to the folder of the run, which may be moved."""

    def relative(recording: Recording) -> Recording:
        return replace(recording, path=recording.path.relative_to(folder))

    reference = relative(trial.reference) if trial.reference is not None else None
    return RecordedTrial(module=relative(trial.module), reference=reference)


def recording_of(suite: SuiteSpec, folder: Path) -> SuiteRecording:
    """What a collector needs to know of a suite."""
    kernels = dict.fromkeys(budget.pattern for case in suite.cases for budget in case.kernel_budgets)
    return SuiteRecording(suite.name, folder, suite.device, tuple(case.name for case in suite.cases), tuple(kernels))
