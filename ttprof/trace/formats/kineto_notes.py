"""What is missing in a ``Trace``, and the notes on it, as ttprof stores them in Kineto files that it writes.

They are stored under a separate key next to the events, which viewers ignore.
"""

from __future__ import annotations

import msgspec

from ttprof.codes import Flaw, Note, NoteCode
from ttprof.trace.events import LeftOut, Trace, UnknownRows
from ttprof.trace.possible import NOUNS

KEY = "ttprof"


class StoredNote(msgspec.Struct, frozen=True):
    """A note in a file, whose code may be unknown to this version of ttprof."""

    code: str
    text: str

    def restored(self) -> Note:
        """The note; its code is UNSTATED if this version does not know the one in the file."""
        is_known = self.code in {code.value for code in NoteCode}
        return Note(NoteCode(self.code) if is_known else NoteCode.UNSTATED, self.text)


class StoredLeftOut(msgspec.Struct, frozen=True):
    """A ``LeftOut`` in a file, whose flaw and table may be unknown to this version of ttprof."""

    flaw: str
    table: str
    count: int
    of: int
    time_ns: int
    example: str

    def restored(self) -> LeftOut | None:
        """The records; None if they are of a table that this version does not know."""
        flaw = Flaw(self.flaw) if self.flaw in {flaw.value for flaw in Flaw} else Flaw.UNREADABLE
        if self.table not in NOUNS:
            return None
        return LeftOut(flaw, self.table, self.count, self.of, self.time_ns, self.example)


class StoredNotes(msgspec.Struct, frozen=True):
    """The value of the key: the fields of ``Trace`` for which Kineto has none."""

    notes: list[StoredNote] = []
    dropped: list[str] = []
    lost: str | None = None
    left_out: list[StoredLeftOut] = []
    unknown: list[UnknownRows] = []

    @classmethod
    def of(cls, trace: Trace) -> StoredNotes:
        """The notes, dropped records, loss, and the rows of *trace* that were left out or not known."""
        return cls(
            notes=[StoredNote(note.code.value, note.text) for note in trace.notes],
            dropped=list(trace.dropped),
            lost=trace.lost,
            left_out=[StoredLeftOut(*msgspec.structs.astuple(row)) for row in trace.left_out],
            unknown=list(trace.unknown),
        )

    def restored_left_out(self) -> tuple[LeftOut, ...]:
        """The records that were left out when the file was written."""
        return tuple(row for stored in self.left_out if (row := stored.restored()) is not None)
