"""Files that are no trace of torch.profiler: named, with the next step."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import kineto_files as k
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.codes import NoteCode
from ttprof.errors import TraceError
from ttprof.trace.formats import detect


def label(pid: int, name: str) -> dict:
    return {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}


def slice_(name: str, pid: int = 1, **fields) -> dict:
    return {"ph": "X", "name": name, "pid": pid, "tid": 1, "ts": 5.5, "dur": 2.5, **fields}


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"segments": [], "trap": Trap()}), "a Python pickle.*memory_viz"),
        (b"\x0a\x1a\x0a\x10/host:metadata\x12\x06python", "XPlane file.*xprof"),
        (b"\x0a\x42\x08\x01\x12\x3e perfetto", "a Perfetto trace.*ui.perfetto.dev"),
        (b"NVR\x00" + b"\x00" * 100, "a report of Nsight Compute.*ncu-explain"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html><body>trace.json</body></html>", "an HTML page.*raw link"),
        (b'{"schema": "1.0.2-chakra.0.0.4", "pid": 1, "nodes": [{"id": 1}]}', "an execution trace"),
        (b'{"schema": "1.1.0", "pid": 1, "time": "now", "nodes": []}', "an execution trace"),
        (b'{"data":["[Unknown]","cudaLaunchKernel"]}\n{"Type":48,"CudaEvent":{"startNs":"5"}}', "export --type sqlite"),
        (b'{"$schema": "https://www.speedscope.app/file-format-schema.json", "profiles": []}', "a speedscope profile"),
    ],
)
def test_files_without_events(content, words):
    Path("file.bin").write_bytes(content)
    with pytest.raises(TraceError, match=words):
        detect.read("file.bin")
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([label(1, "/device:GPU:0"), slice_("fusion.1")], "a trace of JAX or XLA"),
        ([label(1, "/job:localhost/replica:0/task:0"), slice_("MatMul")], "a timeline of TensorFlow"),
        ([label(1, "Ascend Hardware"), slice_("aclnnAdd", args={"Stream Id": 3})], "a trace of torch_npu"),
        ([slice_("exec", args={"NeuronCore": 1})], "a trace of AWS Neuron"),
        ([slice_("RunTask", cat="toplevel")], "a trace of Chrome itself"),
        ([slice_("whatever")], "this is no trace of it"),
    ],
)
def test_files_with_events_of_others(events, words):
    k.write(Path("t.json"), events)
    trace = detect.read("t.json")
    (note,) = trace.notes
    assert note.code is NoteCode.FOREIGN and words in str(note)
    assert sum(row.count for row in trace.unknown) == 1
    shown = " ".join(CliRunner().invoke(command, ["t.json"]).stdout.split())
    assert "WARNING unknown rows: 1 of" in shown and words in shown
    assert "no device activity" not in shown and "not recorded" not in shown


def test_operators_of_torch_npu_are_read_and_its_device_rows_are_named():
    events = [
        {**k.span("cpu_op", "aten::add", 0, 5), "ts": "1704161511422800.491"},
        label(800, "Ascend Hardware"),
        {**slice_("aclnnAdd", pid=800, args={"Stream Id": 3}), "ts": "1704161511422904.204"},
    ]
    k.write(Path("t.json"), events)
    found = json.loads(CliRunner().invoke(command, ["t.json", "--json"]).stdout)
    assert [op["name"] for op in found["ops"]] == ["aten::add"]
    assert found["trace"]["unknown"] == [{"category": None, "phase": "X", "count": 1, "time_ns": 2500}]
    assert "torch_npu" in found["trace"]["notes"][0]["text"]


def test_one_unknown_category_beside_kernels_is_counted_and_nothing_else_is_said():
    k.write(Path("t.json"), [*k.two_iterations(), slice_("x", cat="/device:GPU:0 thing")])
    trace = detect.read("t.json")
    assert trace.notes == () and [row.category for row in trace.unknown] == ["/device:GPU:0 thing"]
