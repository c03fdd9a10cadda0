"""Reading a large trace: ttprof beside its peers, in one run, each in a process of its own.

A recorded trace is repeated as it is written, with shifted times and ids, until it has the size asked for; then each
tool reads it, and its time, MB/s and peak memory are printed, with the ratio to ttprof. ttprof reads *and analyses*;
json and msgspec only decode; Holistic Trace Analysis (as TraceAnalysis loads it, and its parser alone) and
torch-tb-profiler load it into their own tables. A peer that is not installed is left out and named. Then: the same
trace gzipped and with decimal timestamps, and how time grows with size.

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
    own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print("RESULT", end - start, end - read, own / 1024, children / 1024)
"""

TOOLS = {
    "ttprof": ("from ttprof.trace import kineto, summary", "trace = kineto.read(path)", "summary.summarise(trace)"),
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
"""What simdjson's on-demand parser reached in C++ on such a trace, measured elsewhere: a limit, not a peer."""

_SHIFTED = re.compile(r'"(ts|correlation|External id|id)": (\d+)')
_ID_STEP = 10_000_000
_US_STEP = 10_000_000


@dataclass(frozen=True)
class Measured:
    """Seconds in all and in the analysis, and the peak of the process and of the largest of its children in MB."""

    seconds: float
    analysis: float
    peak: float
    child_peak: float


def repeated(source: Path, target: Path, megabytes: int, decimals: bool = False) -> None:
    """Write the rows of *source* again and again, in its own layout, until *target* has the size."""
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
    def moved(match: re.Match[str]) -> str:
        key, number = match[1], int(match[2])
        if key == "ts":
            return f'"ts": {number + copy * _US_STEP}{".125" if decimals else ""}'
        return f'"{key}": {number + copy * _ID_STEP}'

    return _SHIFTED.sub(moved, text)


def measure(tool: str, path: Path, python: str) -> Measured | str:
    """What one tool needs for one file, or why it did not run."""
    setup, read, then = TOOLS[tool]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".py") as script:
        script.write(TIMED.format(setup=setup, read=read, then=then))
        script.flush()
        done = subprocess.run([python, script.name, str(path)], capture_output=True, text=True, check=False)
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if done.returncode or not found:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:100]
    return Measured(*map(float, found[0][1:]))


def table(path: Path, tools: list[str], python: str, label: str = "") -> Measured | None:
    """One row for each tool on one file; returns what the first one needed."""
    megabytes = path.stat().st_size / 1e6
    print(f"\n{label or path.name}: {megabytes:.0f} MB")
    print(f"{'tool':<22}{'seconds':>9}{'MB/s':>8}{'peak MB':>9}{'+ child':>9}{'x ttprof':>10}")
    ours = None
    for tool in tools:
        found = measure(tool, path, python if tool != "ttprof" else sys.executable)
        if isinstance(found, str):
            print(f"{tool:<22}not measured: {found}")
            continue
        ours = ours or found
        row = f"{found.seconds:9.2f}{megabytes / found.seconds:8.0f}{found.peak:9.0f}{found.child_peak:9.0f}"
        print(f"{tool:<22}{row}{found.seconds / ours.seconds:10.2f}", flush=True)
    return ours


def variants(source: Path, plain: Path, megabytes: int, base: Measured) -> None:
    """The same trace gzipped, and with decimal timestamps since the epoch, beside the plain one."""
    packed, decimal = plain.with_name("gzipped.json.gz"), plain.with_name("decimal.json")
    with plain.open("rb") as text, gzip.open(packed, "wb", compresslevel=3) as out:
        while block := text.read(1 << 24):
            out.write(block)
    repeated(source, decimal, megabytes, decimals=True)
    for path in (packed, decimal):
        found = table(path, ["ttprof"], sys.executable)
        if found:
            print(f"{found.seconds / base.seconds:.2f} times the plain one")


def growth(source: Path, folder: Path, sizes: list[int]) -> None:
    """How time grows with size: the exponent between each two neighbours and over all."""
    points = []
    for size in sizes:
        path = folder / f"{size}.json"
        repeated(source, path, size)
        found = table(path, ["ttprof"], sys.executable)
        if found:
            points.append((path.stat().st_size, found.seconds))
            print(f"analysis is {100 * found.analysis / found.seconds:.0f} % of it")
        path.unlink()
    (small, fast), (large, slow) = points[0], points[-1]
    exponent = math.log(slow / fast) / math.log(large / small)
    print(f"\ntime grows with size^{exponent:.2f} from {small / 1e6:.0f} to {large / 1e6:.0f} MB (1 is linear)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a recorded .json.gz trace to repeat")
    parser.add_argument("--megabytes", type=int, default=540, help="size of the trace to read (default 540)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers installed")
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 200, 800, 2000], help="sizes in MB to grow over")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = folder / "plain.json"
        repeated(arguments.source, plain, arguments.megabytes)
        ours = table(plain, list(TOOLS), arguments.python)
        if ours:
            speed = plain.stat().st_size / 1e6 / ours.seconds
            print(f"{speed / SIMDJSON_MB_PER_S:.2f} of the {SIMDJSON_MB_PER_S} MB/s at which simdjson only parses")
            print(f"analysis is {100 * ours.analysis / ours.seconds:.0f} % of it")
            variants(arguments.source, plain, arguments.megabytes, ours)
        if arguments.sizes:
            growth(arguments.source, folder, arguments.sizes)


if __name__ == "__main__":
    main()
