"""Runs the passes of a suite in processes of their own, and survives whatever its modules do to them.

The supervisor starts the user's script again as a worker, which runs the cases in order and appends to the journal.
When the worker dies, hangs or uses too much memory, the case under way ends as ERROR and a new worker goes on with the
next. Timing and recording are separate workers, so that no profiler has ever run in a process that is timed. Must not
import torch.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ttprof import rerun
from ttprof.codes import VerdictCode
from ttprof.engine.events import AnyEvent, Began, CaseLooked, CaseRecorded, CaseTimed, Entered, Refused, Stage
from ttprof.engine.journal import Follower, Journal
from ttprof.engine.judging import verdict_on_run
from ttprof.engine.stacks import first_line, last_output
from ttprof.errors import SpecError
from ttprof.rerun import WorkRequest
from ttprof.spec import SuiteSpec
from ttprof.system.guarded import SUPPORTED, GuardedProcess
from ttprof.system.process import memory_of_tree
from ttprof.units import format_bytes
from ttprof.verdict import Status, Verdict

POLL_S = 0.05
"""How often the supervisor looks at its worker."""

START_S, STARTS = 60.0, 5.0
"""A worker may take this long, and this many times as long as this process, from its start to its first case."""

ABORT_S = 5.0
"""How long a worker may take to write its stack and end, once it is told to."""

OUT_OF_TIME = "the time for looking again (--confirm) was over"

SCRIPT_HINT = "put the suite into a script and type: ttprof run --isolate SCRIPT"

OnPhase = Callable[[str, str], None]


def check(suite: SuiteSpec) -> None:
    """Raise SpecError if the suite can't be isolated here."""
    if not SUPPORTED:
        raise SpecError("isolate=True needs fork and sessions, which this system does not have")
    if suite.memory_limit_mb is not None and memory_of_tree(os.getpid()) is None:
        raise SpecError("memory_limit_mb needs /proc, which this system does not have")
    _command()


def unrepeatable() -> str | None:
    """Why the cases of this script can't be looked at in a process of their own, as a clause; None if they can."""
    if not SUPPORTED:
        return "this system lacks fork and sessions"
    if threading.current_thread() is not threading.main_thread():
        return "suites in threads come in no fixed order"
    try:
        rerun.command()
    except rerun.NotRepeatable as why:
        return str(why)
    return None


def _command() -> list[str]:
    try:
        return rerun.command()
    except rerun.NotRepeatable as why:
        raise SpecError(f"isolate=True runs the script again in other processes, and {why}; {SCRIPT_HINT}") from why


@dataclass(frozen=True)
class End:
    """How a worker ended: a code and a clause without its subject, such as ``died of SIGSEGV``.

    ``speaks``: programs that end this way print why.
    """

    code: VerdictCode
    clause: str
    speaks: bool = False


