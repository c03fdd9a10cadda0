"""What the checks of a machine see of it: files below a root, the output of commands, and counters a second ago."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ttprof.errors import NsightError
from ttprof.nsight import tool

WATCHED_S = 1.0
"""How long counters are watched."""


def answer(command: Sequence[str]) -> str | None:
    """The output of a command that asks a question; None if there is no such program, or it does not answer."""
    try:
        return tool.ask(command)
    except (NsightError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True)
class Probe:
    """The view that checks have of a machine; tests give them a folder of recorded files and a fake of commands.

    Attributes:
        root: The folder that stands for ``/``.
        ask: The output of a command; None without the program.
        wait: Lets so many seconds pass.
        privileged: Whether this process is root's, so that restrictions on users don't bind it.
        variables: The environment variables.
        earlier: Texts of files at the start of the watch, by path.
    """

    root: Path = Path("/")
    ask: Callable[[Sequence[str]], str | None] = answer
    wait: Callable[[float], None] = time.sleep
    privileged: bool = field(default_factory=lambda: hasattr(os, "geteuid") and os.geteuid() == 0)
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    earlier: Mapping[str, str | None] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        """The text of a file without white space around it; None if it is missing or can't be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def texts(self, pattern: str) -> dict[str, str]:
        """The texts of the files that match a glob, by path."""
        paths = sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))
        return {path: text for path in paths if (text := self.text(path)) is not None}

    def number(self, path: str) -> int | None:
        """The integer in a file; None if there is none."""
        text = self.text(path)
        return int(text) if text is not None and text.removeprefix("-").isdigit() else None

    def watched(self, paths: Iterable[str]) -> Probe:
        """Read counters, wait for a second, and return a probe that knows them from before."""
        earlier = {path: self.text(path) for path in paths}
        self.wait(WATCHED_S)
        return replace(self, earlier=earlier)

    @property
    def cores(self) -> int:
        """The cores of the machine; 0 if unknown."""
        return sum(line[:3] == "cpu" and line[3:4].isdigit() for line in (self.text("proc/stat") or "").splitlines())

    @property
    def is_virtual(self) -> bool:
        """Whether a hypervisor says that this is a virtual machine."""
        flags = (line for line in (self.text("proc/cpuinfo") or "").splitlines() if line.startswith("flags"))
        return self.text("sys/hypervisor/type") is not None or any("hypervisor" in line.split() for line in flags)


def keyed(text: str | None) -> dict[str, int]:
    """The integers of a file of lines ``key value``, such as /proc/vmstat or /proc/meminfo."""
    pairs = (line.replace(":", " ").split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}
