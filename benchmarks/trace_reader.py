"""Time to read a large trace: ttprof against other tools, each in its own process.

Repeats a recorded trace, with shifted times and ids, up to the requested size, and prints the time, MB/s, peak memory
and ratio to ttprof of each tool that reads it. ttprof reads *and analyses*; json and msgspec only decode; Holistic
Trace Analysis (TraceAnalysis, and its parser alone) and torch-tb-profiler load it into their own tables. Tools that are
not installed are reported as not measured. After that come the same trace gzipped and with decimal timestamps, and
the growth of the time with the size.

    python benchmarks/trace_reader.py ../shared/traces/kineto/v100_8rank_mem_rank1.json.gz --python WITH_PEERS
"""

from __future__ import annotations

import argparse
import gzip
import math
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TIMED = """
import re, resource, sys, time
path = sys.argv[1]
{setup}
if __name__ == "__main__":
    start = time.perf_counter()
    {read}
    read = time.perf_counter()
    {then}
    end = time.perf_counter()
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    child_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print("RESULT", end - start, end - read, peak / 1024, child_peak / 1024)
"""

TOOLS = {
    "ttprof": (
        "from ttprof.trace.analyses import summary\nfrom ttprof.trace.formats import kineto",
        "trace = kineto.read(path)",
        "summary.summarise(trace)",
    ),
    "json": ("import json", "json.load(open(path))", "pass"),
    "msgspec whole file": ("import msgspec", "msgspec.json.decode(open(path, 'rb').read())", "pass"),
    "HTA": (
        "import logging; logging.disable(logging.WARNING)\nfrom hta.trace_analysis import TraceAnalysis",
        "TraceAnalysis(trace_files={1: path}, trace_dir='.')",
        "pass",
    ),
    "HTA, its parser only": (
        "import logging; logging.disable(logging.WARNING)\nfrom hta.common.trace_parser import parse_trace_dataframe\n"
        "from hta.configs.parser_config import ParserConfig",
        "parse_trace_dataframe(path, ParserConfig.get_default_cfg())",
        "pass",
    ),
    "torch-tb-profiler": (
        "import logging; logging.disable(logging.WARNING)\nfrom torch_tb_profiler.profiler.data import RunProfileData",
        "RunProfileData.parse('worker', '1', path, None)",
        "pass",
    ),
}

SIMDJSON_MB_PER_S = 760
"""The speed of simdjson's on-demand parser in C++ on such a trace, measured separately: an upper bound."""

_SHIFTED = re.compile(r'"(ts|correlation|External id|id)": (\d+)')
_ID_STEP = 10_000_000
_US_STEP = 10_000_000


@dataclass(frozen=True)
class Measured:
    """Total seconds, seconds of the analysis, and peak memory of the process and of its largest child in MB."""

    seconds: float
    analysis: float
    peak: float
    child_peak: float


def write_repeated(source: Path, target: Path, megabytes: int, decimals: bool = False) -> None:
    """Repeat the rows of *source*, in their layout and with shifted times and ids, until *target* has the size."""
    whole = gzip.decompress(source.read_bytes()).decode()
    start = whole.index("[", whole.index('"traceEvents"')) + 1
    end = whole.rindex("]")
    with target.open("w", encoding="utf-8") as out:
        size = out.write(whole[:start])
        for copy in range(10**6):
            size += out.write("," * bool(copy) + _shifted(whole[start:end].rstrip(), copy, decimals))
            if size >= megabytes * 1e6:
                break
        out.write(whole[end:])


def _shifted(text: str, copy: int, decimals: bool) -> str:
    def shift(match: re.Match[str]) -> str:
        key, number = match[1], int(match[2])
        if key == "ts":
            return f'"ts": {number + copy * _US_STEP}{".125" if decimals else ""}'
        return f'"{key}": {number + copy * _ID_STEP}'

    return _SHIFTED.sub(shift, text)


