"""The state of a running case and its trials, which both passes fill in and the result is built from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ttprof.codes import Kind, VerdictCode
from ttprof.engine.backends import Backend
from ttprof.judge import verdicts
from ttprof.judge.verdicts import Rounds
from ttprof.observation import Observation
from ttprof.plan import state
from ttprof.result import CaseResult, TrialResult
from ttprof.run.base import TRACE_SUFFIX, Collector
from ttprof.run.peaks import DevicePeaks
from ttprof.scaling_fit import ScalingFit
from ttprof.spec import CaseSpec
from ttprof.trial_key import TrialKey
from ttprof.verdict import Status, Verdict


@dataclass(eq=False)
class Phases:
    """Announces the phases of a case and adds up the seconds of each phase over the whole run."""

    announce: Callable[[str], None]
    seconds: dict[str, float]

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Put the case in *phase* within the context."""
        self.announce(phase)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(phase, time.perf_counter() - start)

    def split(self, whole: str, part: str, seconds: float) -> None:
        """Move *seconds* of the phase *whole* to a separate phase *part*."""
        self._add(whole, -seconds)
        self._add(part, seconds)

    def _add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


@dataclass(eq=False)
class TrialRun:
    """A running trial: its observation and the part of its result that is final."""

    observation: Observation
    result: TrialResult


@dataclass(eq=False)
class CaseRun:
    """A running case and its outcome so far.

    ``phase`` times and announces the phases. Without ``peaks`` the speed of light is not measured.
    """

    spec: CaseSpec
    device: torch.device
    seconds: float
    seed: int
    phase: Phases
    verdicts: list[Verdict] = field(default_factory=list)
    trials: list[TrialRun] = field(default_factory=list)
    peaks: DevicePeaks | None = None
    rounds: Rounds | None = None
    scaling: ScalingFit | None = None

    @property
    def ended(self) -> bool:
        """Whether an ERROR or SKIP ended the case before it was measured."""
        return any(v.status in (Status.ERROR, Status.SKIP) for v in self.verdicts) and not self.trials

    def end(self, status: Status, code: VerdictCode, expectation: str, reason: str) -> None:
        """Add a verdict on the case as a whole."""
        verdict = Verdict(kind=Kind.RUN, code=code, expectation=expectation, status=status, reason=reason)
        self.verdicts.append(verdict)

    def result(self) -> CaseResult:
        """The result of the case in its current state."""
        module = self.spec.module
        return CaseResult(
            module_name=self.spec.name,
            module_type="" if module is None else type(state.uncompiled(module)).__name__,
            status=verdicts.worst(self.verdicts),
            source=str(self.spec.source),
            verdicts=self.verdicts,
            trials=[trial.result for trial in self.trials],
            scaling=self.scaling,
        )


@dataclass(frozen=True)
class Recorder:
    """The backend and collector of a run, and the folder of one case."""

    backend: Backend
    collector: Collector
    folder: Path

    def path(self, key: TrialKey, attempt: str = "") -> Path:
        """The trace file of a trial; *attempt* distinguishes repeated recordings."""
        return self.folder / f"{key.stem}{attempt}{TRACE_SUFFIX}"
