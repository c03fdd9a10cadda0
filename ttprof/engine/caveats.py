"""What the verdict that decides a case says beside its own reason: that the measurement was disturbed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ttprof.codes import NoteCode
from ttprof.engine.case_run import CaseRun
from ttprof.judge import verdicts
from ttprof.verdict import Verdict


def stated(of_case: Sequence[Verdict], case: CaseRun) -> list[Verdict]:
    """The verdicts of a case; the first of the worst ones also says what watched and slowed the measurement."""
    notes = (note for run in case.trials for note in run.result.notes if note.code is NoteCode.OBSERVED)
    texts = list(dict.fromkeys(note.text for note in notes))
    if not texts or not of_case:
        return list(of_case)
    worst = verdicts.worst(list(of_case))
    decides = next(verdict for verdict in of_case if verdict.status is worst)
    stating = replace(decides, reason="; ".join([decides.reason, *texts]))
    return [stating if verdict is decides else verdict for verdict in of_case]
