"""Runs a suite: here or in workers, for its journal, for a supervisor, or for Nsight."""

from __future__ import annotations

import faulthandler
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ttprof.engine import isolation, looking
from ttprof.engine import journal as journals
from ttprof.engine.backends import Backend
from ttprof.engine.events import CaseTimed, Closed, Refused
from ttprof.engine.isolation import Supervisor
from ttprof.engine.journal import Journal
from ttprof.engine.judging import SuiteJudge
from ttprof.engine.looking import ConfirmBudget
from ttprof.engine.suite_passes import Progress, SuiteCases, SuitePasses, recording_of, skipped
from ttprof.errors import ending_runs, ends_a_run
from ttprof.measurement import LooksMade
from ttprof.rerun import AnyRequest, RecordRequest, WorkRequest
from ttprof.result import SuiteResult
from ttprof.run.ranges import RangeCollector
from ttprof.spec import SuiteSpec
from ttprof.system import signals


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    ``stop`` is the exception that ended it before its time, such as KeyboardInterrupt. ``problem`` says what the
    journal could not keep; empty if it kept everything.
    """

    result: SuiteResult
    stop: BaseException | None = None
    problem: str = ""


class _CasesInOrder:
    """Judges the cases of a run in their order, each as soon as nothing of it is left to measure."""

    def __init__(self, journal: Journal, progress: Progress) -> None:
        self.judge = SuiteJudge(journal)
        self._journal = journal
        self._progress = progress
        self._left = [case.name for case in journal.opened.cases]

    def advance(self) -> None:
        """Judge the next cases that are final."""
        while self._left and self._journal.cases[self._left[0]].final:
            self._done(self._left.pop(0))

    def abandon(self) -> SuiteResult:
        """The result of a run that can't go on."""
        return self._close(Closed(complete=False), None).result

    def end(self, stop: BaseException | None, looks: LooksMade | None) -> Ended:
        """Judge the other cases as they are, and close the journal."""
        number = signals.number_of(stop) if stop is not None else 0
        return self._close(Closed(signal=number, complete=stop is None, looks=looks), stop)

    def _close(self, closed: Closed, stop: BaseException | None) -> Ended:
        self._journal.add(closed)
        self._journal.give_up()
        while self._left:
            self._done(self._left.pop(0))
        return Ended(self.judge.result(), stop, self._journal.problem)

    def _done(self, name: str) -> None:
        self._progress.done(self.judge.case(name, lambda phase: self._progress.phase(name, phase)))


def run_suite(
    suite: SuiteSpec, backend: Backend, journal: Journal, progress: Progress, abandon: Callable[[SuiteResult], object]
) -> Ended:
    """Run the passes that *journal* lacks, and judge every case.

    An error in a module ends its case as ERROR, never the run. If a case can't be ended at all, *abandon* gets the
    result in another thread, and has to end the process.
    """
    judged, began = _CasesInOrder(journal, progress), time.monotonic()
    run = SuitePasses(suite, backend, journal, progress, suite.timeout_s, lambda: abandon(judged.abandon()))
    looks = None
    try:
        run.time()
        if run.stop is None and suite.confirm_s != 0:
            budget = ConfirmBudget.of(suite.confirm_s, began)
            _look_again(suite, journal, progress, run, budget)
            looks = budget.used_on(journal)
        run.record(judged.advance)
    except ends_a_run() as stop:  # between two passes of cases, which keep it themselves
        run.stop = run.stop or stop
    return judged.end(run.stop, looks)


def _look_again(
    suite: SuiteSpec, journal: Journal, progress: Progress, run: SuitePasses, budget: ConfirmBudget
) -> None:
    """Time the cases that would fail once more: here, after all others, then in processes of their own."""
    if budget.left > 0 and (doubted := looking.doubt(journal)):
        run.look(budget.per_case(len(doubted)), budget.until)
    if run.stop is None and isolation.unrepeatable() is None:
        _look_in_processes(Supervisor(suite, journal, progress.phase), budget, 1)


