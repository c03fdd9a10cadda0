"""Observes code compiled by torch.compile: how often a call resumes after a graph break, and how much was compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

RESUMED = "torch_dynamo_resume_in_"
"""How torch names the functions in which it goes on after a graph break (torch._dynamo.resume_execution)."""


def compilations() -> int:
    """The functions that this process has compiled so far."""
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["frames"]["total"]) if dynamo is not None else 0


def graph_breaks(call: Callable[[], Any]) -> int:
    """The functions that one *call* resumes after a graph break, on this thread."""
    resumed = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal resumed
        resumed += event == "call" and frame.f_code.co_name.startswith(RESUMED)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return resumed
