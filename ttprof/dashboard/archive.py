"""Serves every document of the front end: maps a key to JSON.

A key is a document kind and its ids and numbers, separated by slashes: ``runs``, ``run/ID``, ``case/ID/3``,
``scaling/ID/3``, ``trace/ID/3/0``, ``timeline/ID/3/0/-1``, ``compare/ID/ID``, ``diff/ID/ID/3/0``, ``history/ID/3``.
A key never contains a name or a path, so a request cannot point outside the log directory.
"""

from __future__ import annotations

import re
import threading
from typing import Protocol, TypeVar

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.dashboard import comparing, documents, scaling, traces
from ttprof.dashboard.runs import Run
from ttprof.dashboard.trace_cache import TraceCache
from ttprof.errors import ResultFileError, TraceError
from ttprof.result import TrialResult
from ttprof.system.homes import struct_without_homes
from ttprof.trace.analyses.diff import diff
from ttprof.trace.attribution import Attribution

T = TypeVar("T")

COMPUTED_AT_ONCE = 2
"""Documents of traces that are computed at the same time: some hold several times the size of the trace."""

ID, NUMBER, ITERATION = r"[0-9a-f]{16}", r"\d{1,6}", r"-1|\d{1,6}"

KEYS = {
    "runs": (),
    "run": (ID,),
    "case": (ID, NUMBER),
    "scaling": (ID, NUMBER),
    "trace": (ID, NUMBER, NUMBER),
    "timeline": (ID, NUMBER, NUMBER, ITERATION),
    "compare": (ID, ID),
    "diff": (ID, ID, NUMBER, NUMBER),
    "history": (ID, NUMBER),
}
"""The document kinds, each with the patterns of the parts that follow it in a key."""


class RunSource(Protocol):
    """Provides runs, from a log directory or from the results of one report."""

    def runs(self) -> list[Run]:
        """All runs, in the order of the run list: the first is shown by default."""


class Archive:
    """Answers keys over the runs of a *source*, with the most recently used traces cached in memory.

    TensorBoard calls from several threads: documents without a trace wait for nothing, and the others for their own.
    """

    def __init__(self, source: RunSource, log_directory: str) -> None:
        self._source = source
        self._log_directory = log_directory
        self._traces = TraceCache()
        self._computing = threading.BoundedSemaphore(COMPUTED_AT_ONCE)

    def answer(self, key: str) -> bytes:
        """Return the JSON of the document that *key* names, with ``~`` for home folders: pages are shared.

        Raises:
            ResultFileError: the key is malformed, or there is no such run, case or trial.
            TraceError: the trace that the document needs is missing or unreadable.
        """
        kind, *parts = key.split("/")
        patterns = KEYS.get(kind)
        if patterns is None or len(patterns) != len(parts):
            raise ResultFileError(f"{key[:80]!r} is not a document key")
        if not all(re.fullmatch(pattern, part) for pattern, part in zip(patterns, parts, strict=True)):
            raise ResultFileError(f"{key[:80]!r} is not a document key")
        return msgspec.json.encode(struct_without_homes(self._document(kind, parts)))

    def find(self, run_id: str) -> Run:
        """Return the run with an id. Raises ResultFileError if there is none."""
        for run in self._source.runs():
            if run.id == run_id:
                return run
        raise ResultFileError("no run has this id: it may have been deleted or renamed; choose another run")

    def longest_events(self, run_id: str, case: int, trial: int, limit: int) -> tuple[int, int, bytes]:
        """Return a timeline that is cut to its *limit* longest events.

        Returns:
            The number of the typical iteration, how many events were left out, and the JSON of the timeline document.
        """
        run = self.find(run_id)
        attribution = self._attribution(run, run.read.cases[case].trials[trial])
        iteration = traces.typical(attribution)
        document = traces.lanes(attribution, iteration, limit)
        return iteration, document.left_out, msgspec.json.encode(struct_without_homes(document))

    def _document(self, kind: str, parts: list[str]) -> msgspec.Struct:
        if kind == "runs":
            return documents.runs(self._log_directory, self._source.runs())
        run_id, *rest = parts
        run = self.find(run_id)
        if kind == "run":
            return documents.run(run)
        if kind == "compare":
            return comparing.compare(run, self.find(rest[0]))
        if kind == "diff":
            return self._diff(run, self.find(rest[0]), int(rest[1]), int(rest[2]))
        return self._case_document(kind, run, [int(number) for number in rest])

    def _case_document(self, kind: str, run: Run, numbers: list[int]) -> msgspec.Struct:
        case = _at(run.read.cases, numbers[0], "case")
        if kind == "case":
            return documents.case(numbers[0], case)
        if kind == "scaling":
            return scaling.scaling(case)
        if kind == "history":
            return comparing.history(self._source.runs(), run, case)
        attribution = self._attribution(run, _at(case.trials, numbers[1], "trial"))
        with self._computing:
            return traces.trace(attribution) if kind == "trace" else traces.lanes(attribution, numbers[2])

    def _diff(self, base: Run, new: Run, case: int, trial: int) -> msgspec.Struct:
        """Compare the kernels and ops of a trial in the new run with those of the same case and point in the base."""
        new_case = _at(new.read.cases, case, "case")
        new_trial = _at(new_case.trials, trial, "trial")
        for base_case in base.read:
            for base_trial in base_case.trials:
                if base_case.module_name == new_case.module_name and base_trial.point == new_trial.point:
                    before, after = self._attribution(base, base_trial), self._attribution(new, new_trial)
                    with self._computing:
                        return diff(before.trace, after.trace)
        raise TraceError("the base run has no such case", TraceErrorCode.NOT_COMPARABLE)

    def _attribution(self, run: Run, trial: TrialResult) -> Attribution:
        path = run.trace_file(trial)
        return self._traces.read(path, run.display_path(path))


def _at(items: list[T], index: int, kind: str) -> T:
    if index >= len(items):
        raise ResultFileError(f"this run has no {kind} {index}")
    return items[index]
