"""Fuzzes the readers in several processes, and prints how many inputs it tried; exits with 1 on a finding.

``PYTHONPATH=tests python -m fuzz.run --seconds 600`` starts from files of the project's own makers and, where they are
on this machine, from the small recorded traces of ../shared/traces. Where atheris is installed, it guides every second
process (``fuzz.guided``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NoReturn

from fuzz import guided
from fuzz.targets import LARGEST_SEED, TARGETS
from fuzz.worker import REPORT_EVERY, SECONDS, WAIT_S, Counts, Worker

SHARED = Path(__file__).parents[3] / "shared" / "traces"
HANG_S = 2 * WAIT_S
"""A process that finishes no input for this long is stuck outside Python, where no alarm rings."""

PROGRESS_S = 60.0
"""Between two lines of progress."""


def corpus() -> dict[str, list[bytes]]:
    """The inputs to start from, by target."""
    inputs = {target.name: list(target.seeds()) for target in TARGETS}
    for folder, target in (("kineto", "gzip"), ("nsys", "nsys")):
        files = sorted((SHARED / folder).glob("*")) if SHARED.is_dir() else []
        inputs[target] += [file.read_bytes() for file in files if file.stat().st_size <= LARGEST_SEED]
    return inputs


def work(number: int, seed: int, folder: str, findings: str, reports: Any) -> None:
    """Run one process until it is ended; atheris guides every second one, where it is installed."""
    worker = Worker(Path(folder), Path(findings), seed, corpus())
    worker.warm_up()
    if number % 2 and guided.is_installed():
        guided.run(worker, number, seed, Path(f"{folder}-corpus"), reports)
    while True:
        sound = all(worker.step() for _ in range(REPORT_EVERY))
        reports.put((number, worker.counts))
        if not sound:
            return
        worker.counts = Counts()


@dataclass
class Totals:
    """The sum of all reports."""

    counts: Counts = field(default_factory=Counts)

    def add(self, part: Counts) -> None:
        whole = self.counts
        for name, count in part.inputs.items():
            whole.inputs[name] = whole.inputs.get(name, 0) + count
        whole.accepted += part.accepted
        whole.outcomes += part.outcomes
        whole.findings += part.findings
        whole.peak_mib = max(whole.peak_mib, part.peak_mib)
        if part.slowest_s > whole.slowest_s:
            whole.slowest_s, whole.slowest = part.slowest_s, part.slowest


class Fleet:
    """The processes, which are replaced when they end or hang."""

    def __init__(self, count: int, seed: int, folder: Path, findings: Path) -> None:
        self.totals = Totals()
        self._seeds = random.Random(seed)
        self._folder, self._findings = folder, findings
        self._context = multiprocessing.get_context("spawn")
        self._reports: Any = self._context.Queue()
        self._workers: dict[int, SpawnProcess] = {}
        self._heard: dict[int, float] = {}
        for number in range(count):
            self._start(number)

    def _start(self, number: int) -> None:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        arguments = (number, self._seeds.randrange(1 << 30), str(folder), str(self._findings), self._reports)
        self._workers[number] = self._context.Process(target=work, args=arguments, daemon=True)
        self._workers[number].start()
        self._heard[number] = time.monotonic()

    def watch(self) -> None:
        """Take one report, if there is one, and replace what has ended or hangs."""
        try:
            number, counts = self._reports.get(timeout=1)
            self.totals.add(counts)
            self._heard[number] = time.monotonic()
        except queue.Empty:
            pass
        for number, process in self._workers.items():
            hangs = time.monotonic() - self._heard[number] > HANG_S + SECONDS * REPORT_EVERY * (
                process.exitcode is None
            )
            hangs = hangs or self._is_stuck(number)
            if process.is_alive() and not hangs:
                continue
            if hangs or process.exitcode:
                self._blame(number, "hangs" if hangs else f"ended the process with {process.exitcode}")
            process.kill()
            process.join()
            self._start(number)

    def _is_stuck(self, number: int) -> bool:
        """Whether the input that a process is reading is older than a hang."""
        files = list((self._folder / str(number)).iterdir())
        newest = max((file.stat().st_mtime for file in files), default=time.time())
        return time.time() - newest > HANG_S

    def _blame(self, number: int, what: str) -> None:
        """Keep the input that a process was reading."""
        files = sorted((self._folder / str(number)).iterdir(), key=lambda file: file.stat().st_mtime)
        for file in files[-1:]:
            self._findings.mkdir(parents=True, exist_ok=True)
            kept = self._findings / f"{what.split()[0]}-{number}-{file.name}"
            shutil.copy(file, kept)
            self.totals.counts.findings.append(f"{file.stem}: {what}: {kept}")

    def stop(self) -> None:
        for process in self._workers.values():
            process.kill()
            process.join()


def main() -> None:
    """Fuzz for some seconds or some inputs, whichever is over first."""
    parser = argparse.ArgumentParser(prog="fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--inputs", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    started = said = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ttprof-fuzz-") as folder:
        fleet = Fleet(options.workers, options.seed, Path(folder), options.findings)
        try:
            while time.monotonic() - started < options.seconds and fleet.totals.counts.total < options.inputs:
                fleet.watch()
                if time.monotonic() - said > PROGRESS_S:
                    said = time.monotonic()
                    counts = fleet.totals.counts
                    print(
                        f"{counts.total} inputs in {said - started:.0f} s, {len(counts.findings)} findings", flush=True
                    )
        except KeyboardInterrupt:
            print("interrupted; what was counted until now:")
        finally:
            fleet.stop()
    report(fleet.totals.counts, time.monotonic() - started, options)


def report(counts: Counts, seconds: float, options: argparse.Namespace) -> NoReturn:
    """Print what was tried and found, and exit."""
    by_target = ", ".join(f"{name} {count}" for name, count in sorted(counts.inputs.items()))
    print(
        f"{counts.total} inputs in {seconds:.0f} s with {options.workers} processes, seed {options.seed}: {by_target}"
    )
    print(f"{counts.accepted} were read, the others refused, in {counts.outcomes} ways")
    print(f"slowest {counts.slowest_s:.2f} s ({counts.slowest}), peak memory {counts.peak_mib:.0f} MiB")
    print(f"{len(counts.findings)} findings", *counts.findings, sep="\n  ")
    sys.exit(bool(counts.findings or not counts.total))


if __name__ == "__main__":
    main()
