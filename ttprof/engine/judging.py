"""Judges a run from its journal: reads the traces, computes the measurements, and reaches the verdicts.

It runs in the process that measured, in the one that supervised it, or much later in another: the journal is all that
it needs. Must not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from ttprof import metrics, slowness
from ttprof.codes import Kind, Note, NoteCode, TraceErrorCode, VerdictCode
from ttprof.engine import backends
from ttprof.engine.events import CaseEvents, CaseTimed, PlannedCase
from ttprof.engine.journal import Journal
from ttprof.engine.operator_table import operators_of
from ttprof.engine.phases import Phases
from ttprof.errors import (
    InputsError,
    ModuleRaised,
    NsightError,
    ProfilerRunningError,
    ResultFileError,
    TraceError,
    TtprofError,
    user_code,
)
from ttprof.judge import gpu_use, integrity, interference, looks, verdicts
from ttprof.judge.baselines import BaselineJudge
from ttprof.judge.verdicts import Rounds
from ttprof.machine import MachineUse
from ttprof.measurement import LaterTiming, Measurement
from ttprof.observation import Observation, Recording
from ttprof.result import CaseResult, SuiteResult, TrialResult
from ttprof.scaling_fit import ScalingFit
from ttprof.trace.analyses import diff, tables
from ttprof.trace.events import Trace
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

RUNS = "runs"
"""The expectation that every case has: that it runs."""

MAX_NAMES_IN_NOTE = 3
"""Maximum number of kernel or op names listed in a note."""

Reader = Callable[[Path], Trace]


def verdict_on_run(status: Status, code: VerdictCode, reason: str, expectation: str = RUNS) -> Verdict:
    """A verdict on a case as a whole."""
    return Verdict(kind=Kind.RUN, code=code, expectation=expectation, status=status, reason=reason)


def verdict_on(error: TtprofError) -> Verdict:
    """The verdict on a case that an error ended."""
    codes = {
        ModuleRaised: VerdictCode.RAISED,
        InputsError: VerdictCode.NO_INPUTS,
        TraceError: VerdictCode.TRACE_UNREADABLE,
        NsightError: VerdictCode.NSIGHT_FAILED,
        ProfilerRunningError: VerdictCode.PROFILER_RUNNING,
    }
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), VerdictCode.REFUSED)
    return verdict_on_run(Status.ERROR, code, str(error))


class SuiteJudge:
    """Judges the cases of a journal one by one, as they end, or all that are left at the end."""

    def __init__(self, journal: Journal) -> None:
        opened = journal.opened
        self._journal = journal
        self._backend = backends.find(opened.backend)
        self._device = opened.environment.device.partition(":")[0]
        self._baseline = None
        if opened.baseline is not None:
            self._baseline = BaselineJudge(opened.baseline, opened.environment, opened.threshold)
        self._judged: dict[str, CaseResult] = {}
        self._seconds: Counter[str] = Counter()

    def case(self, name: str, announce: Callable[[str], None] = lambda phase: None) -> CaseResult:
        """Judge the case *name* by what its journal holds now; *announce* receives the phases."""
        planned = next(case for case in self._journal.opened.cases if case.name == name)
        phases = Phases(announce)
        case = self._judge(planned, self._journal.cases[name], phases)
        self._judged[name] = case if self._baseline is None else self._baseline.judge(case)
        self._seconds.update(phases.seconds)
        return self._judged[name]

    def result(self) -> SuiteResult:
        """The result of the suite; cases that were not judged yet are judged now."""
        journal, opened = self._journal, self._journal.opened
        cases = [self._judged.get(case.name) or self.case(case.name) for case in opened.cases]
        if self._baseline is not None:
            cases += self._baseline.missing_cases()
        seconds = Counter(self._seconds)
        for events in journal.cases.values():
            for outcome in (events.timed, *events.looks, events.recorded):
                seconds.update(outcome.seconds if outcome is not None else {})
        result = SuiteResult(
            name=opened.suite,
            started=opened.started,
            environment=opened.environment,
            cases=cases,
            run_dir=str(journal.folder),
            strict=opened.strict,
            interrupted=journal.closed is None or not journal.closed.complete,
            backend=opened.backend,
            seconds=dict(seconds),
            looks=journal.closed.looks if journal.closed is not None else None,
        )
        return result if opened.shard is None else opened.shard.put_on(result)

    @property
    def _fastest(self) -> dict[str, float]:
        """The yardstick when the machine was fast."""
        timings = [timing for events in self._journal.cases.values() for timing in (events.timed, *events.looks)]
        return slowness.fastest_parts([r for timing in timings if timing is not None for r in timing.readings])

    @property
    def _highest_clock(self) -> float | None:
        """The highest clock of the GPU, in MHz."""
        cases = self._journal.cases.values()
        first = [trial.observation.timing for case in cases for trial in (case.timed.trials if case.timed else [])]
        later = [trial.module for case in cases for look in case.looks for trial in look.trials]
        return gpu_use.highest_clock([*first, *later])

    def _judge(self, planned: PlannedCase, events: CaseEvents, phases: Phases) -> CaseResult:
        run = _CaseJudge(planned, self._device, events, self._fastest, phases, self._highest_clock)
        if not events.final:
            run.verdicts.append(_unfinished(events))
        try:
            with user_code(f"judging {planned.name}"):  # an error of ours costs this case, and no other
                run.judge(self._backend.reader, self._backend.allocations, self._journal.folder)
        except TtprofError as error:
            run.verdicts.append(verdict_on(error))
        return run.result()


def _unfinished(events: CaseEvents) -> Verdict:
    """The verdict on a case whose passes have not both ended, by how far it came."""
    during = f" during {events.phase}" if events.phase else ""
    if events.under_way is not None:
        timed = "timed; timing it again" if events.under_way == "looking" else "timed; its recording"
        so_far = timed if events.timed is not None else "it"
        reason = f"{so_far} was interrupted{during}"
    else:
        so_far = "timed, and not recorded" if events.timed is not None else "not finished"
        reason = f"{so_far}: the run was interrupted"
    return verdict_on_run(Status.ERROR, VerdictCode.INTERRUPTED, reason)


@dataclass(eq=False)
class _CaseJudge:
    """The judging of one case."""

    planned: PlannedCase
    device: str
    events: CaseEvents
    fastest: dict[str, float]
    phase: Phases
    highest_clock: float | None = None

    def __post_init__(self) -> None:
        self.timed = self.events.timed or CaseTimed(case=self.planned.name)
        self.recorded = self.events.recorded
        self.verdicts = [*self.timed.verdicts, *(self.recorded.verdicts if self.recorded else [])]
        self.trials: list[TrialResult] = [trial.result for trial in self.timed.trials]
        self.scaling: ScalingFit | None = None

    def judge(self, reader: Reader, allocations: bool, folder: Path) -> None:
        """Turn the observations into measurements and verdicts."""
        if self.timed.final or not self.timed.trials:
            return
        expected = self.planned.expected
        scaled = {expected.scaling_axis} if expected.scaling else set()
        axes = scaled | {sweep.axis for sweep in expected.sweeps}
        if any(axes - set(point) or any(point[axis] < 1 for axis in scaled) for point in self._points):
            raise ResultFileError("its trials in the journal are not those of its sweep", folder)
        with self.phase("parsing"):
            observations = self._observations(reader, allocations, folder)
        with self.phase("judging"):
            points = list(zip(self._points, observations, strict=True))
            limited = verdicts.judge_limits(expected, points)
            self.verdicts += limited if self.recorded is not None else map(_unrecorded, limited)
            if expected.scaling is not None:
                rounds = (self.recorded and self.recorded.rounds) or self.timed.rounds or Rounds.of(expected, points)
                self.scaling, on_scaling = verdicts.judge_scaling(expected, self.device, rounds)
                self.verdicts += on_scaling
            self.verdicts = _with_caveats(self.verdicts, self.trials)
            self.trials = [_measured(*pair, self._problems) for pair in zip(self.trials, observations, strict=True)]

    @property
    def _problems(self) -> list[Note]:
        """Notes on looks that could not be made."""
        problems = dict.fromkeys(look.problem for look in self.events.looks if look.problem)
        if self.events.missing("looking"):
            problems["no time was left for it (--confirm), or the run ended first"] = None
        return [Note(NoteCode.NOT_TIMED_AGAIN, f"it could not be timed again: {problem}") for problem in problems]

    @property
    def _points(self) -> list[Point]:
        return [trial.result.point for trial in self.timed.trials]

    def _observations(self, reader: Reader, allocations: bool, folder: Path) -> list[Observation]:
        """The observations of all trials, with their traces as far as they were recorded and can be read."""
        recorded = self.recorded.trials if self.recorded is not None else []
        observations = [self._with_looks(index) for index in range(len(self.timed.trials))]
        read = _ReadTrace(reader, allocations, folder)
        for index, trial in enumerate(recorded[: len(observations)]):
            observation = observations[index]
            try:
                observation = read(observation, trial.module)
                if trial.reference is not None and observation.reference is not None:
                    reference = read(observation.reference, trial.reference)
                    observation = replace(observation, reference=reference)
            except TraceError as error:
                self.verdicts.append(verdict_on(error))
                break
            finally:
                observations[index] = observation
        return observations

    def _with_looks(self, index: int) -> Observation:
        """The observation of a trial in the first pass, with the later looks at it."""
        first = self.timed.trials[index].observation
        timing = gpu_use.beside(first.timing, self.highest_clock)
        slowdown = slowness.slowdown(self.timed.readings, self.fastest)
        first = replace(first, timing=timing, slowdown=slowdown, process=self.timed.process)
        later = []
        for look in self.events.looks:
            if index < len(look.trials):
                seen, reference = look.trials[index], first.reference
                if reference is not None and seen.reference is not None:
                    reference = replace(reference, timing=seen.reference)
                slowdown = slowness.slowdown(look.readings, self.fastest)
                again = replace(first, timing=gpu_use.beside(seen.module, self.highest_clock), reference=reference)
                later.append(replace(again, slowdown=slowdown, process=look.process))
        return replace(first, looks=tuple(later))

    def result(self) -> CaseResult:
        """The result of the case."""
        return CaseResult(
            module_name=self.planned.name,
            module_type=self.planned.module_type,
            status=verdicts.worst(self.verdicts),
            source=self.planned.source,
            verdicts=self.verdicts,
            trials=self.trials,
            scaling=self.scaling,
            thresholds=self.planned.expected.thresholds,
        )


@dataclass(frozen=True)
class _ReadTrace:
    reader: Reader
    allocations: bool
    folder: Path

    def __call__(self, observation: Observation, recording: Recording) -> Observation:
        path = self.folder / recording.path
        if not path.resolve().is_relative_to(self.folder.resolve()):
            text = "a link leads out of the folder of the run, so the trace was not read"
            raise TraceError(text, TraceErrorCode.OUTSIDE_LOG_DIRECTORY, path)
        trace = self.reader(path)
        return observed(observation, recording, trace, self.allocations)


def observed(observation: Observation, recording: Recording, trace: Trace, allocations: bool) -> Observation:
    """An observation with a recording and its trace added; *allocations*: whether its backend records the allocator."""
    return replace(
        observation,
        trace=trace,
        recorded=recording.recorded,
        allocations=allocations,
        notes=recording.notes,
        peak_allocated=recording.peak_allocated,
        peak_reserved=recording.peak_reserved,
        peak_added=recording.peak_added,
    )


def _unrecorded(verdict: Verdict) -> Verdict:
    """A verdict on a case that was not recorded, which says so if its metric needs a recording."""
    if verdict.code is not VerdictCode.NOT_MEASURED:
        return verdict
    subject = verdict.metric or verdict.expectation
    return msgspec.structs.replace(verdict, reason=f"{subject} was not measured: the case was not recorded")


def deciding_with(verdicts_: list[Verdict], reason: str) -> list[Verdict]:
    """The verdicts with *reason* added to that of the first of the worst ones, which decides the status of the case."""
    index = [verdict.status for verdict in verdicts_].index(verdicts.worst(verdicts_))
    before = verdicts_[index]
    stated = msgspec.structs.replace(before, reason=f"{before.reason}; {reason}")
    return [*verdicts_[:index], stated, *verdicts_[index + 1 :]]


def _with_caveats(verdicts_: list[Verdict], trials: Sequence[TrialResult]) -> list[Verdict]:
    """The verdicts; the one that decides the status also says that the inputs are a guess, or what slowed the test."""
    notes = [note for trial in trials for note in trial.notes]
    caveats = ["the inputs are a guess"] if any(note.code is NoteCode.INPUTS_GUESSED for note in notes) else []
    caveats += dict.fromkeys(note.text for note in notes if note.code is NoteCode.OBSERVED)
    return deciding_with(verdicts_, "; ".join(caveats)) if caveats and verdicts_ else verdicts_


def _measured(trial: TrialResult, observation: Observation, problems: list[Note]) -> TrialResult:
    judged = [*integrity.notes(observation), *gpu_use.notes(observation.timing)]
    return msgspec.structs.replace(
        trial,
        measurements=_measurements(observation),
        machine=_machine(observation),
        looks=[_later(look) for look in observation.looks],
        worst=observation.numerics.worst if observation.numerics else None,
        notes=[*trial.notes, *problems, *observation.notes, *judged, *_differences(observation)],
        recorded=observation.recorded,
        trace_path=observation.trace.path if observation.trace else None,
        top_ops=tables.dominant(observation.iterations) if observation.iterations else [],
        reference=_measurements(observation.reference) if observation.reference else [],
        least_time=observation.least_time,
        operators=operators_of(observation),
    )


def _machine(observation: Observation) -> MachineUse:
    timing = observation.timing
    seen = timing.interference if timing is not None else None
    marks, shares = interference.disturbed_pairs(observation), interference.waited_shares(observation)
    own = interference.own_shares(observation)
    return MachineUse(
        disturbed=np.flatnonzero(marks).tolist(),
        waited=[] if shares is None else shares[marks].tolist(),
        own=[] if own is None else own[marks].tolist(),
        others=seen.others if seen is not None else None,
        stolen=seen.stolen if seen is not None else None,
        slowdown=observation.slowdown,
        yardstick=dict(timing.yardstick) if timing is not None else {},
        process=observation.process,
        cpu_clocks=timing.cpu_clocks if timing is not None else None,
        gpu=timing.gpu if timing is not None else None,
    )


def _later(observation: Observation) -> LaterTiming:
    reference = observation.reference
    return LaterTiming(
        machine=_machine(observation),
        measurements=_timed_metrics(observation),
        reference=_timed_metrics(reference) if reference is not None else [],
    )


def _timed_metrics(observation: Observation) -> list[Measurement]:
    return [measurement for measurement in _measurements(observation) if measurement.timed != "never"]


def _measurements(observation: Observation) -> list[Measurement]:
    """All measurements; in the values of times, disturbed iterations count without what the module did not need."""
    measured = metrics.measure_all(observation)
    for index, measurement in enumerate(measured):
        if measurement.timed != "never":
            metric = metrics.find(measurement.name)
            value = looks.value(metric, looks.looks_at(metric, observation)[0])
            measured[index] = msgspec.structs.replace(measurement, value=value)
    return measured


def _differences(observation: Observation) -> list[Note]:
    """A note on the kernels (ops, if there are no kernels) that only the module or only its reference runs."""
    if observation.trace is None or observation.reference is None or observation.reference.trace is None:
        return []
    difference = diff.diff(observation.reference.trace, observation.trace)
    rows = difference.kernels or difference.ops
    parts = []
    for change, side in (("added", "only in the module"), ("removed", "only in the reference")):
        names = [row.name for row in rows if row.change == change]
        if names:
            more = f" and {len(names) - MAX_NAMES_IN_NOTE} more" if len(names) > MAX_NAMES_IN_NOTE else ""
            parts.append(f"{side}: {', '.join(names[:MAX_NAMES_IN_NOTE])}{more}")
    kind = "kernels" if difference.kernels else "ops"
    text = f"{kind} against the reference: {'; '.join(parts)}"
    return [Note(NoteCode.DIFFERS_FROM_REFERENCE, text)] if parts else []
