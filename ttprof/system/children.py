"""Recognises child processes that would run a suite again: those that import the script of their parent, and forks."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from types import FrameType

from ttprof.system.ambient import Ambient

_owner: Ambient[int | None] = Ambient(None)


def owning() -> AbstractContextManager[object]:
    """Let the suite belong to this process within the context."""
    return _owner.set_to(os.getpid())


def end_if_forked() -> None:
    """End this process if the code under test forked it and then went on with the suite, as its parent does.

    It is called whenever the code under test returns: the next parallel operation of a forked child would hang.
    """
    if _owner.value is not None and _owner.value != os.getpid():
        os._exit(1)


def imports_in_child() -> bool:
    """Whether multiprocessing started this process and the caller is at the top level of a module that it imports.

    Python's ``spawn`` and ``forkserver`` import the parent's script in every child. A function of that script that the
    child was started to run may do what it likes.
    """
    import multiprocessing  # here, so that commands without a suite do not wait for it

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
