"""The session that ``ttprof run`` or pytest opens around a script or test.

Every suite that runs within it reads the session's options and adds its result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ttprof.result import SuiteResult
from ttprof.system.ambient import Ambient


@dataclass
class Session:
    """The options of a command line, each None (``shard`` empty) if not given, and the results so far.

    If ``raises`` is False, failing suites only report, and the command sets the exit code. ``name`` is the default name
    of suites. ``no_baseline``: compare with no baseline, not even with one that a suite names. ``exclusive(device)`` is
    a context in which nothing else is measured on that device. ``names`` counts the uses of each suite name. ``resume``
    are the folders of runs to go on with, each for the suite of its name, and ``resumed`` those that a suite went on
    with. ``conclude`` writes the files of the command before the process is ended from a thread.
    """

    trace_dir: Path | None = None
    strict: bool | None = None
    backend: str | None = None
    baseline: Path | None = None
    no_baseline: bool = False
    shard: str = ""
    quiet: bool = False
    verbose: bool = False
    isolate: bool | None = None
    timeout_s: float | None = None
    confirm_s: float | None = None
    threshold: float | None = None
    memory_limit_mb: float | None = None
    resume: tuple[Path, ...] = ()
    raises: bool = True
    name: str | None = None
    conclude: Callable[[], object] = lambda: None
    exclusive: Callable[[str], AbstractContextManager[None]] = lambda device: nullcontext()
    results: list[SuiteResult] = field(default_factory=list)
    resumed: list[Path] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """*name* for the first suite that uses it, ``name#2`` for the second, so that each result has its own name."""
        self.names[name] = count = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


_current: Ambient[Session | None] = Ambient(None)


def current() -> Session | None:
    """The session of the command that runs this script, or None if no command does."""
    return _current.value


def active(session: Session) -> AbstractContextManager[Session | None]:
    """Make *session* the current one within the context."""
    return _current.set_to(session)
