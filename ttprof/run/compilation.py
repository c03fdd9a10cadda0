"""Observes code compiled by torch.compile: how much was compiled."""

from __future__ import annotations

import sys
from typing import Any


def compilations() -> int:
    """The functions that this process has compiled so far."""
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["frames"]["total"]) if dynamo is not None else 0
