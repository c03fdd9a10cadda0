"""The events of a run, as its journal keeps them: what was planned, begun, timed, recorded, and how it ended.

Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ttprof import thresholds
from ttprof.baseline import Baseline
from ttprof.judge.verdicts import Rounds
from ttprof.measurement import LooksMade
from ttprof.observation import Observation, Recording, Timing
from ttprof.result import Environment, TrialResult
from ttprof.shards import ShardLabel
from ttprof.spec import Expected
from ttprof.verdict import Status, Verdict

JOURNAL_VERSION = 1
"""Version of its format; it goes up as ``FORMAT_VERSION`` does."""

Stage = Literal["timing", "looking", "recording"]
"""The passes over the cases of a suite; only cases that would fail are looked at again."""

Reading = dict[str, int]
"""The times of the parts of the yardstick, in ns."""


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
    threshold: float = thresholds.DEFAULT
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

    ``rounds`` are the samples of its scaling if that was measured apart, ``seconds`` those of each phase. ``readings``
    are those of the yardstick before and after, ``process`` tells the processes of a run apart.
    """

    case: str
    verdicts: list[Verdict] = []
    trials: list[TimedTrial] = []
    rounds: Rounds | None = None
    seconds: dict[str, float] = {}
    process: int = 0
    readings: list[Reading] = []

    @property
    def final(self) -> bool:
        """Whether the case ended here, by an ERROR or a SKIP, and has nothing to record."""
        return not self.trials and any(v.status in (Status.ERROR, Status.SKIP) for v in self.verdicts)


class Doubted(Event, frozen=True, kw_only=True):
    """A time of the case would fail: it is to be timed once more."""

    case: str


class LookedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """Later timings of a trial: that of its module, and that of its reference if there is one."""

    module: Timing
    reference: Timing | None = None


class CaseLooked(Event, frozen=True, kw_only=True, tag="looked"):
    """A case was timed once more; without trials, that was impossible, and *problem* is a clause that says why."""

    case: str
    trials: list[LookedTrial] = []
    problem: str = ""
    seconds: dict[str, float] = {}
    process: int = 0
    readings: list[Reading] = []


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
    """The run has ended: ``complete``, or before its time, by a *signal* if it is not 0, and what it timed again."""

    signal: int = 0
    complete: bool = True
    looks: LooksMade | None = None


class Refused(Event, frozen=True, kw_only=True):
    """A second process did not run the suite; the reason is a sentence."""

    reason: str


AnyEvent = Opened | Resumed | Began | Entered | CaseTimed | Doubted | CaseLooked | CaseRecorded | Closed | Refused


@dataclass
class CaseEvents:
    """What a journal holds of one case: the outcomes of its passes, and the pass and phase that were under way last.

    ``doubts`` is how many looks were asked for, ``looks`` those that were made.
    """

    timed: CaseTimed | None = None
    recorded: CaseRecorded | None = None
    doubts: int = 0
    looks: list[CaseLooked] = field(default_factory=list)
    under_way: Stage | None = None
    phase: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing of the case is left to measure."""
        return self.recorded is not None or (self.timed is not None and self.timed.final)

    def missing(self, stage: Stage) -> bool:
        """Whether this pass of the case is still to be run."""
        if stage == "timing":
            return self.timed is None
        if stage == "looking":
            return self.doubts > len(self.looks)
        return self.timed is not None and not self.final
