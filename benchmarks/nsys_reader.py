"""Time to read a large export of Nsight Systems: ttprof against ``nsys stats``, each in its own process.

Repeats a recorded export, with shifted times and correlation ids, up to the requested size, and prints the time, MB/s
and peak memory of each tool for both files. ttprof reads all tables and runs every analysis; ``nsys stats`` computes
the summaries that both have: kernels, copies, and kernels by NVTX range. Without nsys, it is reported as skipped.

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
summed = summary.summarise(trace)
end = time.perf_counter()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print("RESULT", read - start, end - read, peak / 1024, summed.events)
"""

REPORTS = (
    ("cuda_gpu_kern_sum", "gpukernsum"),
    ("cuda_gpu_mem_time_sum", "gpumemtimesum"),
    ("nvtx_kern_sum", "nvtxkernsum"),
)
"""The names of the three reports in newer and in older versions."""

TABLES = ("KERNEL", "MEMCPY", "MEMSET", "RUNTIME", "SYNCHRONIZATION", "OVERHEAD")
ID_STEP = 1 << 22
"""The shift of the correlation ids from one repetition to the next."""


def write_repeated(source: Path, target: Path, megabytes: int) -> int:
    """Repeat the rows of *source*, with shifted times and ids, until *target* has the size; returns the copies."""
    shutil.copy(source, target)
    target.chmod(0o644)
    connection = sqlite3.connect(target, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    tables = [f"CUPTI_ACTIVITY_KIND_{name}" for name in TABLES] + ["NVTX_EVENTS"]
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    tables = [table for table in tables if table in existing]
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
    """The SQL expression of a column in the *count*-th repetition."""
    shift = {"start": count * span, "end": count * span, "correlationId": count * ID_STEP}.get(column)
    return f'"{column}"' if shift is None else f'"{column}" + {shift}'


def ttprof(path: Path) -> tuple[float, float, float, int]:
    """Seconds to read and to analyse, peak memory in MiB, and the number of rows read."""
    completed = subprocess.run([sys.executable, "-c", TIMED, str(path)], check=True, capture_output=True, text=True)
    read, analysed, peak, rows = completed.stdout.split("RESULT")[1].split()
    return float(read), float(analysed), float(peak), int(rows)


def nsys_stats(path: Path) -> tuple[float, float] | None:
    """Seconds of ``nsys stats`` for the three reports, and the peak memory of its processes in MiB."""
    nsys = shutil.which("nsys")
    if nsys is None:
        return None
    available = subprocess.run([nsys, "stats", "--help-reports"], check=False, capture_output=True, text=True).stdout
    names = [new if new in available else old for new, old in REPORTS]
    command = [nsys, "stats", "--format=csv", "--output=-", *(f"--report={name}" for name in names), str(path)]
    start = time.perf_counter()
    completed = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if completed.returncode or "Instances" not in completed.stdout:
        print(f"nsys stats failed: {(completed.stderr or completed.stdout)[-300:]}")
        return None
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Print the times of both tools for the recorded file and for the large one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "large.sqlite")
        count = write_repeated(arguments.source, large, arguments.megabytes)
        print(f"{large.stat().st_size / 2**20:.0f} MB: {arguments.source.name}, {count} times")
        for path in (arguments.source, large):
            report(path)


def report(path: Path) -> None:
    """Print the times of both tools for one file."""
    size = path.stat().st_size / 2**20
    peer = nsys_stats(path)  # first: ru_maxrss of the children would include ttprof's process
    read, analysed, peak, rows = ttprof(path)
    print(f"\n{size:.1f} MB, {rows} rows")
    total = read + analysed
    print(f"  ttprof      {total:8.2f} s  {size / total:7.1f} MB/s  peak {peak:6.0f} MiB   (reading {read:.2f} s)")
    if peer is None:
        print("  nsys stats  skipped: nsys is missing or could not make the reports")
    else:
        seconds, peer_peak = peer
        row = f"  nsys stats  {seconds:8.2f} s  {size / seconds:7.1f} MB/s  peak {peer_peak:6.0f} MiB"
        print(f"{row}   {seconds / total:.1f}x ttprof")


if __name__ == "__main__":
    main()
