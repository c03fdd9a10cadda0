"""Runs the two passes of a case: checks and times it without a profiler, then records it with one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ttprof import metrics
from ttprof.codes import Note, NoteCode, VerdictCode
from ttprof.engine import exact_counts, numerics, scaling_rounds, speed_of_light
from ttprof.engine.case_run import CaseRun, Recorder
from ttprof.engine.events import LookedTrial, RecordedTrial, TimedTrial
from ttprof.engine.exact_counts import Compilations
from ttprof.engine.judging import MAX_NAMES_IN_NOTE, deciding_with, observed
from ttprof.engine.scaling_rounds import More
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.judge import looks, verdicts
from ttprof.judge.verdicts import Rounds
from ttprof.observation import Observation, Recording, Timing
from ttprof.plan.model_state import preserved
from ttprof.plan.observers import Witness
from ttprof.plan.process_state import threads
from ttprof.plan.trials import Trial
from ttprof.result import TrialResult
from ttprof.run.base import Workload
from ttprof.run.loop import TimingPlan, time_workloads
from ttprof.run.subject import Subject
from ttprof.run.timers import timer_for
from ttprof.run.workload import RepeatableCall
from ttprof.spec import CaseSpec, Schedule
from ttprof.system.process import retained_heap
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

COMPARED_PAIRS = 50
"""Minimum number of iterations of a module and its reference from which a speedup is computed."""


def first_pass(case: CaseRun, trials: Sequence[Trial], trial_at: Callable[[Point], Trial]) -> None:
    """Check numerics, count FLOPs and time all trials of a case; *trial_at* makes a trial at another point."""
    with Subject.of(case.spec, trials) as subject:
        _check_and_time(case, subject, trials, trial_at)


def _check_and_time(
    case: CaseRun, subject: Subject, trials: Sequence[Trial], trial_at: Callable[[Point], Trial]
) -> None:
    observations, before = [], Witness(case.device)
    for trial in trials:
        with subject.at(trial).applied(trial):
            observations.append(_checked(case, subject.at(trial), trial))
    if any(v.code is VerdictCode.NO_GRADIENT and v.status is Status.ERROR for v in case.verdicts) and not all(
        _runs(subject.at(trial), trial) for trial in trials
    ):
        return  # there is no iteration to time, and the verdict says why
    with case.phase("timing"), subject.restoring(), user_code(f"the timed iterations of {case.spec.name}"):
        case.phase.announce("warm-up")
        calls, compiling = _calls(subject, trials), Compilations()
        timed = _time(case, subject, trials, calls, compiling.warm)
        timed = exact_counts.counted(timed, calls, subject.module, compiling.since())
        case.rounds = _rounds_on_one_thread(case, subject, trials, trial_at)
    for trial, times in zip(trials, timed, strict=True):
        with case.phase("numerics"), subject.at(trial).applied(trial):
            if not any(verdict.status is Status.FAIL for verdict in case.verdicts):
                made = times.timing.calls if times.timing else 0
                _add(case, trial, numerics.still_finite(subject.at(trial), trial, case.seed, made))
    for trial, checked, times in zip(trials, observations, timed, strict=True):
        observation = replace(
            checked,
            timing=times.timing,
            reference=times.reference,
            instructions=times.instructions,
            recompilations=times.recompilations,
        )
        notes = [*_notes(subject.at(trial), trial), *_model_changed(checked)]
        notes += before.notes(notes)
        case.timed.append(TimedTrial(observation=observation, result=_trial_result(trial, times, notes)))
    with case.phase("flops"), subject.restoring():
        case.rounds = case.rounds or _rounds_of_counts(case, subject, trial_at)


def _runs(subject: Subject, trial: Trial) -> bool:
    """Whether an iteration runs with its backward, on both sides: gradients may only lack something to compare with."""
    try:
        with preserved(subject.module), user_code("it"):
            subject.call(trial)()
            if (of_reference := subject.reference_call(trial)) is not None:
                of_reference()
    except (InputsError, ModuleRaised):
        return False
    return True


def look_again(case: CaseRun, trials: Sequence[Trial]) -> None:
    """Time all trials of a case once more, and nothing else."""
    with (
        Subject.of(case.spec, trials) as subject,
        case.phase("timing"),
        subject.restoring(),
        user_code(f"the timed iterations of {case.spec.name}"),
    ):
        for seen in _time(case, subject, trials, _calls(subject, trials), lambda: None):
            reference = seen.reference.timing if seen.reference is not None else None
            if seen.timing is not None:
                case.looked.append(LookedTrial(module=seen.timing, reference=reference))


def second_pass(case: CaseRun, trials: Sequence[Trial], trial_at: Callable[[Point], Trial], recorder: Recorder) -> None:
    """Record each trial, and its reference if there is one."""
    with Subject.of(case.spec, trials) as subject, subject.restoring():
        for timed, trial in zip(case.timed, trials, strict=True):
            module = _record(case, subject.at(trial).workload(trial, case.device), recorder)
            workload = subject.at(trial).reference_workload(trial, case.device)
            compared = workload is not None and timed.observation.reference is not None
            reference = _record(case, workload, recorder) if workload is not None and compared else None
            case.recorded.append(RecordedTrial(module=module, reference=reference))
        case.rounds = _rounds_of_traces(case, subject, trials, trial_at, recorder)


def record_only(case: CaseRun, trials: Sequence[Trial], recorder: Recorder) -> None:
    """Record each trial of a case as the second pass does, without reading the traces."""
    with Subject.of(case.spec, trials) as subject, subject.restoring():
        for trial in trials:
            side = subject.at(trial)
            for workload in (side.workload(trial, case.device), side.reference_workload(trial, case.device)):
                if workload is not None:
                    with user_code(f"the recorded iterations of {workload.name}"):
                        path = recorder.path(workload.key)
                        recorder.collector.record(workload, recording_schedule(case.spec), path)


def recording_schedule(spec: CaseSpec) -> Schedule:
    """The schedule of pass 2, with more iterations if a limit needs them and the user did not fix their number."""
    if spec.schedule.exact:
        return spec.schedule
    needed = max((metrics.find(limit.metric).recorded for limit in spec.limits), default=0)
    return replace(spec.schedule, recorded=max(spec.schedule.recorded, needed))


def _add(case: CaseRun, trial: Trial, verdicts_: Sequence[Verdict]) -> None:
    case.verdicts += [verdicts.at_point(verdict, trial.point) for verdict in verdicts_]


def _checked(case: CaseRun, subject: Subject, trial: Trial) -> Observation:
    """Observe a trial before it is timed: its error against the oracle, its FLOPs and its activations."""
    with case.phase("numerics"):
        checks = numerics.numerics_of(subject, trial, case.seed)
        _add(case, trial, _with_caveats(checks.verdicts, trial))
    with case.phase("flops"):
        counted = speed_of_light.observed_work(case, subject, trial)
    return replace(counted, numerics=checks.error, model_changes=checks.model_changes)


def _calls(subject: Subject, trials: Sequence[Trial]) -> list[RepeatableCall]:
    """One iteration of the module at each trial."""
    return [subject.at(trial).call(trial) for trial in trials]


def _time(
    case: CaseRun,
    subject: Subject,
    trials: Sequence[Trial],
    calls: Sequence[RepeatableCall],
    on_warm: Callable[[], object],
) -> list[Observation]:
    """Time the *calls* of the trials and, if there is one, those of its reference, all interleaved."""
    spec = case.spec
    references = [call for trial in trials if (call := subject.at(trial).reference_call(trial)) is not None]

    def observations(timings: Sequence[Timing]) -> list[Observation]:
        of_modules = timings[: len(calls)]
        of_references: Sequence[Timing | None] = timings[len(calls) :] or [None] * len(calls)
        return [_timed(case, timing, reference) for timing, reference in zip(of_modules, of_references, strict=True)]

    def undecided(timings: Sequence[Timing]) -> bool:
        timed = observations(timings)
        if any(looks.undecided(spec.limits, observation) for observation in timed):
            return True
        points = [(trial.point, observation) for trial, observation in zip(trials, timed, strict=True)]
        return _scales_by_latency(case) and scaling_rounds.is_open(spec, case.device, Rounds.of(spec.expected, points))

    def warm() -> None:
        case.phase.announce("timing")
        on_warm()

    plan, timer = replace(_plan(case, subject), on_warm=warm), timer_for(case.device)
    return observations(time_workloads([*calls, *references], plan, timer, undecided))


def _timed(case: CaseRun, timing: Timing, reference: Timing | None) -> Observation:
    of_reference = Observation(case.device.type, timing=reference) if reference else None
    return Observation(case.device.type, timing=timing, reference=of_reference)


def _plan(case: CaseRun, subject: Subject) -> TimingPlan:
    """The timing plan of a case; comparisons and high quantiles need more iterations, unless the user fixed them."""
    schedule = case.spec.schedule
    needed = max((metrics.find(limit.metric).min_samples for limit in case.spec.limits), default=1)
    if case.spec.reference is not None:
        needed = max(needed, COMPARED_PAIRS)
    if not schedule.exact:
        schedule = replace(schedule, iterations=max(schedule.iterations, needed))
    return TimingPlan(
        schedule=schedule,
        seconds=case.seconds,
        before_each=subject.flush(case.device),
        on_warm=lambda: case.phase.announce("timing"),
        seed=case.seed,
        min_samples=max(TimingPlan.min_samples, needed),
        threads=torch.get_num_threads(),
        device=case.device,
        glance=case.yardstick.glance if case.yardstick is not None else None,
    )


def _scales_on_one_thread(case: CaseRun) -> bool:
    """Whether the scaling is judged on CPU time, measured on one thread since wall time depends on the load."""
    return case.device.type == "cpu" and verdicts.scaling_metric(case.spec.expected, "cpu") == "cpu_time_ms"


def _scales_by_latency(case: CaseRun) -> bool:
    name = verdicts.scaling_metric(case.spec.expected, case.device.type)
    return name is not None and metrics.find(name).sampled and not _scales_on_one_thread(case)


def _rounds_on_one_thread(
    case: CaseRun, subject: Subject, trials: Sequence[Trial], trial_at: Callable[[Point], Trial]
) -> Rounds | None:
    """Single-threaded CPU times by size if the scaling is judged on them; more rounds while the verdict is open."""
    if not _scales_on_one_thread(case):
        return None
    axis = case.spec.scaling_axis
    chosen = verdicts.along(axis, [(trial.point, trial) for trial in trials])
    plan = replace(_plan(case, subject), threads=1)

    def timed(sized: Sequence[tuple[int, Trial]]) -> dict[int, np.ndarray | None]:
        calls = [subject.at(trial).call(trial) for _, trial in sized]
        timings = time_workloads(calls, plan, timer_for(case.device), lambda _: False)
        return {size: timing.cpu_ns for (size, _), timing in zip(sized, timings, strict=True)}

    def beyond(size: int) -> np.ndarray | None:
        return timed([(size, trial_at(chosen[-1][1].point.at(axis, size)))])[size]

    with threads(1), retained_heap() as heap_kept:
        first = Rounds(timed(chosen), threads=1, heap_kept=heap_kept)
        largest = first.by_size[chosen[-1][0]]
        slowest = 0.0 if largest is None else float(np.median(largest))
        more = More(lambda: timed(chosen), beyond, slowest)
        return scaling_rounds.extended(case.spec, case.device, case.seconds, first, more)


def _rounds_of_counts(case: CaseRun, subject: Subject, trial_at: Callable[[Point], Trial]) -> Rounds | None:
    """The counts by size if the scaling is judged on what is counted without a profiler."""
    return scaling_rounds.of_counts(
        case.spec,
        case.device,
        case.seconds,
        case.points,
        lambda point: _work_at(case, subject, trial_at(point)),
    )


def _rounds_of_traces(
    case: CaseRun, subject: Subject, trials: Sequence[Trial], trial_at: Callable[[Point], Trial], recorder: Recorder
) -> Rounds | None:
    """The samples by size if the scaling is judged on traces alone, and from more traces while the verdict is open."""
    name = verdicts.scaling_metric(case.spec.expected, case.device.type)
    if name is None or not case.recorded or recorder.backend.once:
        return None
    axis, metric = case.spec.scaling_axis, metrics.find(name)
    bare = Observation(case.device.type)
    if metric.samples(_observed(bare, case.recorded[-1].module, recorder)) is None:
        return None
    recorded = [
        (timed.result.point, _observed(timed.observation, trial.module, recorder))
        for timed, trial in zip(case.timed, case.recorded, strict=True)
    ]
    chosen = verdicts.along(axis, [(trial.point, trial) for trial in trials])

    def sampled(trial: Trial, attempt: str) -> np.ndarray | None:
        workload = subject.at(trial).workload(trial, case.device)
        return metric.samples(_observed(bare, _record(case, workload, recorder, attempt), recorder))

    def beyond(size: int) -> np.ndarray | None:
        return sampled(trial_at(chosen[-1][1].point.at(axis, size)), ".beyond")

    timing = case.timed[-1].observation.timing
    slowest = float(np.median(timing.host_ns)) if timing else 0.0
    again = (lambda: {size: sampled(trial, ".again") for size, trial in chosen}) if metric.sampled else None
    more = More(again, beyond, slowest)
    return scaling_rounds.extended(case.spec, case.device, case.seconds, Rounds.of(case.spec.expected, recorded), more)


def _observed(observation: Observation, recording: Recording, recorder: Recorder) -> Observation:
    """The observation with the trace of a recording."""
    return observed(observation, recording, recorder.backend.reader(recording.path), recorder.backend.allocations)


def _work_at(case: CaseRun, subject: Subject, trial: Trial) -> Observation:
    with subject.at(trial).applied(trial):
        return speed_of_light.observed_work(case, subject.at(trial), trial)


def _record(case: CaseRun, workload: Workload, recorder: Recorder, attempt: str = "") -> Recording:
    """Record *workload*."""
    path = recorder.path(workload.key, attempt)
    with case.phase("profiling"), user_code(f"the recorded iterations of {workload.name}"):
        recording = recorder.collector.record(workload, recording_schedule(case.spec), path)
    case.phase.split("profiling", "export", recording.export_s)
    return recording


def _trial_result(trial: Trial, timed: Observation, notes: list[Note]) -> TrialResult:
    timing = timed.timing
    assert timing is not None
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
        notes=notes,
    )


def _notes(subject: Subject, trial: Trial) -> list[Note]:
    """Notes on a trial that apply to every outcome."""
    notes = list(trial.inputs.notes)
    if subject.changes_inputs(trial):
        text = "it changes its inputs in place: each iteration starts from a fresh copy, made before it is measured"
        notes.append(Note(NoteCode.INPUTS_CHANGED_IN_PLACE, text))
    if kept := subject.parts_out_of_mode(trial):
        text = f"its {kept[0]} does not follow it into {'train' if subject.case.train else 'eval'} mode"
        notes.append(Note(NoteCode.MODE_KEPT, text))
    if subject.needs_grad(trial) and not subject.case.backward:
        text = "its forward raises with gradients disabled, so it is tested with gradients enabled"
        notes.append(Note(NoteCode.GRADIENTS_ENABLED, text))
    return notes


def _model_changed(checked: Observation) -> list[Note]:
    """A note that names the parameters and attributes that the forward changed, if any."""
    if not checked.model_changes:
        return []
    shown = ", ".join(checked.model_changes[:MAX_NAMES_IN_NOTE])
    hidden = len(checked.model_changes) - MAX_NAMES_IN_NOTE
    text = (
        f"its forward changes {shown}{f' and {hidden} more' if hidden > 0 else ''} of the module: restored afterwards"
    )
    return [Note(NoteCode.MODEL_CHANGED, text)]


def _with_caveats(verdicts_: list[Verdict], trial: Trial) -> list[Verdict]:
    """The verdicts; the first of the worst ones says so if what is around the call is not that of the model."""
    context = next((note.text for note in trial.inputs.notes if note.code is NoteCode.CONTEXT_DIFFERS), None)
    return deciding_with(verdicts_, context) if verdicts_ and context else verdicts_
