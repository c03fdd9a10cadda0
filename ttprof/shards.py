"""Shards of a suite: which cases one of several machines runs, and what it compares with a baseline.

The order of the cases is that of a hash of their names, so it depends neither on the order of registration nor on the
process. Must not import torch.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import msgspec

from ttprof.baseline import Baseline
from ttprof.codes import VerdictCode
from ttprof.errors import SpecError
from ttprof.result import CaseResult, SuiteResult
from ttprof.spec import CaseSpec


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``, counted from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``2/8``. Raises SpecError for anything but two numbers up to 9999, the first from 1 to the second."""
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text, re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise SpecError(f"a shard is K/N with K from 1 to N, for example 2/8, got {text!r}")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, suite: str, cases: list[str]) -> set[str]:
        """The names of every ``count``-th case from the ``index``-th, in the order of their hashes."""
        return set(sorted(cases, key=lambda case: _hash(suite, case))[self.index - 1 :: self.count])


@dataclass(frozen=True)
class Part:
    """The cases of a suite that run here: those of a shard, or all of them without one."""

    suite: str
    registered: tuple[CaseSpec, ...]
    shard: Shard | None

    @classmethod
    def of(cls, suite: str, registered: tuple[CaseSpec, ...], shard: str) -> Part:
        """The part of a suite that *shard* is (``2/8``); the whole suite if it is empty. Raises SpecError."""
        return cls(suite, registered, Shard.parse(shard) if shard else None)

    @property
    def names(self) -> list[str]:
        """The names of all cases of the suite, in registration order."""
        return [case.name for case in self.registered]

    @property
    def cases(self) -> tuple[CaseSpec, ...]:
        """The cases that run here, in registration order."""
        if self.shard is None:
            return self.registered
        own = self.shard.of(self.suite, self.names)
        return tuple(case for case in self.registered if case.name in own)

    def baseline(self, base: Baseline | None) -> Baseline | None:
        """The trials of a baseline that this part answers for; None if it measured none of them.

        A case that the suite no longer has is missing from every shard, so only the first reports it.
        """
        if base is None or self.shard is None:
            return base
        elsewhere = set(self.names) - {case.name for case in self.cases}
        if self.shard.index == 1:
            trials = [trial for trial in base.trials if trial.case not in elsewhere]
        else:
            own = set(self.names) - elsewhere
            trials = [trial for trial in base.trials if trial.case in own]
        measured = any(trial.measurements for trial in trials)
        return msgspec.structs.replace(base, trials=trials) if measured else None

    def label(self, base: Baseline | None) -> ShardLabel | None:
        """What a result says of the shard that it is; None for a whole suite."""
        if self.shard is None:
            return None
        shared = base is not None and any(t.measurements and t.case in self.names for t in base.trials)
        return ShardLabel(shard=str(self.shard), suite_cases=self.names, shares_baseline=shared)


class ShardLabel(msgspec.Struct, frozen=True, kw_only=True):
    """The shard that a run is, the names of all cases of its suite, and whether the suite has some of its baseline.

    That a shard itself has no metric in common with the baseline is then no error.
    """

    shard: str
    suite_cases: list[str]
    shares_baseline: bool

    def put_on(self, result: SuiteResult) -> SuiteResult:
        """The result of this shard."""
        cases = [case for case in result if not (self.shares_baseline and _has_nothing_in_common(case))]
        return msgspec.structs.replace(result, cases=cases, shard=self.shard, suite_cases=self.suite_cases)


def _has_nothing_in_common(case: CaseResult) -> bool:
    return any(verdict.code is VerdictCode.NOTHING_IN_COMMON for verdict in case.verdicts)


def _hash(suite: str, case: str) -> bytes:
    """A hash that is the same in every process and on every machine, unlike that of ``hash()``."""
    return hashlib.sha256(f"{suite}\0{case}".encode()).digest()
