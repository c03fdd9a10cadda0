"""The one door to all documents: a key enters, JSON leaves.

A key is what the front end asks for, as words between slashes: ``runs``, ``run/ID``, ``case/ID/3``,
``scaling/ID/3``, ``trace/ID/3/0``, ``timeline/ID/3/0/-1``, ``compare/ID/ID``, ``diff/ID/ID/3/0``, ``history/ID/3``.
It holds ids and numbers only: never a name, and never a path.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.dashboard import comparing, documents, scaling, traces
from ttprof.dashboard.runs import Run
from ttprof.errors import ResultFileError, TraceError
from ttprof.result import TrialResult
from ttprof.trace.analyses.diff import diff
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto

Thing = TypeVar("Thing")

KEPT_TRACES = 2

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
"""The kinds of document, and what follows each in its key."""


class Source(Protocol):
    """Where runs come from: a log directory, or the results of a report."""

    def runs(self) -> list[Run]:
        """All runs, the one to show first at the front."""


class Archive:
    """Answers keys over the runs of a *source*; the traces that were asked for last stay in memory."""

    def __init__(self, source: Source, log_directory: str) -> None:
        self._source = source
        self._log_directory = log_directory
        self._lock = threading.Lock()  # TensorBoard asks from several threads
        self._traces: dict[tuple[Path, int], Attribution] = {}

    def answer(self, key: str) -> bytes:
        """The JSON of a document. Raises ResultFileError or TraceError, which say why there is none."""
        kind, *parts = key.split("/")
        shape = KEYS.get(kind)
        if shape is None or len(shape) != len(parts):
            raise ResultFileError(f"{key[:80]!r} names no document")
        if not all(re.fullmatch(pattern, part) for pattern, part in zip(shape, parts, strict=True)):
            raise ResultFileError(f"{key[:80]!r} names no document")
        with self._lock:
            return msgspec.json.encode(self._document(kind, parts))

    def _document(self, kind: str, parts: list[str]) -> msgspec.Struct:
        if kind == "runs":
            return documents.runs(self._log_directory, self._source.runs())
        run, *rest = parts
        found = self.find(run)
        if kind == "run":
            return documents.run(found)
        if kind == "compare":
            return comparing.compare(found, self.find(rest[0]))
        if kind == "diff":
            return self._diff(found, self.find(rest[0]), int(rest[1]), int(rest[2]))
        return self._of_case(kind, found, [int(number) for number in rest])

    def _of_case(self, kind: str, run: Run, numbers: list[int]) -> msgspec.Struct:
        case = _at(run.read.cases, numbers[0], "case")
        if kind == "case":
            return documents.case(numbers[0], case)
        if kind == "scaling":
            return scaling.scaling(case)
        if kind == "history":
            return comparing.history(self._source.runs(), run, case)
        owners = self._owners(run, _at(case.trials, numbers[1], "trial"))
        return traces.trace(owners) if kind == "trace" else traces.lanes(owners, numbers[2])

    def find(self, run: str) -> Run:
        """The run with an id."""
        for each in self._source.runs():
            if each.id == run:
                return each
        raise ResultFileError("this run is not there (any more)")

    def shortened(self, run: str, case: int, trial: int, most: int) -> tuple[int, int, bytes]:
        """The typical iteration's number, how many events were left out, and the JSON of its *most* longest ones."""
        found = self.find(run)
        owners = self._owners(found, found.read.cases[case].trials[trial])
        iteration = traces.typical(owners)
        document = traces.lanes(owners, iteration, most)
        return iteration, document.left_out, msgspec.json.encode(document)

    def _diff(self, base: Run, new: Run, case: int, trial: int) -> msgspec.Struct:
        """The kernels and ops of a case of the new run against those of the same case and point of the base."""
        after = _at(new.read.cases, case, "case")
        point = _at(after.trials, trial, "trial")
        for old in base.read:
            for known in old.trials:
                if old.module_name == after.module_name and known.point == point.point:
                    return diff(self._owners(base, known).trace, self._owners(new, point).trace)
        raise TraceError("the base has no such case", TraceErrorCode.NOT_COMPARABLE)

    def _owners(self, run: Run, trial: TrialResult) -> Attribution:
        path = run.trace_file(trial)
        key = path, path.stat().st_mtime_ns
        try:
            found = self._traces.pop(key, None) or Attribution(kineto.read(path, processes=1))
        except TraceError as error:
            raise TraceError(run.relative(str(error)), error.code) from error
        self._traces[key] = found
        while len(self._traces) > KEPT_TRACES:
            del self._traces[next(iter(self._traces))]
        return found


def _at(found: list[Thing], index: int, what: str) -> Thing:
    """The element at an index. Raises ResultFileError where there is none."""
    if index >= len(found):
        raise ResultFileError(f"this run has no {what} {index}")
    return found[index]
