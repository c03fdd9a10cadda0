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
    CaseRecorded,
    CaseTimed,
    Closed,
    Entered,
    Opened,
    Resumed,
)
from ttprof.engine.lines import decode, encode
from ttprof.errors import ResultFileError
from ttprof.system.files import open_regular

JOURNAL_FILE = "journal"
"""Name of the journal in the folder of a run."""


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
        self._process = os.getpid()

    @classmethod
    def create(cls, folder: Path, opened: Opened) -> Journal:
        """Begin the journal of a new run."""
        journal = cls(folder, opened)
        journal._write(opened)
        return journal

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
        elif not isinstance(event, Opened) and (case := self.cases.get(event.case)) is not None:
            self._apply_to(case, event)

    def _apply_to(self, case: CaseEvents, event: Began | CaseTimed | CaseRecorded) -> None:
        if isinstance(event, Began):
            case.under_way, case.phase, self._current = event.stage, "", case
            return
        case.under_way, self._current = None, None
        if isinstance(event, CaseTimed):
            case.timed = event
        else:
            case.recorded = event

    @property
    def running(self) -> str | None:
        """The case whose pass began and has not ended."""
        return next((name for name, case in self.cases.items() if case is self._current), None)

    def _write(self, event: AnyEvent) -> None:
        """Append one line as a whole; what a full disk cut off is removed again."""
        path = self.folder / JOURNAL_FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                line = encode(event)
                try:
                    written = file.write(line)
                    if written != len(line):
                        raise OSError(f"{written} of {len(line)} bytes were written")
                    if not isinstance(event, Entered):
                        os.fsync(file.fileno())
                except OSError:
                    with suppress(OSError):
                        file.truncate(before)
                    raise
        except OSError as error:
            self.problem = f"{path} could not be written: {error.strerror or error}"


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


def resume(folder: Path, event: Resumed) -> Journal:
    """Read the journal in *folder* to go on with its run: a torn last line is cut off, and *event* is appended.

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
    journal.add(event)
    return journal


def tail(path: Path, start: int = 0) -> JournalLines:
    """The whole lines from byte *start* on.

    Raises:
        ResultFileError: the file can't be read, or a newer ttprof wrote it.
    """
    try:
        with open_regular(path) as file:
            file.seek(start)
            data = file.read()
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
    return journal
