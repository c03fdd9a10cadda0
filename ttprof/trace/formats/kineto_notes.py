"""What a Kineto file that ttprof wrote says about its own recording, in a key next to the events.

Viewers ignore the key; ``kineto.read`` restores the notes, the dropped records and the loss that ``kineto_writer``
found in the ``Trace``.
"""

from __future__ import annotations

import msgspec

from ttprof.trace.events import Trace

KEY = "ttprof"


class StoredNotes(msgspec.Struct, frozen=True):
    """The value of the key: the fields of ``Trace`` that no Kineto field can hold."""

    notes: list[str] = []
    dropped: list[str] = []
    lost: str | None = None

    @classmethod
    def of(cls, trace: Trace) -> StoredNotes:
        """The notes, dropped records and loss of *trace*."""
        return cls(list(trace.notes), list(trace.dropped), trace.lost)
