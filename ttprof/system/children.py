"""Recognises child processes that import the script of their parent, and so would run its suites again."""

from __future__ import annotations

import multiprocessing
import sys
from types import FrameType


def imports_in_child() -> bool:
    """Whether multiprocessing started this process and the caller is at the top level of a module that it imports.

    Python's ``spawn`` and ``forkserver`` import the parent's script in every child. A function of that script that the
    child was started to run may do what it likes.
    """
    starting = getattr(multiprocessing.current_process(), "_inheriting", False)  # it does not know its parent yet
    if multiprocessing.parent_process() is None and not starting:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        is_bottom = frame.f_back is None  # the child's own command line
        if frame.f_code.co_name == "<module>" and not is_bottom:
            return True
        frame = frame.f_back
    return False
