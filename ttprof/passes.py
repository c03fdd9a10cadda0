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
from ttprof.backends import Backend
from ttprof.errors import ModuleRaised, user_code
from ttprof.judge import integrity, limits, numerics, verdicts
from ttprof.metrics import NumericError, Observation, Timing
from ttprof.plan import state
from ttprof.plan.trials import Trial
from ttprof.result import ScalingFit, Status, TrialResult, Verdict
from ttprof.run import gradients, outputs
from ttprof.run.base import Workload
from ttprof.run.flops import count_flops
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.subject import Subject
from ttprof.run.timers import timer_for
from ttprof.spec import CaseSpec, Tolerance
from ttprof.trace import diff, tables

COMPARED = Tolerance(1e-3)
"""The tolerance of ``compare_with`` when the user gives none."""

COMPARED_PAIRS = 50
"""The fewest iterations of a module and its reference from which a speedup is told."""

GRADIENTS = "gradients"

TOLD = 3
"""Names of kernels or ops that a note lists."""

NUMERIC_METRICS = frozenset({"rel_error", "max_error", "pcc"})


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
    one_thread: dict[int, np.ndarray] | None = None
    trials: list[TrialResult] = field(default_factory=list)
    scaling: ScalingFit | None = None

    @property
    def ended(self) -> bool:
        """Whether an ERROR or a SKIP has closed the case before it was measured."""
        return any(v.status in (Status.ERROR, Status.SKIP) for v in self.verdicts) and not self.observations

    def end(self, status: Status, expectation: str, reason: str) -> None:
        """Add a verdict on the case as a whole."""
        self.verdicts.append(Verdict(expectation=expectation, status=status, reason=reason))


def first_pass(case: CaseRun, trials: Sequence[Trial]) -> None:
    """Numerics, FLOPs and un-instrumented times of all trials of a case."""
    subject = Subject.of(case.spec)
    errors, flops = [], []
    for trial in trials:
        with case.phase("numerics"):
            errors.append(_check_numerics(case, subject, trial))
        with case.phase("flops"):
            flops.append(_flops(subject, trial))
    with case.phase("timing"), user_code(f"the timed iterations of {case.spec.name}"):
        own, theirs = _time(case, subject, trials)
        case.one_thread = _time_on_one_thread(case, subject, trials)
    for trial in trials:
        with case.phase("numerics"):
            _check_still_finite(case, subject, trial)
    for i, trial in enumerate(trials):
        reference = Observation(case.device.type, timing=theirs[i]) if theirs else None
        case.observations.append(
            Observation(case.device.type, timing=own[i], flops=flops[i], numerics=errors[i], reference=reference)
        )
        case.trials.append(_trial_result(subject, trial, own[i]))


def second_pass(case: CaseRun, trials: Sequence[Trial], backend: Backend, folder: Path) -> None:
    """Record each trial and read the trace back."""
    subject = Subject.of(case.spec)
    for i, trial in enumerate(trials):
        stem = ",".join(f"{axis}={value}" for axis, value in trial.point.items()) or "trace"
        seen = case.observations[i]
        seen = _record(case, subject.workload(trial, case.device), seen, backend, folder / f"{stem}{backend.suffix}")
        other = subject.reference_workload(trial, case.device)
        if other is not None and seen.reference is not None:
            path = folder / f"{stem}.reference{backend.suffix}"
            seen = replace(seen, reference=_record(case, other, seen.reference, backend, path))
        case.observations[i] = seen


def judge(case: CaseRun) -> None:
    """Turn the observations of a case into measurements and verdicts."""
    points = list(zip((t.point for t in case.trials), case.observations, strict=True))
    case.verdicts += verdicts.judge_limits(case.spec, points)
    case.scaling, scaled = verdicts.judge_scaling(case.spec, points, case.one_thread)
    case.verdicts += scaled
    for i, observation in enumerate(case.observations):
        case.trials[i] = _with_measurements(case.trials[i], observation)


