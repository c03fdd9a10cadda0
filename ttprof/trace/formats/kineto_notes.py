"""What a Kineto file that ttprof wrote says about its own recording, in a key next to the events.

Viewers ignore the key; ``kineto.read`` restores the notes, the dropped records and the loss that ``kineto_writer``
found in the ``Trace``.
"""

from __future__ import annotations

import msgspec

from ttprof.codes import Note, NoteCode
from ttprof.trace.events import Trace

KEY = "ttprof"


class StoredNote(msgspec.Struct, frozen=True):
    """A note in the file; its code may be one that only a newer ttprof knows."""

    code: str
    text: str

    def restored(self) -> Note:
        """The note, with the code UNSTATED if this version does not know the one in the file."""
        known = self.code in {code.value for code in NoteCode}
        return Note(NoteCode(self.code) if known else NoteCode.UNSTATED, self.text)


class StoredNotes(msgspec.Struct, frozen=True):
    """The value of the key: the fields of ``Trace`` that no Kineto field can hold."""

    notes: list[StoredNote] = []
    dropped: list[str] = []
    lost: str | None = None

    @classmethod
    def of(cls, trace: Trace) -> StoredNotes:
        """The notes, dropped records and loss of *trace*."""
        return cls([StoredNote(note.code.value, note.text) for note in trace.notes], list(trace.dropped), trace.lost)
