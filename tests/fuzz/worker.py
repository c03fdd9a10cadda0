"""One process of the fuzzer: it damages inputs and reads them until its time is over, and saves what it objects to."""

from __future__ import annotations

import hashlib
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ttprof
from fuzz.mutations import mutated
from fuzz.targets import TARGETS, Target, fake_reader
from ttprof.errors import TtprofError

PACKAGE = str(Path(ttprof.__file__).parent)

SECONDS = 5.0
"""CPU time that reading an input may take: on a busy machine, time by the clock accuses innocent inputs."""

WAIT_S = 30.0
"""Time by the clock, for what waits without computing."""

MEMORY_MIB = 512
"""And this much memory beyond that of the process: a gzipped input of any size may unpack to 64 MiB."""

REPORT_EVERY = 200
"""Inputs between two reports of a process."""

EVOLVED = 400
"""Inputs per target that were refused in a new way and are damaged further."""


class TooSlow(BaseException):
    """Raised by the alarm, through any ``except Exception``."""


@dataclass
class Counts:
    """What one process did: inputs per target, those that were read without an error, and the slowest."""

    inputs: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    outcomes: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    peak_mib: float = 0.0
    findings: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.inputs.values())


def peak_mib() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise TooSlow

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, WAIT_S))
    for timer, number, limit in timers:
        signal.signal(number, ring)
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)


def outcome(target: Target, path: Path) -> tuple[str, str]:
    """The kind of outcome (ok, refused, or a finding) and where it came from."""
    try:
        with alarm(SECONDS):
            target.read(path)
    except TtprofError as error:
        return "refused", f"{_place(error)} {getattr(error, 'code', '')}"
    except TooSlow as error:
        return "slow", _place(error)
    except Exception as error:  # any other exception is a finding
        return type(error).__name__, _place(error)
    return "ok", ""


def _place(error: BaseException) -> str:
    """The last line of ttprof that the error passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside ttprof"


class Worker:
    """Damages and reads inputs in *folder*; findings go to *findings*."""

    def __init__(self, folder: Path, findings: Path, seed: int, corpus: dict[str, list[bytes]]) -> None:
        self.counts = Counts()
        self._folder = folder
        self._findings = findings
        self._rng = random.Random(seed)
        self.corpus = corpus
        self._first = {name: len(inputs) for name, inputs in corpus.items()}
        self._limit = float("inf")
        self._known: set[tuple[str, str, str]] = set()
        sys.modules["ncu_report"] = fake_reader()  # type: ignore[assignment]

    def warm_up(self) -> None:
        """Read every whole input, which imports all there is to import."""
        for target in TARGETS:
            for data in list(self.corpus[target.name]):
                if self.try_input(target, data) != "ok":
                    self.save(target, data, "a whole input is not read")
        self._limit = peak_mib() + MEMORY_MIB

    @property
    def is_sound(self) -> bool:
        """Whether the process can go on: False if its memory has grown, so that it has to be replaced."""
        return peak_mib() <= self._limit

    def step(self) -> bool:
        """Try one input, and return whether the process can go on."""
        target = self._rng.choice(TARGETS)
        seeds = self.corpus[target.name]
        data = mutated(target.name, self._rng.choice(seeds), self._rng, seeds)
        self.try_input(target, data)
        return self.is_sound

    def try_input(self, target: Target, data: bytes) -> str:
        """Read an input, and return the kind of its outcome; a new outcome is saved, or damaged further."""
        path = self._folder / f"{target.name}{target.suffix}"
        path.write_bytes(data)
        started, peak = time.process_time(), peak_mib()
        kind, place = outcome(target, path)
        self._count(target, data, kind, time.process_time() - started)
        if not self.is_sound and peak_mib() - peak > MEMORY_MIB / 4:  # in one step: what grows slowly is the fuzzer
            kind = "memory"
        key = (target.name, kind, place)
        if key in self._known:
            return kind
        self._known.add(key)
        self.counts.outcomes += 1
        if kind not in ("ok", "refused"):
            self.save(target, data, f"{kind} at {place}")
        elif len(self.corpus[target.name]) < self._first[target.name] + EVOLVED:
            self.corpus[target.name].append(data)
        return kind

    def _count(self, target: Target, data: bytes, kind: str, seconds: float) -> None:
        counts = self.counts
        counts.inputs[target.name] = counts.inputs.get(target.name, 0) + 1
        counts.accepted += kind == "ok"
        counts.peak_mib = peak_mib()
        if seconds > counts.slowest_s:
            counts.slowest_s = seconds
            counts.slowest = f"{target.name}, {len(data)} bytes"

    def save(self, target: Target, data: bytes, what: str) -> None:
        """Keep an input, and name the finding."""
        self._findings.mkdir(parents=True, exist_ok=True)
        path = self._findings / f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}{target.suffix}"
        path.write_bytes(data)
        self.counts.findings.append(f"{target.name}: {what}: {path}")
