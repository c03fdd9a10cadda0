"""The notes, dropped records and loss of a ``Trace``, as ttprof stores them in Kineto files that it writes.

They are stored under a separate key next to the events, which viewers ignore.
"""

from __future__ import annotations

import msgspec

from ttprof.codes import Note, NoteCode
from ttprof.trace.events import Trace

KEY = "ttprof"


class StoredNote(msgspec.Struct, frozen=True):
    """A note in a file, whose code may be unknown to this version of ttprof."""

    code: str
    text: str

    def restored(self) -> Note:
        """The note; its code is UNSTATED if this version does not know the one in the file."""
        is_known = self.code in {code.value for code in NoteCode}
        return Note(NoteCode(self.code) if is_known else NoteCode.UNSTATED, self.text)


class StoredNotes(msgspec.Struct, frozen=True):
    """The value of the key: the fields of ``Trace`` for which Kineto has none."""

    notes: list[StoredNote] = []
    dropped: list[str] = []
    lost: str | None = None

    @classmethod
    def of(cls, trace: Trace) -> StoredNotes:
        """The notes, dropped records and loss of *trace*."""
        return cls([StoredNote(note.code.value, note.text) for note in trace.notes], list(trace.dropped), trace.lost)
