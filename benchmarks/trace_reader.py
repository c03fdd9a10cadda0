"""Reading a large trace: ttprof beside its peers, in one run, each in a process of its own.

A recorded trace is repeated with shifted times and ids until it has the size asked for; then each tool reads it, and
its time, MB/s and peak memory are printed, with the ratio to ttprof. ttprof reads *and summarises*; json and msgspec
only decode; Holistic Trace Analysis and torch-tb-profiler load it into their own tables. A peer that is not
installed is left out and named.

    python benchmarks/trace_reader.py ../shared/traces/kineto/v100_8rank_mem_rank1.json.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TIMED = """
import re, sys, time
path = sys.argv[1]
{setup}
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print("RESULT", seconds, int(peak_kb) / 1024)
"""

TOOLS = {
    "ttprof": ("from ttprof.trace import kineto, summary", "summary.summarise(kineto.read(path))"),
    "json": ("import json", "json.load(open(path))"),
    "msgspec whole file": ("import msgspec", "msgspec.json.decode(open(path, 'rb').read())"),
    "HTA": (
        "import logging; logging.disable(logging.WARNING)\nfrom hta.common.trace_parser import parse_trace_dataframe\n"
        "from hta.configs.parser_config import ParserConfig",
        "parse_trace_dataframe(path, ParserConfig.get_default_cfg())",
    ),
    "torch-tb-profiler": (
        "import logging; logging.disable(logging.WARNING)\nfrom torch_tb_profiler.profiler.data import RunProfileData",
        "RunProfileData.parse('worker', '1', path, None)",
    ),
}

ID_STEP = 10_000_000
TIME_STEP_US = 10_000_000


def repeated(source: Path, target: Path, megabytes: int, decimals: bool) -> None:
    """Write *source* again and again, its ids and times shifted, until *target* has the size."""
    whole = json.loads(gzip.decompress(source.read_bytes()))
    events = whole.pop("traceEvents")
    size = 0
    with target.open("w") as out:
        out.write(json.dumps(whole)[:-1] + ', "traceEvents": [\n')
        for copy in range(10**6):
            for event in events:
                text = json.dumps(_shifted(event, copy, decimals))
                size += out.write((",\n" if size else "") + text)
            if size >= megabytes * 1e6:
                break
        out.write('\n], "traceName": "benchmark"}\n')


def _shifted(event: dict, copy: int, decimals: bool) -> dict:
    moved = dict(event)
    if "ts" in moved:
        moved["ts"] = moved["ts"] + copy * TIME_STEP_US
    if "args" in moved and any(key in moved["args"] for key in ("correlation", "External id")):
        moved["args"] = {
            key: value + copy * ID_STEP if key in ("correlation", "External id") and isinstance(value, int) else value
            for key, value in moved["args"].items()
        }
    if decimals and "ts" in moved:
        moved["ts"] = _Decimal(moved["ts"])
    return moved


class _Decimal(float):
    """A whole number of microseconds that is written with three decimals, as torch writes them today."""

    def __repr__(self) -> str:
        return f"{int(self)}.125"


def measure(tool: str, path: Path, python: str) -> tuple[float, float] | str:
    """Seconds and peak MB of one tool on one file, or why it did not run."""
    setup, work = TOOLS[tool]
    code = TIMED.format(setup=setup, work=work)
    done = subprocess.run([python, "-c", code, str(path)], capture_output=True, text=True, check=False)
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if done.returncode or not found:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:100]
    return float(found[0][1]), float(found[0][2])


def table(path: Path, tools: list[str], python: str) -> None:
    """One row for each tool on one file."""
    megabytes = path.stat().st_size / 1e6
    print(f"\n{path.name}: {megabytes:.0f} MB")
    print(f"{'tool':<22}{'seconds':>9}{'MB/s':>8}{'peak MB':>9}{'x ttprof':>10}")
    ours = None
    for tool in tools:
        found = measure(tool, path, python)
        if isinstance(found, str):
            print(f"{tool:<22}not measured: {found}")
            continue
        seconds, peak = found
        ours = ours or seconds
        print(f"{tool:<22}{seconds:9.2f}{megabytes / seconds:8.0f}{peak:9.0f}{seconds / ours:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a recorded .json.gz trace to repeat")
    parser.add_argument("--megabytes", type=int, default=540, help="size of the trace to read (default 540)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers installed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain.json"), Path(folder, "packed.json.gz")
        repeated(arguments.source, plain, arguments.megabytes, decimals=False)
        table(plain, list(TOOLS), arguments.python)
        with gzip.open(packed, "wb", compresslevel=3) as out:
            out.write(plain.read_bytes())
        table(packed, ["ttprof"], arguments.python)
        repeated(arguments.source, plain, arguments.megabytes, decimals=True)
        table(plain.rename(Path(folder, "decimal.json")), ["ttprof"], arguments.python)
        for size in (50, 200, 800):
            path = Path(folder, f"{size}.json")
            repeated(arguments.source, path, size, decimals=False)
            table(path, ["ttprof"], arguments.python)


if __name__ == "__main__":
    main()
