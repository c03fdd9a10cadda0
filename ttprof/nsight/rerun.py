"""The same script once more, in another process: how to start it, what it is asked, and what it answers.

A process that Nsight watches has to be started by it. So the suite is timed and judged here, and recorded there: the
second process runs the script up to the same suite, records that in place of testing it, and ends. No torch.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

import msgspec

from ttprof.errors import NsightError

ENVIRONMENT = "TTPROF_RECORD"
"""Names the file of the request in the second process."""

ANSWER = "recorded.json"

STARTED_IN = Path.cwd() if Path(os.curdir).is_dir() else Path(os.sep)
"""Where this process stood when ttprof was imported: the script may go elsewhere before its suite."""

TYPE_THIS = "put the suite into a script and type: ttprof run --backend {} SCRIPT"


class Request(msgspec.Struct, frozen=True):
    """What the second process is asked for.

    The suite after those whose results lie in the folders *earlier* is to be recorded; it has this name and these
    *cases*. The answer goes into *folder*. ``raises`` is whether a suite that failed may raise: under ``ttprof run``
    none does. Where kernels are ``replayed``, each trial is one iteration and a recording by itself.
    """

    folder: str
    suite: str
    cases: list[str]
    earlier: list[str]
    raises: bool
    replayed: bool = False


class Recorded(msgspec.Struct, frozen=True):
    """A trial: *what* ran, its iterations, and of each what torch's allocator reported (bytes; null without CUDA)."""

    what: str
    iterations: int
    peak_allocated: list[int] | None = None
    peak_reserved: list[int] | None = None
    peak_added: list[int] | None = None


class Answer(msgspec.Struct):
    """What was recorded, by trial (``str(TrialKey)``); what went wrong, by case; and what went wrong with the suite."""

    trials: dict[str, Recorded] = {}
    errors: dict[str, str] = {}
    error: str | None = None

    def save(self, folder: Path) -> None:
        """Leave it for the first process."""
        (folder / ANSWER).write_bytes(msgspec.json.encode(self))


def answer(folder: Path) -> Answer | None:
    """What the second process left in *folder*; None when it did not get that far."""
    try:
        return msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None


def ask(folder: Path, suite: str, cases: Sequence[str], replayed: bool = False) -> dict[str, str]:
    """Write down what is asked for next; the environment that tells the second process of it. No old answer stays."""
    (folder / ANSWER).unlink(missing_ok=True)
    file = folder / "request.json"
    asked = Request(str(folder.resolve()), suite, list(cases), list(_finished.get()), _script.get() is None, replayed)
    file.write_bytes(msgspec.json.encode(asked))
    return {ENVIRONMENT: str(file.resolve())}


def request() -> Request | None:
    """What this process is asked to record; None in a process of its own."""
    file = os.environ.get(ENVIRONMENT)
    if file is None:
        return None
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Request)
    except (OSError, msgspec.MsgspecError) as error:
        raise NsightError(f"{ENVIRONMENT}={file} does not lead to what is to be recorded: {error}") from error


_script: ContextVar[Path | None] = ContextVar("ttprof_script", default=None)
_finished: ContextVar[tuple[str, ...]] = ContextVar("ttprof_finished", default=())


@contextmanager
def script(path: Path) -> Iterator[None]:
    """Inside, *path* is the script that runs, whatever command started this process."""
    token, before = _script.set(path.resolve()), _finished.set(())
    try:
        yield
    finally:
        _script.reset(token)
        _finished.reset(before)


def end() -> NoReturn:
    """End the second process: the script must not go on, whatever it catches.

    By the C library's own exit, at which the tool that watches writes what it still holds (os._exit lost the last
    ranges under nsys 2022.4).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).exit(0)
    os._exit(1)  # not reached


def finish(run_dir: str) -> None:
    """Note that a suite of this script has run, and where its result lies."""
    _finished.set((*_finished.get(), str(Path(run_dir).resolve())))


def finished() -> tuple[str, ...]:
    """Where the results lie of the suites of this script that have run so far."""
    return _finished.get()


def command(backend: str) -> list[str]:
    """What runs this script again. Raises NsightError where that can't be done safely, and says what to type."""
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        raise NsightError(
            f"backend={backend!r} runs the script a second time, where one rank of several would wait for the others "
            "for ever; record one process, without torchrun"
        )
    script_ = _script.get()
    if script_ is not None:
        return [sys.executable, str(script_)]
    why = _unrepeatable()
    if why is not None:
        raise NsightError(f"backend={backend!r} runs the script a second time, and {why}; {TYPE_THIS.format(backend)}")
    return [sys.executable, *sys.orig_argv[1:]]


def _unrepeatable() -> str | None:
    """Why this process can't be run again, or None."""
    if "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ:
        return "a session of pytest is not run twice for one suite"
    if hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules:
        return "an interactive session or a notebook can't be run again"
    if len(sys.orig_argv) < 2 or sys.orig_argv[-1] == "-":
        return "a script that came through a pipe can't be read again"
    return None
