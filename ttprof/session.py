"""What surrounds the suites of a script: options that ``ttprof run`` sets, and the results it collects.

A command enters the context; every suite that runs inside it reads the options and leaves its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ttprof.result import SuiteResult


@dataclass
class Session:
    """Options of a command line, each None when it was not given, and the results so far.

    Inside a session suites report and go on: the exit code is the command's to give.
    """

    trace_dir: Path | None = None
    strict: bool | None = None
    baseline: Path | None = None
    quiet: bool = False
    results: list[SuiteResult] = field(default_factory=list)


_current: ContextVar[Session | None] = ContextVar("ttprof_session", default=None)


def current() -> Session | None:
    """The session of the command that runs this script, or None in a script of its own."""
    return _current.get()


@contextmanager
def active(session: Session) -> Iterator[Session]:
    """Inside, *session* is the current one."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
