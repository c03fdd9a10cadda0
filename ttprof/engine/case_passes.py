"""The two passes of one case: what is checked and timed without a profiler, then what is recorded with one.

A case under way enters each pass; verdicts, observations and trial results are added to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from ttprof import metrics
from ttprof.engine import numerics, scaling_rounds
from ttprof.engine.backends import Backend
from ttprof.engine.scaling_rounds import More
from ttprof.errors import ModuleRaised, user_code
from ttprof.judge import integrity, limits, verdicts
from ttprof.judge.verdicts import Rounds
from ttprof.observation import Observation, Timing
from ttprof.plan import state
from ttprof.plan.trials import Point, Trial
from ttprof.result import ScalingFit, Status, TrialResult, Verdict
from ttprof.run.activations import activation_bytes
from ttprof.run.base import TRACE_SUFFIX, Collector, Workload
from ttprof.run.flops import count_flops
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.subject import Subject
from ttprof.run.timers import timer_for
from ttprof.spec import CaseSpec
from ttprof.system.process import retained_heap
from ttprof.trace.analyses import diff, tables

COMPARED_PAIRS = 50
"""The fewest iterations of a module and its reference from which a speedup is told."""

TOLD = 3
"""Names of kernels or ops that a note lists."""


@dataclass(eq=False)
class Phases:
    """Announces what a case is doing, and adds up the seconds that each phase took over the whole run."""

    announce: Callable[[str], None]
    seconds: dict[str, float]

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Inside, the case is in the phase *what*."""
        self.announce(what)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(what, time.perf_counter() - start)

    def split(self, whole: str, part: str, seconds: float) -> None:
        """Count *seconds* that were spent in *whole* as a phase of their own."""
        self._add(whole, -seconds)
        self._add(part, seconds)

    def _add(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


@dataclass(eq=False)
class CaseRun:
    """A case under way: what is known of it so far. ``phase`` times and announces what is being done."""

    spec: CaseSpec
    device: torch.device
    seconds: float
    seed: int
    phase: Phases
    verdicts: list[Verdict] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    rounds: Rounds | None = None
    trials: list[TrialResult] = field(default_factory=list)
    scaling: ScalingFit | None = None

    @property
    def ended(self) -> bool:
        """Whether an ERROR or a SKIP has closed the case before it was measured."""
        return any(v.status in (Status.ERROR, Status.SKIP) for v in self.verdicts) and not self.observations

    def end(self, status: Status, expectation: str, reason: str) -> None:
        """Add a verdict on the case as a whole."""
        self.verdicts.append(Verdict(expectation=expectation, status=status, reason=reason))


@dataclass(frozen=True)
class Recorder:
    """What records the cases of a run, and the folder of one case."""

    backend: Backend
    collector: Collector
    folder: Path

    def path(self, trial: Trial, suffix: str = "") -> Path:
        """The file of a trial."""
        stem = ",".join(f"{axis}={value}" for axis, value in trial.point.items()) or "trace"
        return self.folder / f"{stem}{suffix}{TRACE_SUFFIX}"


def first_pass(case: CaseRun, trials: Sequence[Trial], trial_at: Callable[[Point], Trial]) -> None:
    """Numerics, FLOPs and un-instrumented times of all trials of a case; *trial_at* makes a trial at another point."""
    subject = Subject.of(case.spec)
    errors, flops, activations = [], [], []
    for trial in trials:
        with case.phase("numerics"):
            error, found = numerics.numerics_of(subject, trial, case.seed)
            errors.append(error)
            case.verdicts += [verdicts.at_point(verdict, trial.point) for verdict in found]
        with case.phase("flops"):
            flops.append(_flops(subject, trial))
            activations.append(_activations(subject, trial))
    with case.phase("timing"), user_code(f"the timed iterations of {case.spec.name}"):
        case.phase.announce("warm-up")
        own, theirs = _time(case, subject, trials)
        case.rounds = _rounds_on_one_thread(case, subject, trials, trial_at)
    for trial in trials:
        with case.phase("numerics"):
            if not any(verdict.status is Status.FAIL for verdict in case.verdicts):
                found = numerics.still_finite(subject, trial, case.seed)
                case.verdicts += [verdicts.at_point(verdict, trial.point) for verdict in found]
    for i, trial in enumerate(trials):
        reference = Observation(case.device.type, timing=theirs[i]) if theirs else None
        case.observations.append(
            Observation(
                case.device.type,
                timing=own[i],
                flops=flops[i],
                activations=activations[i],
                numerics=errors[i],
                reference=reference,
            )
        )
        case.trials.append(_trial_result(subject, trial, own[i]))


def second_pass(case: CaseRun, trials: Sequence[Trial], trial_at: Callable[[Point], Trial], recorder: Recorder) -> None:
    """Record each trial and read the trace back."""
    subject = Subject.of(case.spec)
    for i, trial in enumerate(trials):
        seen = case.observations[i]
        seen = _record(case, subject.workload(trial, case.device), seen, recorder, recorder.path(trial))
        other = subject.reference_workload(trial, case.device)
        if other is not None and seen.reference is not None:
            path = recorder.path(trial, ".reference")
            seen = replace(seen, reference=_record(case, other, seen.reference, recorder, path))
        case.observations[i] = seen
    if _scales_by_trace(case) and not recorder.backend.once:
        case.rounds = _rounds_of_traces(case, subject, trials, trial_at, recorder)


def record_only(case: CaseRun, trials: Sequence[Trial], recorder: Recorder) -> None:
    """Let the collector record each trial of a case as the second pass does, and read nothing."""
    subject = Subject.of(case.spec)
    for trial in trials:
        sides = {"": subject.workload(trial, case.device), ".reference": subject.reference_workload(trial, case.device)}
        for suffix, workload in sides.items():
            if workload is not None:
                with user_code(f"the recorded iterations of {workload.name}"):
                    recorder.collector.record(workload, case.spec.schedule, recorder.path(trial, suffix))


def judge(case: CaseRun) -> None:
    """Turn the observations of a case into measurements and verdicts."""
    points = _points(case)
    case.verdicts += verdicts.judge_limits(case.spec, points)
    if points and case.spec.scaling is not None:
        rounds = case.rounds or Rounds.of(case.spec, points)
        case.scaling, scaled = verdicts.judge_scaling(case.spec, case.device.type, rounds)
        case.verdicts += scaled
    for i, observation in enumerate(case.observations):
        case.trials[i] = _with_measurements(case.trials[i], observation)


def _points(case: CaseRun) -> list[tuple[Point, Observation]]:
    return list(zip((trial.point for trial in case.trials), case.observations, strict=True))


def _flops(subject: Subject, trial: Trial) -> int | None:
    """The FLOPs of one iteration; None, so not measured, where the module does not run while they are counted."""
    try:
        with state.preserved(subject.module), user_code("it"):
            return count_flops(subject.call(trial))
    except ModuleRaised:
        return None


def _activations(subject: Subject, trial: Trial) -> int | None:
    """The bytes that the forward keeps for the backward, where there is one; None where it does not run."""
    if not subject.case.backward:
        return None
    inputs = subject.inputs(trial).cloned().requiring_grad()
    lives_anyway = [*subject.module.parameters(), *subject.module.buffers(), *inputs.tensors()]
    try:
        with state.preserved(subject.module), user_code("it"):
            return activation_bytes(lambda: subject.module(*inputs.args, **inputs.kwargs), lives_anyway)
    except ModuleRaised:
        return None


def _time(case: CaseRun, subject: Subject, trials: Sequence[Trial]) -> tuple[list[Timing], list[Timing]]:
    """Timings of the module and of the reference (empty without one) at each trial, all interleaved."""
    spec = case.spec
    calls = [subject.call(trial) for trial in trials]
    others = [call for trial in trials if (call := subject.reference_call(trial)) is not None]
    count = len(calls)

    def undecided(timings: Sequence[Timing]) -> bool:
        own = timings[:count]
        theirs: Sequence[Timing | None] = timings[count:] or [None] * count
        seen = [_timed(case, mine, other) for mine, other in zip(own, theirs, strict=True)]
        if any(limits.undecided(spec.limits, each) for each in seen):
            return True
        points = [(trial.point, each) for trial, each in zip(trials, seen, strict=True)]
        return _scales_by_latency(case) and scaling_rounds.is_open(spec, case.device, Rounds.of(spec, points))

    timings = time_workloads([*calls, *others], _plan(case, subject), timer_for(case.device), undecided)
    return timings[:count], timings[count:]


def _timed(case: CaseRun, own: Timing, theirs: Timing | None) -> Observation:
    reference = Observation(case.device.type, timing=theirs) if theirs else None
    return Observation(case.device.type, timing=own, reference=reference)


def _plan(case: CaseRun, subject: Subject) -> TimingPlan:
    """The timing plan of a case; comparisons and high quantiles raise the iterations that the user did not fix."""
    schedule = case.spec.schedule
    needed = max((metrics.find(limit.metric).min_samples for limit in case.spec.limits), default=1)
    if case.spec.reference is not None:
        needed = max(needed, COMPARED_PAIRS)
    if not schedule.exact:
        schedule = replace(schedule, iterations=max(schedule.iterations, needed))
    return TimingPlan(
        schedule=schedule,
        seconds=case.seconds,
        before_each=subject.before(case.device),
        on_warm=lambda: case.phase.announce("timing"),
        seed=case.seed,
        min_samples=max(TimingPlan.min_samples, needed),
        threads=torch.get_num_threads(),
    )


def _scales_on_one_thread(case: CaseRun) -> bool:
    """Whether a scaling is judged on CPU time: then on one thread, since wall times depend on the load."""
    return case.device.type == "cpu" and verdicts.scaling_metric(case.spec, "cpu") == "cpu_time_ms"


def _scales_by_latency(case: CaseRun) -> bool:
    name = verdicts.scaling_metric(case.spec, case.device.type)
    return name is not None and metrics.find(name).sampled and not _scales_on_one_thread(case)


def _scales_by_trace(case: CaseRun) -> bool:
    """Whether a scaling is judged on what the traces hold, and on nothing else."""
    name = verdicts.scaling_metric(case.spec, case.device.type)
    if name is None or not case.observations:
        return False
    alone = Observation(case.device.type, trace=case.observations[-1].trace, recorded=case.observations[-1].recorded)
    return metrics.find(name).samples(alone) is not None


def _rounds_on_one_thread(
    case: CaseRun, subject: Subject, trials: Sequence[Trial], trial_at: Callable[[Point], Trial]
) -> Rounds | None:
    """CPU times by size on a single thread, where a scaling is judged on them, and more while the verdict is open."""
    if not _scales_on_one_thread(case):
        return None
    axis = case.spec.scaling_axis
    chosen = verdicts.along(axis, [(trial.point, trial) for trial in trials])
    plan = replace(_plan(case, subject), threads=1)

    def timed(sized: Sequence[tuple[int, Trial]]) -> dict[int, np.ndarray | None]:
        calls = [subject.call(trial) for _, trial in sized]
        timings = time_workloads(calls, plan, timer_for(case.device), lambda _: False)
        return {size: timing.cpu_ns for (size, _), timing in zip(sized, timings, strict=True)}

    def beyond(size: int) -> np.ndarray | None:
        return timed([(size, trial_at({**chosen[-1][1].point, axis: size}))])[size]

    with state.threads(1), retained_heap() as kept:
        first = Rounds(timed(chosen), threads=1, heap_kept=kept)
        largest = first.by_size[chosen[-1][0]]
        slowest = 0.0 if largest is None else float(np.median(largest))
        more = More(lambda: timed(chosen), beyond, slowest)
        return scaling_rounds.extended(case.spec, case.device, case.seconds, first, more)


def _rounds_of_traces(
    case: CaseRun, subject: Subject, trials: Sequence[Trial], trial_at: Callable[[Point], Trial], recorder: Recorder
) -> Rounds:
    """The samples by size from the recorded traces, and from more of them while the verdict is open."""
    axis = case.spec.scaling_axis
    metric = metrics.find(verdicts.scaling_metric(case.spec, case.device.type) or "")
    chosen = verdicts.along(axis, [(trial.point, trial) for trial in trials])

    def recorded(trial: Trial, suffix: str) -> np.ndarray | None:
        seen = Observation(case.device.type)
        path = recorder.path(trial, suffix)
        return metric.samples(_record(case, subject.workload(trial, case.device), seen, recorder, path))

    def beyond(size: int) -> np.ndarray | None:
        return recorded(trial_at({**chosen[-1][1].point, axis: size}), ".beyond")

    timing = case.observations[-1].timing
    slowest = float(np.median(timing.host_ns)) if timing else 0.0
    again = (lambda: {size: recorded(trial, ".again") for size, trial in chosen}) if metric.sampled else None
    more = More(again, beyond, slowest)
    return scaling_rounds.extended(case.spec, case.device, case.seconds, Rounds.of(case.spec, _points(case)), more)


def _record(case: CaseRun, workload: Workload, seen: Observation, recorder: Recorder, path: Path) -> Observation:
    """The observation with its recording and the trace read back from it."""
    with case.phase("profiling"), user_code(f"the recorded iterations of {workload.name}"):
        recording = recorder.collector.record(workload, case.spec.schedule, path)
    case.phase.split("profiling", "export", recording.export_s)
    with case.phase("parsing"):
        trace = recorder.backend.reader(recording.path)
    return replace(
        seen,
        trace=trace,
        recorded=recording.recorded,
        allocations=recorder.backend.allocations,
        notes=recording.notes,
        peak_allocated=recording.peak_allocated,
        peak_reserved=recording.peak_reserved,
        peak_added=recording.peak_added,
    )


def _trial_result(subject: Subject, trial: Trial, timing: Timing) -> TrialResult:
    return TrialResult(
        point=trial.point,
        inputs=trial.inputs.describe(),
        inputs_source=trial.inputs.source,
        warmup=timing.warmup,
        iterations=len(timing.latency_ns),
        threads=timing.threads,
        interleaved=timing.interleaved,
        steady=timing.steady,
        stopped=timing.stopped,
        notes=_notes(subject, trial),
    )


def _notes(subject: Subject, trial: Trial) -> list[str]:
    """What a reader should know of a trial however it ends."""
    notes = [str(trial.inputs.note)] if trial.inputs.note else []
    if subject.changes_inputs(trial):
        notes.append("it changes its inputs in place: each iteration has a fresh copy, whose time and memory count")
    return notes


def _differences(seen: Observation) -> list[str]:
    """What the module runs that its reference does not, and the other way round: kernels, or ops without them."""
    if seen.trace is None or seen.reference is None or seen.reference.trace is None:
        return []
    found = diff.diff(seen.reference.trace, seen.trace)
    rows = found.kernels or found.ops
    told = []
    for change, words in (("added", "only in the module"), ("removed", "only in the reference")):
        names = [row.name for row in rows if row.change == change]
        if names:
            told.append(
                f"{words}: {', '.join(names[:TOLD])}" + (f" and {len(names) - TOLD} more" * (len(names) > TOLD))
            )
    what = "kernels" if found.kernels else "ops"
    return [f"{what} against the reference: {'; '.join(told)}"] if told else []


def _with_measurements(trial: TrialResult, seen: Observation) -> TrialResult:
    return msgspec.structs.replace(
        trial,
        measurements=metrics.measure_all(seen),
        worst=seen.numerics.worst if seen.numerics else None,
        notes=[*trial.notes, *seen.notes, *integrity.notes(seen), *_differences(seen)],
        recorded=seen.recorded,
        trace_path=seen.trace.path if seen.trace else None,
        top_ops=tables.dominant(seen.iterations) if seen.iterations else [],
        reference=metrics.measure_all(seen.reference) if seen.reference else [],
    )
