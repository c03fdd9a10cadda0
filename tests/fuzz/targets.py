"""The readers that are fuzzed: what reads an input, and which files of the project's own makers it starts from."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import kineto_files as k
import msgspec
import ncu_fakes
import nsys_files as n
import numpy as np
import results

from ttprof import baseline, result_file
from ttprof.nsight import compute_report
from ttprof.trace.analyses import diff, summary
from ttprof.trace.formats import detect, nsys_sqlite
from ttprof.trace.formats.kineto_writer import write as write_kineto
from ttprof.verdict import Status

LARGEST_SEED = 20_000
"""Bytes; larger inputs make fewer of them per second, and find no more."""


@dataclass(frozen=True)
class Target:
    """A reader: the name of its files, what reads one, and the content of some that are whole."""

    name: str
    suffix: str
    read: Callable[[Path], None]
    seeds: Callable[[], Iterator[bytes]]


def read_trace(path: Path) -> None:
    """What ``ttprof analyze`` does, with and without ``--salvage``."""
    trace = detect.read(path, salvage=path.stat().st_size % 2 == 1, processes=1)
    summary.summarise(trace)
    if trace.events % 8 == 0:
        diff.diff(trace, trace)


def read_export(path: Path) -> None:
    trace = detect.read(path)
    summary.summarise(trace)
    if trace.events % 4 == 0:
        nsys_sqlite.closed_ranges(path)
        nsys_sqlite.range_window(path, "layer")


def read_result(path: Path) -> None:
    for result in result_file.load_all(path):
        _ = result.failures


def read_baseline(path: Path) -> None:
    whole = baseline.read(path)
    baseline.read_for(path, whole.name)
    baseline.is_result(path)
    for trial in whole.trials:
        for stored in trial.measurements:
            np.asarray(stored.unpacked, dtype=np.float64).sum()


def read_report(path: Path) -> None:
    for kernel in compute_report.slowest_first(compute_report.read(path)):
        msgspec.json.encode(kernel)


def kineto_seeds() -> Iterator[bytes]:
    for events in (k.two_iterations(), k.training_step(), [k.op("aten::mm", 1.5, 2.25), *k.arrow(1, (1, 2), (2, 3))]):
        yield json.dumps({"schemaVersion": 1, "traceEvents": events, "traceName": "x"}).encode()
    epoch = [{**event, "ts": event["ts"] + 1700000000000000.125} for event in k.two_iterations()[:6]]
    device = {"id": 0, "name": "a GPU", "totalGlobalMem": 1 << 34}
    yield json.dumps({"deviceProperties": [device], "traceEvents": epoch, "baseTimeNanoseconds": 7}).encode()
    yield json.dumps(k.training_step()).encode()


def packed_seeds() -> Iterator[bytes]:
    yield from map(gzip.compress, kineto_seeds())
    with tempfile.TemporaryDirectory() as folder:
        export = n.write(Path(folder, "t.sqlite"), kernel=[n.kernel(0, 1, 1)], nvtx=[n.pushed(0, 5, "layer")])
        write_kineto(nsys_sqlite.read(export), Path(folder, "t.json.gz"))
        yield Path(folder, "t.json.gz").read_bytes()


def export_seeds() -> Iterator[bytes]:
    op = n.pushed(1, 9, "aten::mm, seq = 4, op_id = 3")
    tables: dict[str, list[Any]] = {
        "kernel": [n.kernel(10 * i, 10 * i + 5, i) for i in range(5)],
        "runtime": [n.launch(10 * i - 5, 10 * i - 4, i) for i in range(1, 5)],
        "nvtx": [op, n.pushed(0, 40, "layer"), n.started(3, None, "epoch"), (1, 2, 59, n.MAIN, None, n.REGISTERED)],
        "memory": [(1, 0, 512, 4096, 0), (2, 0, 512, 4096, 1)],
        "memcpy": [(50, 60, 0, 7, 9, n.PROCESS, 1, 64)],
        "diagnostic": [(6, "2 records were dropped.")],
    }
    with tempfile.TemporaryDirectory() as folder:
        for kinds in (tables, {"kernel": tables["kernel"]}):
            path = n.write(Path(folder, "t.sqlite"), gpu=[(0, "a GPU")], **kinds)
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA page_size = 512")
            connection.execute("VACUUM")
            connection.close()
            yield path.read_bytes()


def result_seeds() -> Iterator[bytes]:
    yield from (msgspec.json.encode(suite) for suite in (*results.SUITES.values(), results.BOUNDED))
    first = msgspec.to_builtins(results.SUITES["failing"])
    for trial in first["cases"][0]["trials"]:
        trial["notes"] = ["a note of version 1"]
    yield json.dumps({**first, "version": 1}).encode()
    yield b"[" + msgspec.json.encode(results.SUITES["passing"]) + b"]"


def baseline_seeds() -> Iterator[bytes]:
    for suite in (results.SUITES["swept"], results.BOUNDED):
        yield msgspec.json.encode(baseline.of(suite))
    measured = results.measured("latency_ms", 3.0, samples=[3e6, 3.1e6, 2.9e6])
    yield msgspec.json.encode(baseline.of(results.suite(results.case("ffn", Status.PASS, results.trial(measured)))))
    yield msgspec.json.encode(results.SUITES["swept"])


def report_seeds() -> Iterator[bytes]:
    """A report as the fake reads it: the header of a real one, then its kernels as JSON."""
    rule = {"message": "@url:more:https://x@", "type": 2, "speedup": [2, 12.5]}
    kernel = {"metrics": ncu_fakes.FULL, "function": "gemm", "rules": [rule], "kind": 0, "nvtx": ["layer", "block"]}
    yield ncu_fakes.HEADER + json.dumps([kernel]).encode()
    yield ncu_fakes.HEADER + json.dumps([{**kernel, "metrics": ncu_fakes.SPEED_OF_LIGHT}, kernel]).encode()


def fake_reader() -> ModuleType | SimpleNamespace:
    """A module like NVIDIA's that reads those reports, and returns nothing for a damaged one."""

    def load(file_name: str) -> Any:
        try:
            kernels = json.loads(Path(file_name).read_bytes()[len(ncu_fakes.HEADER) :])
            actions = [_action(kernel) for kernel in kernels]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            actions = []
        return ncu_fakes.IContext([ncu_fakes.IRange(actions)])

    return SimpleNamespace(IAction=ncu_fakes.IAction, load_report=load)


def _action(kernel: Any) -> ncu_fakes.IAction:
    domain = ncu_fakes.INvtxDomainInfo("domain", tuple(map(str, kernel["nvtx"])))
    return ncu_fakes.IAction(
        metrics={str(name): (value, str(unit)) for name, (value, unit) in kernel["metrics"].items()},
        function=None if kernel["function"] is None else str(kernel["function"]),
        nvtx=ncu_fakes.INvtxState(domain),
        rules=tuple(ncu_fakes.IRuleResult(str(r["message"]), r["type"], tuple(r["speedup"])) for r in kernel["rules"]),
        kind=kernel["kind"],
    )


TARGETS = (
    Target("kineto", ".json", read_trace, kineto_seeds),
    Target("gzip", ".json.gz", read_trace, packed_seeds),
    Target("nsys", ".sqlite", read_export, export_seeds),
    Target("result", ".json", read_result, result_seeds),
    Target("baseline", ".json", read_baseline, baseline_seeds),
    Target("ncu", ".ncu-rep", read_report, report_seeds),
)
