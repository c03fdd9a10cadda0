"""Counts the work of an iteration, before it is timed, and the least time in which a device could do it."""

from __future__ import annotations

from dataclasses import replace

import torch

from ttprof.engine.case_run import CaseRun
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.least_time import LeastTime
from ttprof.observation import Observation
from ttprof.plan import tree
from ttprof.plan.compiled import has_compiled_parts
from ttprof.plan.model_state import preserved
from ttprof.plan.trials import Trial
from ttprof.run.activations import activation_bytes
from ttprof.run.peaks import DevicePeaks
from ttprof.run.subject import Subject
from ttprof.run.work import Work, count_work


def observed_work(case: CaseRun, subject: Subject, trial: Trial) -> Observation:
    """Observe the FLOPs, the bytes, the least time and the activations of one iteration."""
    observation = Observation(case.device.type, activations=_activations(subject, trial))
    work = work_of(subject, trial, case.device)
    if work is None:
        return observation
    if case.peaks is not None:
        least = least_time(work, case.peaks, warm=case.spec.cache == "warm")
        without = dtypes_without_peak(work, case.peaks)
        observation = replace(observation, least_time=least, dtypes_without_peak=without)
    return replace(
        observation,
        flops=None if work.flops.unknown else work.flops.total,
        uncounted_ops=work.flops.unknown,
        bytes_moved=None if work.traffic.unknown else work.traffic.nbytes,
        unsized_ops=tuple(work.traffic.unknown),
        operators=work.operators,
    )


def work_of(subject: Subject, trial: Trial, device: torch.device) -> Work | None:
    """The work of one iteration; None if the module raises under the counter.

    torch.compile fuses operators, so a module with compiled parts counts as if all of it were one operator.
    """
    try:
        with preserved(subject.module), user_code("it"):
            call = subject.call(trial)
            call.reset()  # here, so that copying the inputs does not count
            work = count_work(call, device.type)
            if has_compiled_parts(subject.module):
                inputs = subject.inputs(trial).cloned(subject.module)
                written = tree.tensors(subject.module(*inputs.args, **inputs.kwargs))
                gradients = [p for p in subject.module.parameters() if p.requires_grad] if subject.case.backward else []
                work = replace(work, traffic=work.traffic.fused([*written, *gradients]))
            return work
    except (InputsError, ModuleRaised):
        return None


def dtypes_without_peak(work: Work, peaks: DevicePeaks) -> tuple[str, ...]:
    """The dtypes that *work* multiplies, and whose peak rate on the device is not known."""
    return tuple(dtype for dtype in work.flops.by_dtype if peaks.tflops(dtype) is None)


def least_time(work: Work, peaks: DevicePeaks, warm: bool) -> LeastTime | None:
    """The least time of *work*; None if an operator can't be counted, a dtype has no peak, or nothing bounds it.

    Args:
        work: The work of one iteration.
        peaks: The peaks of the device.
        warm: Whether the cache holds what the iteration before has left in it.
    """
    if work.flops.unknown or work.traffic.unknown or dtypes_without_peak(work, peaks):
        return None
    known = {dtype: rate for dtype in work.flops.by_dtype if (rate := peaks.tflops(dtype)) is not None}
    nbytes = work.traffic.beyond_cache(peaks.cache_bytes, warm)
    least = LeastTime(
        compute_ms=sum(flops / known[dtype] / 1e9 for dtype, flops in work.flops.by_dtype.items()),
        memory_ms=nbytes / peaks.bandwidth_gb_s / 1e6,
        bytes_from_memory=nbytes,
        peak_tflops=known,
        bandwidth_gb_s=peaks.bandwidth_gb_s,
        measured=peaks.measured,
    )
    return least if least.ms > 0 else None


def _activations(subject: Subject, trial: Trial) -> int | None:
    """The bytes that the forward saves for the backward; None without a backward, or if the module raises."""
    if not subject.case.backward:
        return None
    with torch.enable_grad():
        inputs = subject.inputs(trial).variables(subject.case.gradients_of_inputs, subject.module).copies()
    not_activations = [*subject.module.parameters(), *subject.module.buffers(), *inputs.tensors()]
    try:
        with preserved(subject.module), user_code("it"):
            return activation_bytes(lambda: subject.module(*inputs.args, **inputs.kwargs), not_activations)
    except (InputsError, ModuleRaised):
        return None