def _check_numerics(case: CaseRun, subject: Subject, trial: Trial) -> NumericError | None:
    """The error against the oracle where one is asked for, with its verdicts; always whether the output is finite."""
    spec = case.spec
    output = outputs.forward_once(subject.module, subject.inputs(trial), spec.name, case.seed)
    ours = numerics.leaves(output, spec.name)
    tolerance = spec.tolerance or (COMPARED if spec.reference is not None else None)
    wanted = tolerance is not None or any(limit.metric in NUMERIC_METRICS for limit in spec.limits)
    dtype = subject.dtype(trial, [t for leaf in ours if (t := leaf.tensor()) is not None])
    error, theirs, found = None, None, []
    if wanted:
        try:
            error, theirs = _error_against_oracle(subject, trial, ours, dtype)
        except _NotComparable as problem:
            found.append(problem.verdict)
    if theirs is not None or not (spec.allow_nonfinite and wanted):
        found.append(numerics.finite_verdict(ours, theirs, spec.allow_nonfinite))
    if tolerance is not None and error is not None:
        found.append(numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None))
    if spec.reference is not None:
        found += _check_purity(subject, trial)
    if spec.backward and tolerance is not None:
        found.append(_check_gradients(subject, trial, tolerance, dtype, case.seed))
    if spec.deterministic:
        again = [outputs.forward_once(subject.module, subject.inputs(trial), spec.name, case.seed) for _ in range(2)]
        found.append(numerics.deterministic_verdict(ours, [numerics.leaves(o, spec.name) for o in again]))
    case.verdicts += [verdicts.at_point(verdict, trial.point) for verdict in found]
    return error


def _check_purity(subject: Subject, trial: Trial) -> list[Verdict]:
    """A FAIL for a module that changes its inputs in place where its reference does not."""
    if not subject.changes_inputs(trial) or subject.reference_changes_inputs(trial):
        return []
    reason = f"it changes its inputs in place, and {subject.case.reference_name} does not"
    return [Verdict(expectation="inputs left alone", status=Status.FAIL, reason=reason)]


def _check_gradients(subject: Subject, trial: Trial, tolerance: Tolerance, dtype: torch.dtype, seed: int) -> Verdict:
    """The verdict on the gradients of inputs and parameters, against the reference's or the module's own in float64."""
    spec = subject.case
    try:
        ours = gradients.gradients_once(subject.module, subject.inputs(trial), spec.name, seed)
        if spec.reference is None:
            oracle = gradients.oracle_of_itself(spec.module, trial.inputs, seed)
        else:
            oracle = gradients.oracle_of(spec.reference, spec.reference_name, trial.inputs, dtype, seed)
    except ModuleRaised as problem:
        return Verdict(expectation=GRADIENTS, status=Status.ERROR, reason=f"there is no gradient to compare: {problem}")
    names = gradients.comparable(ours, oracle.gradients, dtype)
    mine, theirs, own = (
        [numerics.Leaf(f"'s gradient by {n}", found[n]) for n in names]
        for found in (ours, oracle.gradients, oracle.own or oracle.gradients)
    )
    noise = numerics.error_of(own, theirs, oracle.described) if oracle.own else None
    error = numerics.error_of(mine, theirs, oracle.described, noise)
    if error is None:
        reason = f"{spec.name} and {oracle.described} have no gradient in common"
        return Verdict(expectation=GRADIENTS, status=Status.ERROR, reason=reason)
    verdict = numerics.tolerance_verdict(tolerance, error, dtype, spec.reference is not None)
    alone = [name for name in ours if name not in oracle.gradients]
    note = f"; not compared, since the reference has no such name: {', '.join(alone[:3])}" if alone else ""
    reason = f"gradients by {len(names)} tensors: {verdict.reason}{note}"
    return msgspec.structs.replace(verdict, expectation=GRADIENTS, metric=None, reason=reason)


def _check_still_finite(case: CaseRun, subject: Subject, trial: Trial) -> None:
    """A FAIL when an output that was finite before the timed iterations is not finite after them."""
    if case.spec.allow_nonfinite or any(v.status is Status.FAIL for v in case.verdicts):
        return
    output = outputs.forward_once(subject.module, subject.inputs(trial), case.spec.name, case.seed)
    where = numerics.nonfinite(numerics.leaves(output, case.spec.name))
    if where is not None:
        found = Verdict(expectation="finite output", status=Status.FAIL, reason=f"after the timed iterations, {where}")
        case.verdicts.append(verdicts.at_point(found, trial.point))


def _flops(subject: Subject, trial: Trial) -> int | None:
    """The FLOPs of one iteration; None, so not measured, where the module does not run while they are counted."""
    try:
        with state.preserved(subject.module), user_code("it"):
            return count_flops(subject.call(trial))
    except ModuleRaised:
        return None


