"""How often a gate is right as CI uses it: every run is a fresh process, on a quiet and on a busy machine.

``python benchmarks/ci_rates.py --runs 20`` runs a suite of eight modules (about 0.1 to 50 ms) with limits of 1.5 times
their quiet median and with a baseline of several processes: with 1 and 2 threads, quiet and beside one busy process,
one per core, and bursts of 2 s. It prints false FAILs of the unchanged modules, and what becomes of modules that are 15
and 40 % slower, against limits that they then exceed by as much. The rules of other tools are applied to the same
samples. ``--save FILE`` appends every case as a line of JSON, and ``--show FILE`` prints the rates of all that was
saved; ``--only`` restricts the conditions.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SUITE = Path(__file__).with_name("ci_rates_suite.py")
LOADS = ("quiet", "one", "each", "bursts")
MARGIN = 1.5
"""The limits of unchanged modules, as a multiple of their quiet medians."""

Limits = dict[str, float]


def spin(burst_s: float) -> None:
    """Keep a core busy: always, or every other *burst_s* seconds."""
    while True:
        until = time.monotonic() + (burst_s or 1.0)
        while time.monotonic() < until:
            pass
        time.sleep(burst_s)


@contextmanager
def load(kind: str) -> Iterator[None]:
    count = {"quiet": 0, "one": 1, "each": os.cpu_count() or 1, "bursts": os.cpu_count() or 1}[kind]
    burst_s = 2.0 if kind == "bursts" else 0.0
    busy = [multiprocessing.Process(target=spin, args=(burst_s,), daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.join()


def run(folder: Path, threads: int, slower: float, limits: Limits, *options: str) -> dict[str, Any]:
    """Run the suite in a fresh process. Returns its result, and the seconds that it took as ``wall_s``."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "RATES_SLOWER": str(slower),
        "RATES_LIMITS": json.dumps(limits),
    }
    command = [sys.executable, "-m", "ttprof", "run", "-q", "--json", "result.json", *options, str(SUITE)]
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=900, check=False)
    (result,) = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {**result, "wall_s": time.monotonic() - began}


def samples(case: dict[str, Any]) -> tuple[np.ndarray, float]:
    """All samples of the latency of the first look in ms, and the value that ttprof states."""
    found = next(m for m in case["trials"][0]["measurements"] if m["name"] == "latency_ms")
    return np.array(found["samples"]) / 1e6, found["value"]


def of_kind(case: dict[str, Any], kind: str, metrics: tuple[str, ...]) -> str:
    """The worst status of the verdicts of a kind on some metrics; PASS if there is none."""
    found = {v["status"] for v in case["verdicts"] if v["kind"] == kind and v["metric"] in metrics}
    return next((status for status in ("ERROR", "FAIL", "INCONCLUSIVE") if status in found), "PASS")


def peers(base: np.ndarray, now: np.ndarray, threshold: float = 0.05) -> dict[str, bool]:
    """What other rules say to the samples: that the module became slower."""
    from scipy import stats

    ratio = float(np.median(now) / np.median(base))
    lower = stats.mannwhitneyu(now, base, alternative="greater").pvalue
    return {
        "median +5 %": ratio > 1 + threshold,
        "pytest-benchmark min:5%": float(now.min() / base.min()) > 1 + threshold,
        "pytest-benchmark mean:5%": float(now.mean() / base.mean()) > 1 + threshold,
        "asv (factor 1.1, p < 0.002)": ratio > 1.1 and lower < 0.002,
    }


KINDS = {
    "limit": ("limit", ("latency_ms",)),
    "baseline": ("baseline", ("latency_ms", "cpu_time_ms")),
    "exact": ("baseline", ("op_count", "allocation_count", "allocated_mb")),
}
"""What is counted: the kind of verdict, and the metrics that it is about."""


Row = dict[str, Any]
"""What became of one case."""


def rows_of(what: str, result: dict[str, Any], before: dict[str, np.ndarray]) -> list[Row]:
    """A row for each case of a run."""
    rows = []
    for case in result["cases"]:
        measured = case["trials"] and case["trials"][0]["measurements"]
        statuses = {k: of_kind(case, *select) if measured else "ERROR" for k, select in KINDS.items()}
        reasons = [v["reason"] for v in case["verdicts"] if v["status"] != "PASS"]
        said = peers(before[case["module_name"]], samples(case)[0]) if measured else {}
        row = {"what": what, "run": result["started"], "wall_s": result["wall_s"], "case": case["module_name"]}
        rows.append({**row, **statuses, "peers": [name for name, slower in said.items() if slower], "reasons": reasons})
    return rows