@dataclass(eq=False)
class Supervisor:
    """Runs what the journal of a suite lacks in workers; *phase* receives each case and phase as it begins.

    The inputs of all cases are captured in one forward of the model. If a worker ends there, the next ones cut the
    forward at the module of each case, so that only those behind the fault are lost. *until* is when it ends its
    workers, by the monotonic clock, and *seconds* the time for each case, 0 for that of the suite.
    """

    suite: SuiteSpec
    journal: Journal
    phase: OnPhase
    workers: int = 0
    refusal: str = ""
    until: float = math.inf
    seconds: float = 0.0
    _cut: bool = False
    _follower: Follower = field(init=False)
    _not_reached: Verdict = field(init=False)

    def __post_init__(self) -> None:
        self._follower = Follower(self.journal)
        earlier = [re.match(r"worker-(\d+)\.", path.name) for path in self.journal.folder.glob("worker-*.*")]
        self.workers = max((int(match[1]) for match in earlier if match), default=0)

    def run(self, stage: Stage, advanced: Callable[[], None]) -> None:
        """Run one pass over all cases; *advanced* is called whenever the journal has grown."""
        self._follower.skip()  # what this process has added since the last worker
        advanced()
        while before := self._missing(stage):
            if time.monotonic() > self.until:
                for case in before:
                    self._fail(case, stage, verdict_on_run(Status.ERROR, VerdictCode.TIMED_OUT, OUT_OF_TIME))
                return
            cut = self._cut
            self._work(stage, advanced)
            if self._missing(stage) == before and self._cut == cut:
                for case in before:
                    self._fail(case, stage, self._not_reached)
            advanced()

    def _missing(self, stage: Stage) -> list[str]:
        return [name for name, case in self.journal.cases.items() if case.missing(stage)]

    def _work(self, stage: Stage, advanced: Callable[[], None]) -> None:
        """Run one worker to its end. The case that was under way then fails."""
        self.workers += 1
        files = _Files(self.journal.folder, self.workers)
        with files:
            self._work_with(files, stage, advanced)

    def _work_with(self, files: _Files, stage: Stage, advanced: Callable[[], None]) -> None:
        folder = rerun.STARTED_IN if rerun.STARTED_IN.is_dir() else Path(os.sep)
        try:
            with GuardedProcess(_command(), self._environment(stage, files), folder, files.log) as process:
                end = self._supervise(process, advanced)
        except OSError as error:
            end = End(VerdictCode.PROCESS_DIED, f"could not be started ({error})")
        self._follow(advanced)
        printed = f"; it printed last: {text}" if end.speaks and (text := last_output(files.log)) else ""
        case = self.journal.running
        if case is not None and self.journal.cases[case].phase == "capture" and not self._cut:
            self._cut = True
        elif case is not None:
            phase = self.journal.cases[case].phase
            during = f" during {phase}" if phase else ""
            at = f", at {line}" if (line := first_line(files.stack)) else ""
            reason = f"its process {end.clause}{during}{at}{printed}{files.kept()}"
            self._fail(case, stage, verdict_on_run(Status.ERROR, end.code, reason))
        not_reached = f"the process that runs the script again {end.clause} before it came to this case{printed}"
        self._not_reached = verdict_on_run(Status.ERROR, end.code, self.refusal or not_reached)

    def _environment(self, stage: Stage, files: _Files) -> Mapping[str, str]:
        request = WorkRequest(
            folder=str(self.journal.folder.resolve()),
            suite=self.suite.name,
            cases=self._missing(stage),
            earlier=list(rerun.finished()),
            raises=rerun.raises(),
            shard=rerun.shard(),
            stage=stage,
            backend=self.journal.opened.backend,
            stack=str(files.stack.resolve()),
            cut=self._cut,
            seconds=self.seconds,
        )
        return {**os.environ, "PYTHONFAULTHANDLER": "1", **rerun.save(request, files.request)}

    def _supervise(self, process: GuardedProcess, advanced: Callable[[], None]) -> End:
        """Follow the worker until it ends or breaks a limit, which ends it."""
        since, memory, limit_mb = time.monotonic(), 0, self.suite.memory_limit_mb
        started, bound = False, max(self.suite.timeout_s, START_S + STARTS * rerun.age())
        while not process.wait(POLL_S):
            if self._follow(advanced):
                since, bound, started = time.monotonic(), self.suite.timeout_s, True
            memory = memory_of_tree(process.pid) or memory if process.pid else memory
            if limit_mb is not None and memory > limit_mb * 2**20:
                self._abort(process)
                clause = f"used {format_bytes(memory)} of memory, over memory_limit_mb={limit_mb:g},"
                return End(VerdictCode.MEMORY_EXCEEDED, clause)
            if time.monotonic() > self.until:
                self._abort(process)
                return End(VerdictCode.TIMED_OUT, f"was ended: {OUT_OF_TIME}")
            if time.monotonic() - since > bound:
                self._abort(process)
                within = f"timeout_s={bound:g}" if started else f"{bound:.0f} s, although this one was faster,"
                return End(VerdictCode.TIMED_OUT, f"did not end within {within}")
        return _ended(process.status, memory)

    def _abort(self, process: GuardedProcess) -> None:
        """End a worker; faulthandler writes its stack on the way."""
        process.send(signal.SIGABRT)
        process.wait(ABORT_S)

    def _follow(self, advanced: Callable[[], None]) -> bool:
        """Take note of the new lines of the journal. Returns whether a pass of a case began or ended."""
        moved = False
        for event in self._follower.new_events():
            moved |= not isinstance(event, Entered)
            self._show(event)
        if moved:
            advanced()
        return moved

    def _show(self, event: AnyEvent) -> None:
        if isinstance(event, Refused):
            self.refusal = event.reason
        running = self.journal.running
        if running is not None and isinstance(event, (Began, Entered)):
            self.phase(running, event.phase if isinstance(event, Entered) else "starting")

    def _fail(self, case: str, stage: Stage, verdict: Verdict) -> None:
        """End a pass of a case with an error."""
        if stage == "looking":
            self.journal.add(CaseLooked(case=case, problem=verdict.reason))
        else:
            ended = CaseTimed if stage == "timing" else CaseRecorded
            self.journal.add(ended(case=case, verdicts=[verdict]))
        self._follower.skip()


def _ended(status: int | None, memory: int) -> End:
    """How a worker ended by itself."""
    if status is None:
        return End(VerdictCode.PROCESS_DIED, "was ended together with its guard")
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return End(VerdictCode.PROCESS_DIED, f"ended with exit code {code}", speaks=code != 0)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        used = f" ({format_bytes(memory)} in use)" if memory else ""
        return End(VerdictCode.PROCESS_DIED, f"was killed by SIGKILL{used}, as the system does when memory runs out,")
    return End(VerdictCode.PROCESS_DIED, f"died of {name}", speaks=-code == signal.SIGABRT)


@dataclass(frozen=True)
class _Files:
    """The files of one worker in the folder of its run: its request, its output, and the stack it died with."""

    folder: Path
    number: int

    @property
    def request(self) -> Path:
        return self.folder / f"worker-{self.number}.json"

    @property
    def log(self) -> Path:
        return self.folder / f"worker-{self.number}.log"

    @property
    def stack(self) -> Path:
        return self.folder / f"worker-{self.number}.stack"

    def kept(self) -> str:
        """A clause that names the file with the whole stack; empty without one."""
        try:
            return f" (stack in {self.stack})" if self.stack.stat().st_size else ""
        except OSError:
            return ""

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the request, and files that are empty."""
        for path in (self.request, self.log, self.stack):
            try:
                if path == self.request or not path.stat().st_size:
                    path.unlink()
            except OSError:
                continue
