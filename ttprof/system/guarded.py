"""A command that runs under ``guard.py``: nothing of it outlives this process, however either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

GUARD = Path(__file__).with_name("guard.py")

SUPPORTED = os.name == "posix"
"""Whether this system has what a guard needs: fork, sessions and inherited descriptors."""


class GuardedProcess:
    """A running command; leaving its context ends it and everything that it started.

    Its output goes to the file *log*. ``status`` is its wait status (see ``os.waitstatus_to_exitcode``) once ``poll``
    found that it ended; None before, and if the guard itself was killed.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        reading, status = os.pipe()
        life, self._life = os.pipe()
        with log.open("wb") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(status), str(life), *command],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(status, life),
                start_new_session=True,
            )
        os.close(status)
        os.close(life)
        os.set_blocking(reading, False)
        self._reading = reading
        self._said = b""
        self.status: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the command; None until it has started."""
        self._listen()
        words = self._said.split()
        return int(words[1]) if words[:1] == [b"started"] and len(words) > 1 else None

    def poll(self) -> bool:
        """Whether the command and its guard have ended."""
        if self._guard.poll() is None:
            return False
        self._listen()
        words = self._said.split()
        if b"ended" in words:
            self.status = int(words[words.index(b"ended") + 1])
        return True

    def wait(self, seconds: float) -> bool:
        """Wait up to *seconds* for the end; whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(seconds)
        return self.poll()

    def send(self, number: int) -> None:
        """Send a signal to the command, if it runs."""
        pid = self.pid
        if pid is not None and self._guard.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self._reading, 4096):
                self._said += data

    def __enter__(self) -> GuardedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._life)
        self.send(signal.SIGKILL)
        self._guard.wait()
        self.poll()
        os.close(self._reading)
