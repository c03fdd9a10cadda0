"""Re-runs the script under Nsight: the command, the request to the second process, and its answer.

Nsight can only watch a process that it starts. So this process times and judges the suite, and a second one runs the
script up to the same suite, records it instead of testing it, and exits. Must not import torch.
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
"""The environment variable with the path of the request, in the second process."""

ANSWER = "recorded.json"
"""The file name of the answer."""

STARTED_IN = Path.cwd() if Path(os.curdir).is_dir() else Path(os.sep)
"""The working directory when ttprof was imported: the script may change it before its suite runs."""

SCRIPT_HINT = "put the suite into a script and type: ttprof run --backend {} SCRIPT"


class Request(msgspec.Struct, frozen=True):
    """A request to the second process to record a suite.

    The suite to record has this name and these *cases* and follows the suites whose results are in the folders
    *earlier*. The answer goes into *folder*. ``raises`` says whether a failed suite may raise; under ``ttprof run`` it
    may not. If kernels are ``replayed``, each trial is a single iteration and a separate recording. Every suite of the
    script runs the cases of *shard* only, unless it is empty.
    """

    folder: str
    suite: str
    cases: list[str]
    earlier: list[str]
    raises: bool
    replayed: bool = False
    shard: str = ""


class Recorded(msgspec.Struct, frozen=True):
    """A recorded trial: *what* describes its workload; the peaks, in bytes per iteration, are null without CUDA."""

    what: str
    iterations: int
    peak_allocated: list[int] | None = None
    peak_reserved: list[int] | None = None
    peak_added: list[int] | None = None


class Answer(msgspec.Struct):
    """The recorded trials by ``str(TrialKey)``, the errors by case, and an error of the entire suite."""

    trials: dict[str, Recorded] = {}
    errors: dict[str, str] = {}
    error: str | None = None

    def save(self, folder: Path) -> None:
        """Write the answer to *folder*, where the first process reads it."""
        (folder / ANSWER).write_bytes(msgspec.json.encode(self))


def read_answer(folder: Path) -> Answer | None:
    """The answer of the second process in *folder*; None if it wrote none."""
    try:
        return msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None


def write_request(folder: Path, suite: str, cases: Sequence[str], replayed: bool = False) -> dict[str, str]:
    """Write a request, delete any old answer, and return the environment variables for the second process."""
    (folder / ANSWER).unlink(missing_ok=True)
    file = folder / "request.json"
    pending = Request(
        folder=str(folder.resolve()),
        suite=suite,
        cases=list(cases),
        earlier=list(_finished.get()),
        raises=_script.get() is None,
        replayed=replayed,
        shard=_shard.get(),
    )
    file.write_bytes(msgspec.json.encode(pending))
    return {ENVIRONMENT: str(file.resolve())}


def read_request() -> Request | None:
    """The request to this process; None unless it is a second one that Nsight watches."""
    file = os.environ.get(ENVIRONMENT)
    if file is None:
        return None
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Request)
    except (OSError, msgspec.MsgspecError) as error:
        raise NsightError(f"{ENVIRONMENT}={file} is not a readable request to record a suite: {error}") from error


_script: ContextVar[Path | None] = ContextVar("ttprof_script", default=None)
_shard: ContextVar[str] = ContextVar("ttprof_shard", default="")
_finished: ContextVar[tuple[str, ...]] = ContextVar("ttprof_finished", default=())


@contextmanager
def script(path: Path, shard: str = "") -> Iterator[None]:
    """Mark *path* as the running script within the context, of whose suites a *shard* runs (all if it is empty)."""
    token, part, before = _script.set(path.resolve()), _shard.set(shard), _finished.set(())
    try:
        yield
    finally:
        _script.reset(token)
        _shard.reset(part)
        _finished.reset(before)


def end() -> NoReturn:
    """End the second process, even if the script catches all exceptions.

    Calls the C library's exit, on which Nsight flushes its buffers (os._exit lost the last ranges under nsys 2022.4).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).exit(0)
    os._exit(1)  # not reached


def finish(run_dir: str) -> None:
    """Note that a suite of this script has run, with its result in *run_dir*."""
    _finished.set((*_finished.get(), str(Path(run_dir).resolve())))


def finished() -> tuple[str, ...]:
    """The result folders of the suites of this script that have run so far."""
    return _finished.get()


def command(backend: str) -> list[str]:
    """The command that re-runs this script. Raises NsightError, with a way out, if that is not safe."""
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        raise NsightError(
            f"backend={backend!r} runs the script a second time, where one rank of several would wait for the others "
            "forever; record one process, without torchrun"
        )
    path = _script.get()
    if path is not None:
        return [sys.executable, str(path)]
    why = _why_not_repeatable()
    if why is not None:
        raise NsightError(
            f"backend={backend!r} runs the script a second time, and {why}; {SCRIPT_HINT.format(backend)}"
        )
    return [sys.executable, *sys.orig_argv[1:]]


def _why_not_repeatable() -> str | None:
    """The reason why this process can't be run again; None if it can."""
    if "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ:
        return "a session of pytest is not run twice for one suite"
    if hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules:
        return "an interactive session or a notebook can't be run again"
    if len(sys.orig_argv) < 2 or sys.orig_argv[-1] == "-":
        return "a script that came through a pipe can't be read again"
    return None
