"""The session that ``ttprof run`` or pytest opens around a script or test.

Every suite that runs within it reads the session's options and adds its result.
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
    """The options of a command line, each None (``shard`` empty) if not given, and the results so far.

    If ``raises`` is False, failing suites only report, and the command sets the exit code. ``name`` is the default name
    of suites. ``exclusive(device)`` is a context in which nothing else is measured on that device. ``names`` counts the
    uses of each suite name.
    """

    trace_dir: Path | None = None
    strict: bool | None = None
    backend: str | None = None
    baseline: Path | None = None
    shard: str = ""
    quiet: bool = False
    verbose: bool = False
    raises: bool = True
    name: str | None = None
    exclusive: Callable[[str], AbstractContextManager[None]] = lambda device: nullcontext()
    results: list[SuiteResult] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """*name* for the first suite that uses it, ``name#2`` for the second, so that each result has its own name."""
        self.names[name] = count = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


_current: ContextVar[Session | None] = ContextVar("ttprof_session", default=None)


def current() -> Session | None:
    """The session of the command that runs this script, or None if no command does."""
    return _current.get()


@contextmanager
def active(session: Session) -> Iterator[Session]:
    """Make *session* the current one within the context."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
