"""What surrounds the suites of a script or a test: options that ``ttprof run`` or pytest sets, and the results.

A command enters the context; every suite that runs inside it reads the options and leaves its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ttprof.result import SuiteResult


@dataclass
class Session:
    """Options of a command line, each None when it was not given, and the results so far.

    Where ``raises`` is False suites report and go on: the exit code is the command's to give. ``name`` is that of
    suites that have none of their own. ``exclusive`` makes a context, from the name of a device, in which nothing else
    is measured on it; ``names`` counts how often a name was given.
    """

    trace_dir: Path | None = None
    strict: bool | None = None
    backend: str | None = None
    baseline: Path | None = None
    quiet: bool = False
    verbose: bool = False
    raises: bool = True
    name: str | None = None
    exclusive: Callable[[str], AbstractContextManager[None]] = lambda device: nullcontext()
    results: list[SuiteResult] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """*name* for the first suite that asks for it, ``name#2`` for the second: results are told apart by name."""
        self.names[name] = count = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


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
