"""Finds and runs the programs of Nsight, and explains why they wrote no report."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ttprof.errors import NsightError

GRACE_S = 10
"""How long an interrupted tool may take to end the processes that it started."""

ANSWER_S = 30.0
"""How long a tool may take to state its version or its options: one on a dead network drive never would."""

TAIL = 600
"""The last characters of a tool's output that an error quotes."""

_VERSION = re.compile(r"[Vv]ersion (\d+)\.(\d+)")
_CHATTER = re.compile(r"\s*(\[\d+/\d+\]|Generat(ed|ing)\b|/\S+\.(nsys-rep|sqlite|qdstrm)$|[\^~]*$)")
_FORBIDDEN = re.compile(r"ERR_NVGPUCTRPERM|insufficient privilege|permission denied|not permitted", re.IGNORECASE)
"""The tools' messages about missing permission; their exit codes don't distinguish it from other failures."""

PERMISSION = (
    "{} is not permitted to read the GPU's counters or to trace here: run as root, in a container with "
    "--cap-add=SYS_ADMIN, or let the administrator set NVreg_RestrictProfilingToAdminUsers=0 (docs/nsight.md)"
)


@dataclass(frozen=True)
class ToolSpec:
    """A tool: its program, the oldest supported version, where to look if it is not on PATH, how to install it."""

    program: str
    oldest: tuple[int, int]
    places: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class Start:
    """A command to record, additions to its environment, and its working directory (None: that of this process)."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


def find(spec: ToolSpec) -> tuple[str, tuple[int, int]]:
    """The path and version of a tool. Raises NsightError if it is missing, too old, or does not answer."""
    path = shutil.which(spec.program) or next((str(p) for place in spec.places for p in _newest(place)), None)
    if path is None:
        raise NsightError(f"{spec.program} was not found: {spec.install}")
    output = ask([path, "--version"])
    stated = _VERSION.search(output)
    if stated is None:
        raise NsightError(f"{path} does not state its version ({last_lines(output)}): {spec.install}")
    version = int(stated[1]), int(stated[2])
    if version < spec.oldest:
        raise NsightError("{} is version {}.{}, which is too old: {}".format(path, *version, spec.install))
    return path, version


def ask(command: Sequence[str]) -> str:
    """The output of a command that answers a question about the tool. Raises NsightError if it takes too long."""
    try:
        return run(command, limit_s=ANSWER_S)
    except subprocess.TimeoutExpired as error:
        raise NsightError(
            f"{' '.join(command)} did not end within {ANSWER_S:g} s, and was killed: run it in a terminal to see why, "
            "or take it off the PATH"
        ) from error


def run(command: Sequence[str], start: Start | None = None, limit_s: float | None = None) -> str:
    """Run a command and return its output, regardless of its exit code.

    Ctrl-C, SIGTERM and the end of *limit_s* seconds end the command and all processes that it started. *start* gives
    its working directory and environment.

    Raises:
        NsightError: the command can't be started.
        subprocess.TimeoutExpired: it took longer than *limit_s*.
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
            return process.communicate(timeout=limit_s)[0]
    except BaseException:
        _end(process)
        raise


def explain_failure(program: str, output: str) -> str:
    """The reason why a tool wrote no report, according to its output."""
    if _FORBIDDEN.search(output):
        return f"{PERMISSION.format(program)}; its output: {last_lines(output)}"
    return f"{program} wrote no report; its output: {last_lines(output) or 'none'}"


def last_lines(output: str) -> str:
    """The end of a tool's output on one line, without progress bars and file names."""
    text = " ".join(line.strip() for line in output.splitlines() if not _CHATTER.match(line))
    return text if len(text) <= TAIL else f"… {text[-TAIL:]}"


def _newest(place: str) -> list[Path]:
    return sorted(Path("/").glob(place.removeprefix("/")), reverse=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within the context, so that the tool is stopped cleanly; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those it started: an interrupted tool also ends its agents."""
    _signal_group(process, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process and those it started; they may all have ended."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal a group of zombies
        os.killpg(process.pid, number)
