"""The journal of a run: one line of JSON per event, appended as it happens, from which the run is judged.

Every outcome of a pass is on the disk before the next case begins, so that whatever ends the process loses no more
than the pass under way. Another process reads it to report, to resume or to supervise the run. Must not import torch.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ttprof.engine.events import (
    AnyEvent,
    Began,
    CaseEvents,
    CaseLooked,
    CaseRecorded,
    CaseTimed,
    Closed,
    Doubted,
    Entered,
    Opened,
    Resumed,
)
from ttprof.engine.lines import decode, encode
from ttprof.errors import ResultFileError
from ttprof.result import JOURNAL_FILE
from ttprof.system.files import Claim, open_regular

MAX_BYTES = 2**30
"""The most that is read of a journal; a case with 2,000 samples takes some 50 KB."""


class Journal:
    """The events of a run, in memory and in the journal of its *folder*.

    Only the process that made or continued it appends. If a line can't be written or read, ``problem`` says so; the
    events in memory stay complete, and later lines are tried again.
    """

    def __init__(self, folder: Path, opened: Opened) -> None:
        self.folder = folder
        self.opened = opened
        self.problem = ""
        self.closed: Closed | None = None
        self.resumed: list[Resumed] = []
        self.cases = {case.name: CaseEvents() for case in opened.cases}
        self._current: CaseEvents | None = None
        self._written = False
        self._claim: Claim | None = None
        self._process = os.getpid()

    @classmethod
    def create(cls, folder: Path, opened: Opened) -> Journal:
        """Begin the journal of a new run."""
        journal = cls(folder, opened)
        journal._write(opened)
        return journal

    def claim(self) -> None:
        """Keep other processes from resuming the run until this one ends or gives it up.

        Raises:
            ResultFileError: another process works on the run.
        """
        try:
            self._claim = Claim(self.path)
        except BlockingIOError as error:
            raise ResultFileError("another process works on this run", self.folder) from error
        except OSError as error:
            self.problem = f"{self.path} could not be locked: {error.strerror or error}"

    def take_claim(self, other: Journal) -> None:
        """Keep the claim of *other*, another reading of the same journal."""
        self._claim, other._claim = other._claim, None

    def give_up(self) -> None:
        """Let other processes resume the run."""
        if self._claim is not None:
            self._claim.give_up()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / JOURNAL_FILE

    def add(self, event: AnyEvent) -> None:
        """Append an event, and wait until it is on the disk.

        A child process that the code under test forked ends here: it must not run the suite a second time.
        """
        if os.getpid() != self._process:
            os._exit(1)
        self.apply(event)
        self._write(event)

    def apply(self, event: AnyEvent) -> None:
        """Take note of an event that is in the file."""
        if isinstance(event, Closed):
            self.closed = event
        elif isinstance(event, Resumed):
            self.resumed.append(event)
            self.closed = self._current = None
        elif isinstance(event, Entered):
            if self._current is not None:
                self._current.phase = event.phase
        elif isinstance(event, (Began, CaseTimed, Doubted, CaseLooked, CaseRecorded)) and event.case in self.cases:
            self._apply_to(self.cases[event.case], event)

    def _apply_to(self, case: CaseEvents, event: Began | CaseTimed | Doubted | CaseLooked | CaseRecorded) -> None:
        if isinstance(event, Began):
            case.under_way, case.phase, self._current = event.stage, "", case
            return
        if isinstance(event, Doubted):
            case.doubts += 1
            return
        case.under_way, self._current = None, None
        if isinstance(event, CaseTimed):
            case.timed = event
        elif isinstance(event, CaseLooked):
            case.looks.append(event)
        else:
            case.recorded = event

    @property
    def running(self) -> str | None:
        """The case whose pass began and has not ended."""
        return next((name for name, case in self.cases.items() if case is self._current), None)

    def _write(self, event: AnyEvent) -> None:
        """Append one line; all lines again if the file is gone, with the folder of the run or without."""
        lines = encode(event)
        if self._written and not self.path.exists():
            lines = b"".join(map(encode, self._outcomes(but=event))) + lines
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _append(self.path, lines, durable=not isinstance(event, Entered))
            self._written = True
        except OSError as error:
            self.problem = f"{self.path} could not be written: {error.strerror or error}"

    def _outcomes(self, but: AnyEvent) -> list[AnyEvent]:
        """The events from which the state of the run follows, without one that is about to be written."""
        doubts = [Doubted(case=name) for name, case in self.cases.items() for _ in range(case.doubts)]
        if isinstance(but, Doubted):
            doubts.remove(but)
        passes = (outcome for case in self.cases.values() for outcome in (case.timed, *case.looks, case.recorded))
        outcomes = [outcome for outcome in passes if outcome is not None and outcome is not but]
        return [self.opened, *self.resumed, *doubts, *outcomes]


def _append(path: Path, data: bytes, durable: bool) -> None:
    """Append *data* as a whole; what a full disk cut off is removed again. OSError if that fails."""
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if (written := file.write(data)) != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
            if durable:
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


class Follower:
    """Reads what another process appends to the journal of a run, and applies it to *journal*."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._file = 0
        self._end = 0
        self.skip()

    def skip(self) -> None:
        """Leave out what is in the file now: this process wrote it."""
        with suppress(OSError):
            state = self._journal.path.stat()
            self._file, self._end = state.st_ino, state.st_size

    def new_events(self) -> list[AnyEvent]:
        """The events since the last call; all of them if another file took the place of the journal."""
        try:
            state = self._journal.path.stat()
        except OSError:
            return []
        start = self._end if (state.st_ino, state.st_size >= self._end) == (self._file, True) else 0
        if state.st_size == start:
            return []
        try:
            lines = tail(self._journal.path, start)
        except ResultFileError as error:
            self._journal.problem = str(error)
            return []
        self._file, self._end = state.st_ino, lines.end
        self._journal.problem = lines.damage or self._journal.problem
        for event in lines.events:
            self._journal.apply(event)
        return lines.events


