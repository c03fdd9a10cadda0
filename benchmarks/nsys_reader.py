"""Reading a large export of Nsight Systems: ttprof beside ``nsys stats``, in one run, each in a process of its own.

A recorded export is repeated, with shifted times and correlation ids, until it has the size asked for; then each tool
reads it, and its time, MB/s and peak memory are printed. ttprof reads all tables and makes every analysis;
``nsys stats`` makes the summaries of kernels, of copies and of kernels by NVTX range, which is what both have. Without
an nsys it is left out and named. The recorded file itself is read too: that is the time of a small export, after start.

    python benchmarks/nsys_reader.py ../shared/traces/nsys/h100x2_mfu_before_n2026.sqlite --megabytes 1000
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMED = """
import re, sys, time
from ttprof.trace.formats import nsys_sqlite
from ttprof.trace.analyses import summary
start = time.perf_counter()
trace = nsys_sqlite.read(sys.argv[1])
read = time.perf_counter()
found = summary.summarise(trace)
end = time.perf_counter()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print("RESULT", read - start, end - read, peak / 1024, found.events)
"""

REPORTS = (
    ("cuda_gpu_kern_sum", "gpukernsum"),
    ("cuda_gpu_mem_time_sum", "gpumemtimesum"),
    ("nvtx_kern_sum", "nvtxkernsum"),
)
"""The summaries by the names of newer and of older versions."""

TABLES = ("KERNEL", "MEMCPY", "MEMSET", "RUNTIME", "SYNCHRONIZATION", "OVERHEAD")
IDS = 1 << 22
"""Correlation ids of a repetition are shifted by so much, times its number."""


def repeated(source: Path, target: Path, megabytes: int) -> int:
    """Append the rows of *source* to a copy, later and with other ids, until it has the size; how often it has them."""
    shutil.copy(source, target)
    target.chmod(0o644)
    connection = sqlite3.connect(target, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    tables = [f"CUPTI_ACTIVITY_KIND_{name}" for name in TABLES] + ["NVTX_EVENTS"]
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    tables = [table for table in tables if table in there]
    for table in tables:
        connection.execute(f"CREATE TEMP TABLE first_{table} AS SELECT * FROM {table}")
    first, last = connection.execute("SELECT min(start), max(end) FROM CUPTI_ACTIVITY_KIND_RUNTIME").fetchone()
    count = 1
    while target.stat().st_size < megabytes * 2**20:
        connection.execute("BEGIN")
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            shifted = [_shifted(column, count, last - first + 1_000_000) for column in columns]
            connection.execute(f"INSERT INTO {table} SELECT {', '.join(shifted)} FROM first_{table}")
        connection.execute("COMMIT")
        count += 1
    connection.close()
    return count


def _shifted(column: str, count: int, span: int) -> str:
    by = {"start": count * span, "end": count * span, "correlationId": count * IDS}.get(column)
    return f'"{column}"' if by is None else f'"{column}" + {by}'


def ttprof(path: Path) -> tuple[float, float, float, int]:
    """Seconds of reading and of the analyses, the peak of memory in MiB, and the rows read."""
    done = subprocess.run([sys.executable, "-c", TIMED, str(path)], check=True, capture_output=True, text=True)
    read, analysed, peak, rows = done.stdout.split("RESULT")[1].split()
    return float(read), float(analysed), float(peak), int(rows)


def nsys_stats(path: Path) -> tuple[float, float] | None:
    """Seconds of ``nsys stats`` for the three summaries, and the peak of memory of its processes in MiB."""
    nsys = shutil.which("nsys")
    if nsys is None:
        return None
    listed = subprocess.run([nsys, "stats", "--help-reports"], check=False, capture_output=True, text=True).stdout
    names = [new if new in listed else old for new, old in REPORTS]
    command = [nsys, "stats", "--format=csv", "--output=-", *(f"--report={name}" for name in names), str(path)]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode or "Instances" not in done.stdout:
        print(f"nsys stats failed: {(done.stderr or done.stdout)[-300:]}")
        return None
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Print both, on the recorded file and on the large one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "large.sqlite")
        times = repeated(chosen.source, large, chosen.megabytes)
        print(f"{large.stat().st_size / 2**20:.0f} MB: {chosen.source.name}, {times} times")
        for path in (chosen.source, large):
            report(path)


def report(path: Path) -> None:
    """One file, by both tools."""
    size = path.stat().st_size / 2**20
    peer = nsys_stats(path)  # first, so that its peak of memory is not that of ttprof
    read, analysed, peak, rows = ttprof(path)
    print(f"\n{size:.1f} MB, {rows} rows")
    both = read + analysed
    print(f"  ttprof      {both:8.2f} s  {size / both:7.1f} MB/s  peak {peak:6.0f} MiB   (reading {read:.2f} s)")
    if peer is None:
        print("  nsys stats  left out: no nsys that made the summaries")
    else:
        seconds, peer_peak = peer
        told = f"  nsys stats  {seconds:8.2f} s  {size / seconds:7.1f} MB/s  peak {peer_peak:6.0f} MiB"
        print(f"{told}   {seconds / both:.1f}x of ttprof")


if __name__ == "__main__":
    main()