def measure(tool: str, path: Path, python: str) -> Measured | str:
    """The time and memory of one tool for one file, or the reason why it did not run."""
    setup, read, then = TOOLS[tool]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".py") as script:
        script.write(TIMED.format(setup=setup, read=read, then=then))
        script.flush()
        completed = subprocess.run([python, script.name, str(path)], capture_output=True, text=True, check=False)
    lines = [line.split() for line in completed.stdout.splitlines() if line.startswith("RESULT")]
    if completed.returncode or not lines:
        return (completed.stderr.strip().splitlines() or ["no output"])[-1][:100]
    return Measured(*map(float, lines[0][1:]))


def print_table(path: Path, tools: list[str], python: str) -> Measured | None:
    """Print one row per tool for one file. Returns the measurement of the first tool that ran."""
    megabytes = path.stat().st_size / 1e6
    print(f"\n{path.name}: {megabytes:.0f} MB")
    print(f"{'tool':<22}{'seconds':>9}{'MB/s':>8}{'peak MB':>9}{'+ child':>9}{'x ttprof':>10}")
    first = None
    for tool in tools:
        measured = measure(tool, path, python if tool != "ttprof" else sys.executable)
        if isinstance(measured, str):
            print(f"{tool:<22}not measured: {measured}")
            continue
        first = first or measured
        speed = megabytes / measured.seconds
        row = f"{measured.seconds:9.2f}{speed:8.0f}{measured.peak:9.0f}{measured.child_peak:9.0f}"
        print(f"{tool:<22}{row}{measured.seconds / first.seconds:10.2f}", flush=True)
    return first


def print_variants(source: Path, plain: Path, megabytes: int, base: Measured) -> None:
    """Compare the same trace gzipped, and with decimal timestamps, with the plain one."""
    packed, decimal = plain.with_name("gzipped.json.gz"), plain.with_name("decimal.json")
    with plain.open("rb") as text, gzip.open(packed, "wb", compresslevel=3) as out:
        while block := text.read(1 << 24):
            out.write(block)
    write_repeated(source, decimal, megabytes, decimals=True)
    for path in (packed, decimal):
        measured = print_table(path, ["ttprof"], sys.executable)
        if measured:
            print(f"{measured.seconds / base.seconds:.2f} times the plain trace")


def print_growth(source: Path, folder: Path, sizes: list[int]) -> None:
    """Print the exponent with which the time grows, from the smallest to the largest size."""
    points = []
    for size in sizes:
        path = folder / f"{size}.json"
        write_repeated(source, path, size)
        measured = print_table(path, ["ttprof"], sys.executable)
        if measured:
            points.append((path.stat().st_size, measured.seconds))
            print(f"analysis: {100 * measured.analysis / measured.seconds:.0f} % of the time")
        path.unlink()
    (small, fast), (large, slow) = points[0], points[-1]
    exponent = math.log(slow / fast) / math.log(large / small)
    print(f"\ntime grows with size^{exponent:.2f} from {small / 1e6:.0f} to {large / 1e6:.0f} MB (1 is linear)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a recorded .json.gz trace to repeat")
    parser.add_argument("--megabytes", type=int, default=540, help="size of the trace to read (default 540)")
    parser.add_argument("--python", default=sys.executable, help="interpreter with the other tools installed")
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 200, 800, 2000], help="sizes in MB for the growth")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = folder / "plain.json"
        write_repeated(arguments.source, plain, arguments.megabytes)
        ours = print_table(plain, list(TOOLS), arguments.python)
        if ours:
            speed = plain.stat().st_size / 1e6 / ours.seconds
            print(f"{speed / SIMDJSON_MB_PER_S:.2f} of the {SIMDJSON_MB_PER_S} MB/s at which simdjson parses")
            print(f"analysis: {100 * ours.analysis / ours.seconds:.0f} % of the time")
            print_variants(arguments.source, plain, arguments.megabytes, ours)
        if arguments.sizes:
            print_growth(arguments.source, folder, arguments.sizes)


if __name__ == "__main__":
    main()