class _NotComparable(Exception):
    """An output and its oracle that can't be compared number by number."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Verdict(expectation="comparison with the reference", status=status, reason=reason)


def _error_against_oracle(
    subject: Subject, trial: Trial, ours: list[numerics.Leaf], dtype: torch.dtype
) -> tuple[NumericError, list[numerics.Leaf]]:
    """The error of an output and the leaves of its oracle; _NotComparable when there is no oracle, or no match."""
    spec = subject.case
    try:
        if spec.reference is None:
            oracle = outputs.oracle_of_itself(spec.module, trial.inputs, dtype)
        else:
            oracle = outputs.oracle_of(spec.reference, spec.reference_name, trial.inputs, dtype)
        theirs = numerics.leaves(oracle.output, oracle.described)
    except ModuleRaised as problem:
        raise _NotComparable(Status.ERROR, f"there is no reference to compare with: {problem}") from problem
    if spec.reference is None and dtype is torch.float64:
        why = (
            "a float64 module is its own reference: .tolerance() compares it with itself; use .compare_with(reference)"
        )
        raise _NotComparable(Status.INCONCLUSIVE, why)
    difference = numerics.structure_difference(ours, theirs)
    if difference is not None:
        raise _NotComparable(Status.FAIL, f"against {oracle.described}: {difference}")
    own = None
    if oracle.own is not None:
        own = numerics.error_of(numerics.leaves(oracle.own, oracle.described), theirs, oracle.described)
    error = numerics.error_of(ours, theirs, oracle.described, own)
    if error is None:
        raise _NotComparable(Status.ERROR, f"against {oracle.described}: the output holds no value to compare")
    return error, theirs


def _time(case: CaseRun, subject: Subject, trials: Sequence[Trial]) -> tuple[list[Timing], list[Timing]]:
    """Timings of the module and of the reference (empty without one) at each trial, all interleaved."""
    spec = case.spec
    calls = [subject.call(trial) for trial in trials]
    others = [call for trial in trials if (call := subject.reference_call(trial)) is not None]
    count = len(calls)

    def undecided(timings: Sequence[Timing]) -> bool:
        own = timings[:count]
        theirs: Sequence[Timing | None] = timings[count:] or [None] * count
        return any(
            limits.undecided(spec.limits, _timed(case, mine, other)) for mine, other in zip(own, theirs, strict=True)
        )

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
        between=subject.before(case.device),
        seed=case.seed,
        minimum=max(TimingPlan.minimum, needed),
        threads=torch.get_num_threads(),
    )


def _time_on_one_thread(case: CaseRun, subject: Subject, trials: Sequence[Trial]) -> dict[int, np.ndarray] | None:
    """CPU times by size on a single thread, where a scaling is judged on CPU time; wall times depend on the load."""
    scaling = case.spec.scaling
    if scaling is None or case.device.type != "cpu":
        return None
    if verdicts.scaling_metric(case.spec, case.device.type) != "cpu_time_ms":
        return None
    chosen = verdicts.along(case.spec.scaling_axis, [(trial.point, trial) for trial in trials])
    with state.threads(1):
        plan = replace(_plan(case, subject), threads=1)
        timings = time_workloads(
            [subject.call(trial) for _, trial in chosen], plan, timer_for(case.device), lambda _: False
        )
    return {size: timing.cpu_ns for (size, _), timing in zip(chosen, timings, strict=True)}


def _record(case: CaseRun, workload: Workload, seen: Observation, backend: Backend, path: Path) -> Observation:
    """The observation with its recording and the trace read back from it."""
    with case.phase("profiling"), user_code(f"the recorded iterations of {workload.name}"):
        recording = backend.collector().record(workload, case.spec.schedule, path)
    case.phase.split("profiling", "export", recording.export_s)
    with case.phase("parsing"):
        trace = backend.reader(recording.path)
    return replace(
        seen,
        trace=trace,
        recorded=recording.recorded,
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
        notes=_notes(subject, trial),
    )


def _notes(subject: Subject, trial: Trial) -> list[str]:
    """What a reader should know of a trial however it ends."""
    notes = [trial.inputs.note] if trial.inputs.note else []
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
        notes=[*trial.notes, *integrity.notes(seen), *_differences(seen)],
        recorded=seen.recorded,
        trace_path=seen.trace.path if seen.trace else None,
        top_ops=tables.dominant(seen.iterations) if seen.iterations else [],
        reference=metrics.measure_all(seen.reference) if seen.reference else [],
    )
