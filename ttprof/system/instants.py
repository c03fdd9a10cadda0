"""The instant of an ISO 8601 time: its text does not sort by time, because the offset from UTC changes."""

from __future__ import annotations

import math
from datetime import datetime, timezone


def instant(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; one without an offset is UTC, and a text that is no time is -inf."""
    try:
        time = datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
        return (time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return -math.inf