def _look_in_processes(supervisor: Supervisor, budget: ConfirmBudget, certain: int) -> None:
    """Time the cases that would still fail in *certain* fresh processes, and in more while the machine excuses them."""
    for number in range(looking.ROUNDS - 1):
        codes = looking.DOUBTED if number < certain else looking.EXCUSED
        doubted = looking.doubt(supervisor.journal, codes) if budget.left > 0 else []
        if not doubted:
            return
        supervisor.until, supervisor.seconds = budget.until, budget.per_case(len(doubted))
        supervisor.run("looking", _nothing)
        supervisor.until, supervisor.seconds = math.inf, 0.0


def supervise_suite(suite: SuiteSpec, journal: Journal, progress: Progress) -> Ended:
    """Run the passes that *journal* lacks in processes of their own, and judge every case."""
    judged, stop, looks, began = _CasesInOrder(journal, progress), None, None, time.monotonic()
    for spec in suite.cases:
        if (verdict := skipped(spec)) is not None and journal.cases[spec.name].missing("timing"):
            journal.add(CaseTimed(case=spec.name, verdicts=[verdict]))
    supervisor = Supervisor(suite, journal, progress.phase)
    try:
        progress.begin_pass("timing")
        supervisor.run("timing", _nothing)
        if suite.confirm_s != 0:
            budget = ConfirmBudget.of(suite.confirm_s, began)
            _look_in_processes(supervisor, budget, 2)
            looks = budget.used_on(journal)
        progress.begin_pass("recording")
        supervisor.run("recording", judged.advance)
    except KeyboardInterrupt as error:
        stop = error
    return judged.end(stop, looks)


def work(suite: SuiteSpec, backend: Backend, request: WorkRequest, progress: Progress) -> str:
    """In a worker: run one pass of *suite*, as far as the journal that *request* names lacks it.

    What a module raises ends its case, KeyboardInterrupt too: the user interrupts the supervisor. Returns what the
    journal could not keep; empty if it kept everything.
    """
    journal = journals.resume(Path(request.folder))
    missing = set(request.cases) - {case.name for case in suite.cases}
    if missing or numberless(suite.name) != numberless(request.suite):
        journal.add(Refused(reason=_another_suite(suite, request)))
        return ""
    wanted = tuple(case for case in suite.cases if case.name in request.cases)
    run = SuitePasses(replace(suite, cases=wanted), backend, journal, progress, math.inf, _nothing)
    if request.cut:
        run.cut_captures()
    with ending_runs(()), Path(request.stack).open("w", encoding="utf-8") as stack:
        faulthandler.enable(stack)
        if request.stage == "timing":
            run.time()
        elif request.stage == "looking":
            run.look(request.seconds, math.inf)
        else:
            run.record(_nothing)
        faulthandler.enable()
    return journal.problem


def _nothing() -> None:
    pass


def record_suite(suite: SuiteSpec, backend: Backend, request: RecordRequest, progress: Progress) -> None:
    """Run every case of *suite* inside NVTX ranges and save the answer in the folder that *request* names.

    Raises:
        NsightError: This process can't create NVTX ranges.
    """
    recording = recording_of(suite, Path(request.folder).parent)
    collector = RangeCollector(recording, request.replayed)
    try:
        if (numberless(suite.name), list(recording.cases)) == (numberless(request.suite), request.cases):
            SuiteCases(suite, progress).record_all(backend, collector)
        else:
            collector.answer.error = _another_suite(suite, request)
    finally:
        collector.answer.save(Path(request.folder))


def _another_suite(suite: SuiteSpec, request: AnyRequest) -> str:
    return (
        f"the second run of the script ran a different suite: {suite.name!r} with the cases "
        f"{', '.join(case.name for case in suite.cases)}, not {request.suite!r} with {', '.join(request.cases)}"
    )


def numberless(name: str) -> str:
    """The name of a suite without the number that ``ttprof run`` appends to a repeated name."""
    return re.sub(r"#\d+$", "", name)
