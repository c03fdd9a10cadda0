"""The events of a run, as its journal keeps them: what was planned, begun, timed, recorded, and how it ended.

Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ttprof.baseline import Baseline
from ttprof.judge.verdicts import Rounds
from ttprof.observation import Observation, Recording
from ttprof.result import Environment, TrialResult
from ttprof.shards import ShardLabel
from ttprof.spec import Expected
from ttprof.verdict import Status, Verdict

JOURNAL_VERSION = 1
"""Version of its format; it goes up as ``FORMAT_VERSION`` does."""

Stage = Literal["timing", "recording"]
"""The passes over the cases of a suite."""


class PlannedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case before it runs: what its result and its judging need, and its settings as text, to compare two runs."""

    name: str
    module_type: str
    source: str
    expected: Expected
    settings: dict[str, str] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """One line of the journal."""


class Opened(Event, frozen=True, kw_only=True):
    """The first line: the suite as it was planned, where it runs, and the baseline that it is compared with.

    ``code`` is a hash of the user's source files.
    """

    version: int = JOURNAL_VERSION
    suite: str
    started: str
    environment: Environment
    cases: list[PlannedCase]
    settings: dict[str, str] = {}
    code: str = ""
    strict: bool = False
    backend: str = "torch"
    baseline: Baseline | None = None
    shard: ShardLabel | None = None


class Resumed(Event, frozen=True, kw_only=True):
    """Another process went on with the run."""

    at: str


class Began(Event, frozen=True, kw_only=True):
    """A pass of a case begins."""

    case: str
    stage: Stage


class Entered(Event, frozen=True, kw_only=True):
    """The pass under way enters a phase."""

    phase: str


class TimedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What the first pass observed of a trial, without a trace, and the part of its result that is final."""

    observation: Observation
    result: TrialResult

    def __post_init__(self) -> None:
        if self.observation.trace is not None:
            raise ValueError("a timed trial has no trace yet")


class CaseTimed(Event, frozen=True, kw_only=True, tag="timed"):
    """The first pass of a case has ended, with its verdicts on numerics, or the error or skip that ended the case.

    ``rounds`` are the samples of its scaling if that was measured apart, ``seconds`` those of each phase.
    """

    case: str
    verdicts: list[Verdict] = []
    trials: list[TimedTrial] = []
    rounds: Rounds | None = None
    seconds: dict[str, float] = {}

    @property
    def final(self) -> bool:
        """Whether the case ended here, by an ERROR or a SKIP, and has nothing to record."""
        return not self.trials and any(v.status in (Status.ERROR, Status.SKIP) for v in self.verdicts)


class RecordedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings of a trial: that of its module, and that of its reference if there is one."""

    module: Recording
    reference: Recording | None = None


class CaseRecorded(Event, frozen=True, kw_only=True, tag="recorded"):
    """The second pass of a case has ended: the error that ended it, if any, and the recordings of its first trials."""

    case: str
    verdicts: list[Verdict] = []
    trials: list[RecordedTrial] = []
    rounds: Rounds | None = None
    seconds: dict[str, float] = {}


class Closed(Event, frozen=True, kw_only=True):
    """The run has ended: ``complete``, or before its time, by a *signal* if it is not 0."""

    signal: int = 0
    complete: bool = True


class Refused(Event, frozen=True, kw_only=True):
    """A second process did not run the suite; the reason is a sentence."""

    reason: str


AnyEvent = Opened | Resumed | Began | Entered | CaseTimed | CaseRecorded | Closed | Refused


@dataclass
class CaseEvents:
    """What a journal holds of one case: the outcomes of its passes, and the pass and phase that were under way last."""

    timed: CaseTimed | None = None
    recorded: CaseRecorded | None = None
    under_way: Stage | None = None
    phase: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing of the case is left to measure."""
        return self.recorded is not None or (self.timed is not None and self.timed.final)

    def missing(self, stage: Stage) -> bool:
        """Whether this pass of the case is still to be run."""
        return self.timed is None if stage == "timing" else self.timed is not None and not self.final