@dataclass(frozen=True)
class JournalLines:
    """The events of whole lines, the byte after the last one, and a clause on lines that are damaged."""

    events: list[AnyEvent]
    end: int
    damage: str = ""


def read(folder: Path) -> Journal:
    """Read the journal in *folder*, whatever moment its process died at.

    A torn last line is ignored. Other damaged lines are left out too, which ``problem`` then says.

    Raises:
        ResultFileError: there is no journal, its first line is damaged, or a newer ttprof wrote it.
    """
    return _journal(folder, tail(folder / JOURNAL_FILE))


def resume(folder: Path) -> Journal:
    """Read the journal in *folder* to go on with its run; a torn last line is cut off.

    Raises:
        ResultFileError: as for ``read``, or the file can't be written.
    """
    path = folder / JOURNAL_FILE
    lines = tail(path)
    journal = _journal(folder, lines)
    try:
        with path.open("r+b") as file:
            file.truncate(lines.end)
    except OSError as error:
        raise ResultFileError(error.strerror or str(error), path) from error
    return journal


def tail(path: Path, start: int = 0) -> JournalLines:
    """The whole lines from byte *start* on.

    Raises:
        ResultFileError: the file can't be read, or a newer ttprof wrote it.
    """
    try:
        with open_regular(path) as file:
            file.seek(start)
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES >> 20} MiB")
    except OSError as error:
        raise ResultFileError(error.strerror or str(error), path) from error
    whole = data[: data.rfind(b"\n") + 1]
    events, damaged = [], []
    for number, line in enumerate(whole.splitlines(keepends=True), 1):
        try:
            events.append(decode(line))
        except ResultFileError as error:
            if start == 0 and number == 1:
                raise ResultFileError(f"not a journal of ttprof: {error.reason}", path) from error
            damaged.append(f"line {number}: {error.reason}")
    clause = ""
    if damaged:
        clause = f"{len(damaged)} damaged line{'s' if len(damaged) > 1 else ''} of {path} left out: {damaged[0]}"
    return JournalLines(events, start + len(whole), clause)


def _journal(folder: Path, lines: JournalLines) -> Journal:
    if not lines.events or not isinstance(lines.events[0], Opened):
        raise ResultFileError("not a journal of ttprof: its first line does not open a run", folder / JOURNAL_FILE)
    journal = Journal(folder, lines.events[0])
    for event in lines.events[1:]:
        journal.apply(event)
    journal.problem = lines.damage
    journal._written = True
    return journal
