"""Runs a suite that is fully written: opens or resumes its run, measures, saves and prints.

In a process that another one started to work on the suite, it does that work and ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ttprof import baseline, rerun, session
from ttprof.baseline import Baseline
from ttprof.engine import backends, isolation, opening
from ttprof.engine import journal as journals
from ttprof.engine.backends import Backend
from ttprof.engine.journal import Journal
from ttprof.engine.suite_run import Ended, record_suite, run_suite, supervise_suite, work
from ttprof.errors import SpecError
from ttprof.plan.process_state import preserved_random_state
from ttprof.rerun import AnyRequest, WorkRequest
from ttprof.result import RESULT_FILE, SuiteResult
from ttprof.result_file import load
from ttprof.run import environment
from ttprof.session import Session
from ttprof.shards import ShardLabel
from ttprof.spec import SuiteSpec
from ttprof.system import children, signals

with preserved_random_state():  # rich draws a number when it is imported
    from ttprof.report import publish


@dataclass(frozen=True)
class SuiteLaunch:
    """A suite that is ready to run, and how.

    *suite* has the cases of its *shard* only. *isolate* runs it in processes of its own, *quiet* prints nothing.
    """

    suite: SuiteSpec
    backend: Backend
    baseline: Baseline | None = None
    shard: ShardLabel | None = None
    isolate: bool = False
    quiet: bool = False


def run(launch: SuiteLaunch) -> Ended:
    """Run a suite, save and print its result, and return it; the caller then calls ``stop_if_interrupted``.

    Raises:
        SpecError: the suite can't be isolated, or the run that it should resume is another one.
    """
    if children.imports_in_child():
        raise SpecError("a child process imports this script; put the suite under if __name__ == '__main__':")
    request = rerun.read_request()
    if request is not None:
        return _in_second_process(launch, request)
    launch.backend.ready(launch.suite)
    if launch.isolate:
        isolation.check(launch.suite)
    surrounding = session.current() or Session()
    output = publish.Verbosity(launch.quiet or not launch.suite.cases, surrounding.verbose)
    with signals.raised():
        with surrounding.exclusive(str(launch.suite.device)):
            ended = _measured(launch, surrounding, output)
        try:
            publish.publish(ended.result, output, ended.problem)
        except KeyboardInterrupt as stop:
            ended = replace(ended, stop=ended.stop or stop)
            publish.publish(ended.result, output, ended.problem)
    rerun.finish(ended.result.run_dir)
    surrounding.results.append(ended.result)
    return ended


def save_baseline(result: SuiteResult, path: Path) -> Path:
    """Save a run as a baseline; say so if the machine was busy. Raises SpecError if the run can't be one."""
    if (reason := baseline.reason_unfit(result)) is not None:
        raise SpecError(f"this run can't be a baseline: {reason}")
    saved = baseline.of(result)
    written = saved.save(path)
    if saved.caveat:
        publish.complain(f"{path} was {saved.caveat}; save it again when the machine is quiet")
    return written


def is_repeated_in_child(name: str) -> bool:
    """Whether this is a child process that imports the script, where the suite must not run again; says so."""
    if not children.imports_in_child():
        return False
    publish.complain(
        f"{name} does not run in a child process that imports its script; put it under if __name__ == '__main__':"
    )
    return True


def _measured(launch: SuiteLaunch, surrounding: Session, output: publish.Verbosity) -> Ended:
    """Open the run, or the one to resume, and run what is missing."""
    suite = launch.suite
    journal = _open(launch, surrounding, output)

    def abandon(result: SuiteResult) -> NoReturn:
        publish.publish(result, output)
        surrounding.results.append(result)
        surrounding.conclude()
        sys.stdout.flush()
        os._exit(1)

    with publish.progress(suite.name, [case.name for case in suite.cases], output) as progress:
        if launch.isolate:
            return supervise_suite(suite, journal, progress)
        return run_suite(suite, launch.backend, journal, progress, abandon)


def _open(launch: SuiteLaunch, surrounding: Session, output: publish.Verbosity) -> Journal:
    described = environment.describe(launch.suite.device)
    opened = opening.plan(launch.suite, launch.backend.name, launch.baseline, launch.shard, described)
    for folder in surrounding.resume:
        if journals.read(folder).opened.suite == opened.suite:
            surrounding.resumed.append(folder)
            journal = opening.resumed_run(folder, opened)
            publish.note(opening.taken_over(journal), output)
            return journal
    if surrounding.resume:
        publish.note(f"{opened.suite} is no suite of the runs to resume: all of it is measured", output)
    return opening.new_run(launch.suite, opened)


def stop_if_interrupted(ended: Ended) -> None:
    """Raise what ended a run before its time; what was measured has been judged, saved and printed.

    Raises:
        KeyboardInterrupt: a signal, Ctrl-C for example.
        SystemExit: SIGTERM or SIGHUP in a script that Python runs; the code is 128 + the number of the signal.
    """
    if ended.stop is None:
        return
    number = signals.number_of(ended.stop)
    if number in (0, signal.SIGINT) or session.current() is not None:
        raise ended.stop
    raise SystemExit(signals.exit_code(number)) from ended.stop


def _in_second_process(launch: SuiteLaunch, request: AnyRequest) -> Ended:
    """Return the result of a suite that was finished before; do the work on the requested one, and end the process."""
    number = len(rerun.finished())
    if number == len(request.earlier):
        silent = publish.Silent()
        if isinstance(request, WorkRequest):
            problem = work(launch.suite, backends.find(request.backend), request, silent)
            if problem:
                publish.complain(problem)
            rerun.end(1 if problem else 0)
        record_suite(launch.suite, launch.backend, request, silent)
        rerun.end()
    if number > len(request.earlier):
        raise SpecError("a suite runs within another one")
    result = load(Path(request.earlier[number]) / RESULT_FILE)
    rerun.finish(request.earlier[number])
    return Ended(result)