@dataclass
class Tally:
    """What became of the cases of one condition."""

    what: str
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: {k: Counter() for k in KINDS})
    peers: Counter[str] = field(default_factory=Counter)
    failed: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Count one case."""
        self.seconds[row["run"]] = row["wall_s"]
        if "FAIL" in (row["limit"], row["baseline"]):
            self.failed.add(row["run"])
        for kind in KINDS:
            self.statuses[kind][row[kind]] += 1
        self.peers.update(row["peers"])

    def show(self) -> None:
        """Print the rates."""
        runs, total = len(self.seconds), sum(self.statuses["limit"].values())
        longest = max(self.seconds.values())
        print(f"{self.what}: {total} cases, {len(self.failed)} of {runs} runs FAIL, longest {longest:.0f} s")
        for kind, counted in self.statuses.items():
            print(f"  {kind:9}", ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in sorted(counted.items())))
        shares = (f"{name}: {100 * n / total:.1f} %" for name, n in sorted(self.peers.items()))
        print("  others   ", ", ".join(shares) or "none", flush=True)


@dataclass
class Calibrated:
    """The quiet medians and samples of a number of threads, beside a baseline in *folder*."""

    folder: Path
    threads: int
    medians: Limits
    samples: dict[str, np.ndarray]


def calibrate(folder: Path, threads: int, runs: int) -> Calibrated:
    """Record the baseline of a number of threads on the quiet machine, and its medians."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ttprof", "baseline", "record", "--runs", str(runs), "-o", "base.json"]
    done = subprocess.run(
        [*command, "--trace-dir", "quiet", str(SUITE)], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    stored = json.loads((folder / "base.json").read_text(encoding="utf-8"))["trials"]
    reference = {
        trial["case"]: metric["value"]
        for trial in stored
        for metric in trial["measurements"]
        if metric["name"] == "latency_ms"
    }
    newest = max(folder.glob("quiet/**/result.json"), key=lambda path: path.stat().st_mtime)
    before = {case["module_name"]: samples(case)[0] for case in json.loads(newest.read_text())["cases"]}
    return Calibrated(folder, threads, reference, before)


def condition(base: Calibrated, kind: str, slower: float, options: argparse.Namespace) -> None:
    """Measure one load and slowdown, and print the rates."""
    limits = {name: MARGIN * value if slower == 1.0 else value for name, value in base.medians.items()}
    tally = Tally(f"{base.threads} threads, {kind}, {slower:g} times the work")
    for _ in range(options.runs):
        with load(kind):
            result = run(base.folder, base.threads, slower, limits, "--baseline", "base.json")
        rows = rows_of(tally.what, result, base.samples)
        for row in rows:
            tally.add(row)
        if options.save is not None:
            with options.save.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
    tally.show()


def show(path: Path) -> None:
    """Print the rates of all rows that were saved."""
    tallies: dict[str, Tally] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tallies.setdefault(row["what"], Tally(row["what"])).add(row)
    for tally in tallies.values():
        tally.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="fresh processes for each condition and slowdown")
    parser.add_argument("--calibrate", type=int, default=5, help="quiet runs that set the limits and the baseline")
    parser.add_argument("--only", nargs="*", default=[f"{t}-{kind}" for t in (1, 2) for kind in LOADS])
    parser.add_argument("--slower", nargs="*", type=float, default=[1.0, 1.15, 1.4], help="multiples of the work")
    parser.add_argument("--save", type=Path, help="append every case to this file")
    parser.add_argument("--show", type=Path, help="only print the rates of such a file")
    options = parser.parse_args()
    if options.show is not None:
        show(options.show)
        return
    chosen = [(int(threads), kind) for threads, _, kind in (text.partition("-") for text in options.only)]
    for threads in dict.fromkeys(threads for threads, _ in chosen):
        with tempfile.TemporaryDirectory(prefix="ttprof-rates-") as folder:
            base = calibrate(Path(folder), threads, options.calibrate)
            for slower in options.slower:
                for kind in (kind for count, kind in chosen if count == threads):
                    condition(base, kind, slower, options)


if __name__ == "__main__":
    main()
