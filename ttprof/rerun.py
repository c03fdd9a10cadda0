"""Runs the user's script again in another process, up to the same suite, with a request for what to do there.

Nsight can only watch a process that it starts, and an isolated suite must survive what its modules do. So this process
plans and judges the suite, and a second one does the work and exits. Must not import torch.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, cast

import msgspec

from ttprof.errors import TtprofError
from ttprof.system import files
from ttprof.system.ambient import Ambient

ENVIRONMENT = "TTPROF_RERUN"
"""The environment variable with the path of the request, in the second process."""

STARTED_IN = Path.cwd() if Path(os.curdir).is_dir() else Path(os.sep)
"""The working directory when ttprof was imported: the script may change it before its suite runs."""


_IMPORTED_AT = time.monotonic()


def age() -> float:
    """The seconds since ttprof was imported."""
    return time.monotonic() - _IMPORTED_AT


class NotRepeatable(TtprofError):
    """This process can't be run again; the message is a clause that says why."""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="purpose"):
    """A request to the second process about one suite of the script.

    The suite has this name and these *cases* and follows the suites whose results are in the folders *earlier*.
    *folder* is where the second process finds and leaves its files. ``raises`` says whether a failed earlier suite may
    raise; under ``ttprof run`` it may not. Every suite of the script runs the cases of *shard*, or all if it is empty.
    """

    folder: str
    suite: str
    cases: list[str]
    earlier: list[str]
    raises: bool
    shard: str = ""


class RecordRequest(Request, frozen=True, kw_only=True, tag="record"):
    """Record the suite for Nsight. If kernels are *replayed*, each trial is a single iteration."""

    replayed: bool = False


class WorkRequest(Request, frozen=True, kw_only=True, tag="work"):
    """Run one pass of the suite, as far as the journal in *folder* lacks it.

    *backend* is what records, *stack* the file for the stack of a process that dies. With *cut*, no whole forward of
    the model runs, since one has ended an earlier worker. *seconds* is the time for each case, 0 for that of the suite.
    """

    stage: Literal["timing", "looking", "recording"]
    backend: str
    stack: str
    cut: bool = False
    seconds: float = 0.0


AnyRequest = RecordRequest | WorkRequest


def save(request: AnyRequest, file: Path) -> dict[str, str]:
    """Write a request to *file*, and return the environment variables for the second process. Raises OSError."""
    files.replace(file, msgspec.json.encode(request))
    return {ENVIRONMENT: str(file.resolve())}


def read_request() -> AnyRequest | None:
    """The request to this process; None unless it is a second one.

    The environment variable is taken away, so that processes that this one starts are not asked to do the same.
    """
    with _reading:  # a thread that comes second must not run its suite as if nothing was asked
        file = os.environ.pop(ENVIRONMENT, None)
        if file is None:
            return _request.value
        try:
            _request.value = cast(AnyRequest, msgspec.json.decode(Path(file).read_bytes(), type=AnyRequest))
            return _request.value
        except (OSError, msgspec.MsgspecError) as error:
            raise TtprofError(f"{ENVIRONMENT}={file} is not a readable request to run a suite: {error}") from error


_reading = threading.Lock()
_request: Ambient[AnyRequest | None] = Ambient(None)


@dataclass(frozen=True)
class Again:
    """How the current script runs again: by *command*, in which a failed suite *raises* or only reports.

    ``of_test``: it runs a single test of pytest. ``shard``: the part of every suite that runs; all if it is empty.
    """

    command: Sequence[str]
    raises: bool = True
    of_test: bool = False
    shard: str = ""


_again: Ambient[Again | None] = Ambient(None)
_finished: Ambient[tuple[str, ...]] = Ambient(())


@contextmanager
def by(again: Again) -> Iterator[None]:
    """State within the context how the current script runs again, whatever way this process was started."""
    with _again.set_to(again), _finished.set_to(()):
        yield


def script(path: Path) -> list[str]:
    """The command that runs a script."""
    return [sys.executable, str(path.resolve())]


def raises() -> bool:
    """Whether a failed suite raises when the script runs again."""
    return _again.value is None or _again.value.raises


def shard() -> str:
    """The part of every suite that runs; empty for all of it."""
    return _again.value.shard if _again.value is not None else ""


def is_of_test() -> bool:
    """Whether what runs again is a single test of pytest, or can't be run again because pytest runs it."""
    return _again.value.of_test if _again.value is not None else _within_pytest()


def end(code: int = 0) -> NoReturn:
    """End the second process with an exit code, even if the script catches all exceptions.

    Calls the C library's exit, on which Nsight flushes its buffers (os._exit lost the last ranges under nsys 2022.4).
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    ctypes.CDLL(None).exit(code)
    os._exit(1)  # not reached


def finish(run_dir: str) -> None:
    """Note that a suite of this script has run, with its result in *run_dir*."""
    _finished.value = (*_finished.value, str(Path(run_dir).resolve()))


def finished() -> tuple[str, ...]:
    """The result folders of the suites of this script that have run so far."""
    return _finished.value


def command() -> list[str]:
    """The command that runs this script again.

    Raises:
        NotRepeatable: that is impossible, or not safe.
    """
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        raise NotRepeatable("one rank of several would wait for the others forever; use one process, without torchrun")
    if _again.value is not None:
        return list(_again.value.command)
    if _within_pytest():
        raise NotRepeatable("a session of pytest is not run twice for one suite")
    if hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules:
        raise NotRepeatable("an interactive session or a notebook can't be run again")
    if "-c" not in sys.orig_argv and not Path(getattr(sys.modules["__main__"], "__file__", None) or "-").is_file():
        raise NotRepeatable("a script that came through a pipe can't be read again")
    return [sys.executable, *sys.orig_argv[1:]]


def _within_pytest() -> bool:
    return "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ
