"""A case while one of its passes runs, and the recorder of its trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ttprof.engine.backends import Backend
from ttprof.engine.events import LookedTrial, RecordedTrial, TimedTrial
from ttprof.engine.phases import Phases
from ttprof.judge.verdicts import Points, Rounds
from ttprof.run.base import TRACE_SUFFIX, Collector
from ttprof.run.peaks import DevicePeaks
from ttprof.run.yardstick import Yardstick
from ttprof.spec import CaseSpec
from ttprof.trial_key import TrialKey
from ttprof.verdict import Verdict


@dataclass(eq=False)
class CaseRun:
    """A case in one of its passes, and the outcome of that pass so far.

    ``phase`` times and announces the phases. Without ``peaks`` the speed of light is not measured. The ``yardstick`` is
    timed between iterations. ``timed`` are the trials of the first pass, ``looked`` those of a later look at their
    times, ``recorded`` those of the second pass.
    """

    spec: CaseSpec
    device: torch.device
    seconds: float
    seed: int
    phase: Phases
    peaks: DevicePeaks | None = None
    yardstick: Yardstick | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    timed: list[TimedTrial] = field(default_factory=list)
    looked: list[LookedTrial] = field(default_factory=list)
    recorded: list[RecordedTrial] = field(default_factory=list)
    rounds: Rounds | None = None

    @property
    def points(self) -> Points:
        """The observations of the first pass by sweep point."""
        return [(trial.result.point, trial.observation) for trial in self.timed]


@dataclass(frozen=True)
class Recorder:
    """The backend and collector of a run, and the folder of one case."""

    backend: Backend
    collector: Collector
    folder: Path

    def path(self, key: TrialKey, attempt: str = "") -> Path:
        """The trace file of a trial; *attempt* distinguishes repeated recordings."""
        return self.folder / f"{key.stem}{attempt}{TRACE_SUFFIX}"
