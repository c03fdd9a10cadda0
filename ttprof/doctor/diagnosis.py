"""What a check answers: a status, what was seen, what to change, and what could not be seen."""

from __future__ import annotations

from dataclasses import dataclass

from ttprof.machine import CheckStatus


@dataclass(frozen=True)
class Diagnosis:
    """The answer of a check; the fields are those of a ``Finding``."""

    status: CheckStatus
    seen: str = ""
    change: str = ""
    unseen: str = ""


def ok(seen: str, unseen: str = "") -> Diagnosis:
    """Nothing to change."""
    return Diagnosis(CheckStatus.OK, seen, unseen=unseen)


def warning(seen: str, change: str, unseen: str = "") -> Diagnosis:
    """Times vary more than they need to, or something can't be measured."""
    return Diagnosis(CheckStatus.WARNING, seen, change, unseen)


def unsafe(seen: str, change: str, unseen: str = "") -> Diagnosis:
    """Times measured now would be those of something else."""
    return Diagnosis(CheckStatus.UNSAFE, seen, change, unseen)


def unknown(unseen: str, seen: str = "", change: str = "") -> Diagnosis:
    """It could not be read."""
    return Diagnosis(CheckStatus.UNKNOWN, seen, change, unseen)
