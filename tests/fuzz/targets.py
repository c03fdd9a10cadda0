"""The readers that are fuzzed: what reads an input, and which files of the project's own makers it starts from."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import kineto_files as k
import msgspec
import ncu_fakes
import nsys_files as n
import numpy as np
import results

from ttprof import baseline, result_file
from ttprof.bounds import Bound
from ttprof.codes import Note, NoteCode
from ttprof.engine import events as run
from ttprof.engine import journal, judging, lines
from ttprof.engine.judging import SuiteJudge
from ttprof.judge.verdicts import Rounds
from ttprof.machine import ClockRange, GpuUse
from ttprof.nsight import compute_report
from ttprof.observation import Interference, NumericError, Observation, Recording, Timing
from ttprof.result import Element, TrialResult
from ttprof.spec import LAWS, Expected, KernelBudget, Limit, Scaling, Sweep
from ttprof.system.nvml import Throttle
from ttprof.trace.analyses import diff, summary
from ttprof.trace.formats import detect, nsys_sqlite
from ttprof.trace.formats.kineto_writer import write as write_kineto
from ttprof.trial_key import Point
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


def read_journal(path: Path) -> None:
    """What ``ttprof report RUN`` does with a run that has no result: the input is a line or several of its journal."""
    folder = path.with_suffix("")
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "trace.json").write_text(json.dumps({"traceEvents": k.two_iterations()}))
    (folder / journal.JOURNAL_FILE).write_bytes(path.read_bytes())
    with patch.object(judging, "user_code", nullcontext):  # which would turn an error of ours into a verdict
        result = SuiteJudge(journal.read(folder)).result()
    msgspec.json.encode(result)


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


def journal_seeds() -> Iterator[bytes]:
    """Whole journals: of a case with a limit, of a scaling, of one with a reference, and of a run with a baseline."""
    expected = Expected(
        limits=(Limit("latency_ms", 5.0), Limit("kernel_count", 2.0)),
        kernel_budgets=(KernelBudget("*gemm*", time_ms=Bound(high=1.0)),),
    )
    sweep = Expected(scaling=Scaling(LAWS["linear"]), sweeps=(Sweep("seq_len", (1, 2, 4)),))
    began = run.Began(case="a", stage="timing")
    closed = run.Closed()
    yield _lines(_opened(expected), began, run.Entered(phase="timing"), _timed(Point()), _recorded(), closed)
    points = [Point(seq_len=size) for size in (1, 2, 4)]
    rounds = Rounds({size: np.array([1e6, 1.1e6, 1.2e6]) * size for size in (1, 2, 4)})
    yield _lines(_opened(sweep), began, _timed(*points), closed)
    yield _lines(_opened(sweep), msgspec.structs.replace(_timed(*points), rounds=rounds), run.Resumed(at="now"))
    looked = run.CaseLooked(case="a", trials=[_looked()], process=2, readings=[{"loop": 9}])
    failing = Expected(limits=(Limit("latency_ms", 0.5),))
    yield _lines(
        _opened(failing), _timed(Point()), run.Doubted(case="a"), looked, run.CaseLooked(case="a", problem="x")
    )
    suite = results.suite(results.case("a", Status.PASS, results.trial(results.measured("latency_ms", 3.0))))
    compared = msgspec.structs.replace(_opened(expected), baseline=baseline.of(suite))
    yield _lines(compared, _timed(Point(), reference=True), _recorded(), closed)


def _lines(*events: run.AnyEvent) -> bytes:
    return b"".join(map(lines.encode, events))


def _opened(expected: Expected) -> run.Opened:
    case = run.PlannedCase(name="a", module_type="Linear", source="gate.py:1", expected=expected)
    environment = results.SUITES["passing"].environment
    return run.Opened(suite="gate", started="2026-11-30T22:00:00+00:00", environment=environment, cases=[case])


def _timed(*points: Point, reference: bool = False) -> run.CaseTimed:
    worst = Element(reference="float64", path="output", index=[1, 2], value=1.0, expected=1.5)
    error = NumericError(1e-7, 2e-7, 0.99, worst, "float64", rows=(np.array([0.5, np.inf]),))
    observation = Observation("cpu", timing=_looked().module, numerics=error, flops=100)
    if reference:
        observation = replace(observation, reference=observation)
    result = TrialResult(point=Point(), inputs="2x4 float32", inputs_source="given")
    trials = [
        run.TimedTrial(observation=observation, result=msgspec.structs.replace(result, point=point)) for point in points
    ]
    return run.CaseTimed(case="a", trials=trials, seconds={"timing": 1.5})


def _looked() -> run.LookedTrial:
    ns = np.arange(1_000_000, 1_000_006)
    seen = Interference(process_ns=ns, switches=ns % 3, faults=ns % 2, waited_ns=ns % 5, others=0.5, stolen=0.0)
    gpu = GpuUse(sm=ClockRange(lowest=1200, median=1500, highest=1980), throttled=[Throttle.HEAT], others=0.5)
    timing = Timing(ns, ns, ns, warmup=2, threads=1, interference=seen, gpu=gpu)
    return run.LookedTrial(module=timing)


def _recorded() -> run.CaseRecorded:
    peaks = np.array([512, 512])
    note = Note(NoteCode.KERNEL_EXPLAINED, "memory bound")
    recording = Recording(Path("a", "trace.json"), 2, peak_added=peaks, notes=(note,))
    return run.CaseRecorded(case="a", trials=[run.RecordedTrial(module=recording, reference=recording)])


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
    Target("journal", ".lines", read_journal, journal_seeds),
    Target("ncu", ".ncu-rep", read_report, report_seeds),
)
