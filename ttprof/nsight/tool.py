"""What the Nsight tools have in common: a name enters, a program that is new enough leaves; and running it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ttprof.errors import NsightError

GRACE_S = 10
"""How long an interrupted tool may take to end what it started."""

TAIL = 600
"""Characters of what a tool printed that an error repeats."""

_VERSION = re.compile(r"[Vv]ersion (\d+)\.(\d+)")
_CHATTER = re.compile(r"\s*(\[\d+/\d+\]|Generat(ed|ing)\b|/\S+\.(nsys-rep|sqlite|qdstrm)$|[\^~]*$)")
_FORBIDDEN = re.compile(r"ERR_NVGPUCTRPERM|insufficient privilege|permission denied|not permitted", re.IGNORECASE)

PERMISSION = (
    "{} is not permitted to read the GPU's counters or to trace here: run as root, in a container with "
    "--cap-add=SYS_ADMIN, or let the administrator set NVreg_RestrictProfilingToAdminUsers=0 (docs/nsight.md)"
)


@dataclass(frozen=True)
class Wanted:
    """A tool: its program, the oldest version that will do, where else than on the PATH it may lie, how to get it."""

    program: str
    oldest: tuple[int, int]
    places: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class Start:
    """A command to be watched: what is added to its environment, and the folder it runs in (None: this process's)."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


def find(wanted: Wanted) -> tuple[str, tuple[int, int]]:
    """The program of this machine and its version. Raises NsightError when there is none, or one that is too old."""
    path = shutil.which(wanted.program) or next((str(p) for place in wanted.places for p in _newest(place)), None)
    if path is None:
        raise NsightError(f"{wanted.program} was not found: {wanted.install}")
    said = run([path, "--version"])
    stated = _VERSION.search(said)
    if stated is None:
        raise NsightError(f"{path} does not say which version it is ({last_lines(said)}): {wanted.install}")
    version = int(stated[1]), int(stated[2])
    if version < wanted.oldest:
        raise NsightError("{} is version {}.{}, which is too old: {}".format(path, *version, wanted.install))
    return path, version


def run(command: Sequence[str], start: Start | None = None) -> str:
    """What a command printed, whatever its exit code; an interrupt, or SIGTERM, ends it and all that it started.

    It runs where *start* says, in its environment. Raises NsightError where the command can't be started.
    """
    start = start or Start(command)
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **start.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            cwd=start.folder,
        )
    except OSError as error:
        raise NsightError(f"{command[0]} can't be run: {error.strerror or error}") from error
    try:
        with _terminable():
            return process.communicate()[0]
    except BaseException:
        _end(process)
        raise


def why(program: str, said: str) -> str:
    """Why a tool left no report, from what it printed."""
    if _FORBIDDEN.search(said):
        return f"{PERMISSION.format(program)}; it said: {last_lines(said)}"
    return f"{program} wrote no report; it said: {last_lines(said) or 'nothing'}"


def last_lines(said: str) -> str:
    """The end of what was printed, in one line, without progress bars and names of files."""
    text = " ".join(line.strip() for line in said.splitlines() if not _CHATTER.match(line))
    return text if len(text) <= TAIL else f"… {text[-TAIL:]}"


def _newest(place: str) -> list[Path]:
    return sorted(Path("/").glob(place.removeprefix("/")), reverse=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM interrupts, so that what is under way ends in order; only the main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and what it started: a tool takes its agents with it when it is asked to."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
