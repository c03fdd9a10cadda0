"""Scrubbed Kineto traces: what is planted anywhere is gone, and the numbers of the analysis are the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import kineto_files as k
import msgspec
import pytest

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.analyses import summary
from ttprof.trace.formats import detect, kineto
from ttprof.trace.scrub.copying import scrub

SECRETS = [
    "hunter2-planted",
    "alice.planted",
    "gpu-box-planted",
    "/home/alice/planted/train.py",
    "C:\\Users\\alice\\planted\\train.py",
    "10.23.45.67",
    "hf_plantedplantedplanted",
    "bob@planted.example",
]
UNIQUE = ["planted", "alice", "10.23.45.67", "gpu-box"]
"""Parts of the secrets, one of which each of them contains, that no scrubbed trace may contain in any spelling."""

KINETO = "kineto/*.json.gz"


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def numbers(path: Path) -> dict:
    """The summary without the path, and without names of ranges and unknown categories, which differ."""
    built = msgspec.to_builtins(summary.summarise(detect.read(path)))
    built["source"].pop("path")
    for row in built["trace"]["unknown"]:
        row["category"] = row["category"] is not None
    for rows in ("kernel_time_by_range", "time_by_range") if built["annotations"] else ():
        built["annotations"][rows] = sorted((row["count"], row["time_ns"]) for row in built["annotations"][rows])
    return built


def everywhere(secret: str) -> tuple[list[k.Event], dict]:
    """A training step with a secret in every place of a trace that can hold a text, but for the names that are kept."""
    events = [
        {**event, "args": {**event.get("args", {}), "Call stack": secret, secret: 1}} for event in k.training_step()
    ]
    events += k.two_iterations()
    events += [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "ts": 0, "args": {"name": f"python {secret}"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "ts": 0, "args": {"name": f"thread 1 ({secret})"}},
        {"ph": "M", "name": "process_labels", "pid": 1, "tid": 0, "ts": 0, "args": {"labels": secret}},
        {"ph": "M", "name": secret, "pid": 1, "tid": 0, "ts": 0, "args": {"name": secret}},
        {"ph": "i", "name": secret, "pid": secret, "tid": secret, "ts": 1, "s": secret},
        {**k.span("cuda_sync", secret, 1, 1), "pid": secret},
        {**k.span(secret, secret, 1, 1), secret: secret, "id": secret, "bp": secret, "extra": {"deep": [secret]}},
        k.span("cpu_op", "aten::add", 300, 1, **{"Concrete Inputs": [secret], "Input type": [secret], "dtype": secret}),
        k.span(
            "cpu_op", "nccl:all", 310, 1, **{"Collective name": secret, "Process Group Name": secret, "grid": [secret]}
        ),
        k.span("kernel", "gemm", 320, 1, correlation=1, device=0, stream=7, kernel_file=secret, context=secret),
        k.span("user_annotation", f"load {secret}", 330, 1, finished=secret),
        k.span("python_function", f"{secret}(3): forward" if "/" in secret or "\\" in secret else "f", 340, 1),
    ]
    return events, metadata(secret)


def metadata(secret: str) -> dict:
    return {
        "traceName": secret,
        "host_name": "gpu-box",
        "username": "alice",
        "displayTimeUnit": secret,
        "INFO": [secret],
        "ERROR": [f"ERROR {secret}", "3 records were dropped"],
        secret: secret,
        "deviceProperties": [{"id": 0, "name": "NVIDIA H100", "uuid": secret, secret: 1}],
        "distributedInfo": {
            "rank": 3,
            "world_size": 8,
            "backend": secret,
            "pg_config": [{"pg_desc": secret, "ranks": [0, 1]}],
        },
        "trace_id": secret,
    }


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_planted_secret_is_nowhere_in_the_copy_and_the_numbers_are_the_same(tmp_path, secret, ending):
    events, top = everywhere(secret)
    if secret in ("hunter2-planted", "alice.planted", "gpu-box-planted"):
        events = [e for e in events if e.get("name") != f"load {secret}"]  # a word like any other; see --hide
    source, target = k.write(tmp_path / f"in{ending}", events, **top), tmp_path / f"out{ending}"
    scrub(source, target)
    text = content(target).decode()
    assert [part for part in UNIQUE if part in text] == []
    assert target.read_bytes()[:2] == (b"\x1f\x8b" if ending.endswith("gz") else b'{"')
    before, after = numbers(source), numbers(target)
    assert {key for key in before if before[key] != after[key]} == set()


def test_the_host_and_the_user_of_the_metadata_are_hidden_in_names(tmp_path):
    events = [*k.training_step(), k.span("user_annotation", "alice on gpu-box: step", 400, 1)]
    source = k.write(tmp_path / "in.json", events, host_name="gpu-box", username="alice")
    scrub(source, tmp_path / "out.json")
    assert b"<hidden text 1> on <hidden text 2>: step" in content(tmp_path / "out.json") or (
        b"<hidden text 2> on <hidden text 1>: step" in content(tmp_path / "out.json")
    )


def test_what_a_report_needs_stays(tmp_path):
    events, top = everywhere("hunter2-planted")
    scrub(k.write(tmp_path / "in.json", events, **top), tmp_path / "out.json")
    copy = json.loads(content(tmp_path / "out.json"))
    assert copy["deviceProperties"] == [{"id": 0, "name": "NVIDIA H100"}]
    assert copy["distributedInfo"] == {"rank": 3, "world_size": 8, "pg_config": [{"ranks": [0, 1]}]}
    assert copy["ERROR"] == ["3 records were dropped"]
    assert len(copy["traceEvents"]) == len(events)
    labels = [e["args"] for e in copy["traceEvents"] if e["ph"] == "M"]
    assert labels == [{"name": "process"}, {"name": "thread 1"}, {"labels": "process"}, {}]


def test_process_groups_and_launch_geometry_stay_as_numbers(tmp_path):
    args = {
        "Collective name": "allreduce",
        "dtype": "BFloat16",
        "Process Group Name": "0",
        "Process Group Ranks": "[0, 1]",
        "Group size": 2,
        "In msg nelems": 1024,
        "grid": [64, 1, 1],
        "Input Dims": [[2, 3], []],
    }
    events = [*k.training_step(), k.span("kernel", "ncclKernel", 400, 1, device=0, stream=7, **args)]
    scrub(k.write(tmp_path / "in.json", events), tmp_path / "out.json")
    assert json.loads(content(tmp_path / "out.json"))["traceEvents"][-1]["args"] == {"device": 0, "stream": 7, **args}


def test_the_bytes_that_copies_write_stay(tmp_path):
    types = ["c10::BFloat16", "long int", "", "Scalar"]
    copy = k.op("aten::copy_", 1, 1, **{"Input Dims": [[2, 3], [2, 3], [], []], "Input type": types})
    scrub(k.write(tmp_path / "in.json", [copy]), tmp_path / "out.json")
    assert kineto.read(tmp_path / "out.json").op_details.copied.tolist() == [12]


def test_times_are_copied_digit_by_digit(tmp_path):
    events = json.dumps([k.op("aten::add", 1, 1)]).replace('"ts": 1', '"ts": 1711964646123456.789')
    (tmp_path / "in.json").write_text(f'{{"traceEvents": {events}}}')
    scrub(tmp_path / "in.json", tmp_path / "out.json")
    assert b'"ts":1711964646123456.789' in content(tmp_path / "out.json")
    assert kineto.read(tmp_path / "out.json").ops.ts.tolist() == [1711964646123456789]


def test_a_truncated_trace_is_copied_only_with_salvage(tmp_path):
    whole = k.write(tmp_path / "whole.json", k.two_iterations()).read_bytes()
    source = tmp_path / "in.json"
    source.write_bytes(whole[:-300])
    with pytest.raises(TraceError) as caught:
        scrub(source, tmp_path / "out.json")
    assert caught.value.code is TraceErrorCode.TRUNCATED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.json", "whole.json"]
    scrub(source, tmp_path / "out.json", salvage=True)
    copy = kineto.read(tmp_path / "out.json")
    assert copy.lost is not None and copy.events == kineto.read(source, salvage=True).events


def test_notes_of_a_converted_trace_are_kept_and_cleaned(tmp_path):
    notes = {"notes": [{"code": "no-such-code", "text": "read /home/alice/r.sqlite"}], "dropped": ["2 at /home/alice"]}
    source = k.write(tmp_path / "in.json", k.two_iterations(), ttprof=notes)
    scrub(source, tmp_path / "out.json")
    trace = kineto.read(tmp_path / "out.json")
    assert [note.text for note in trace.notes] == ["read <path 1>"]
    assert trace.dropped == ("2 at <path 2>",)


def test_a_gzipped_copy_names_neither_a_file_nor_a_time(tmp_path):
    scrub(k.write(tmp_path / "in.json", k.two_iterations()), tmp_path / "out.json.gz")
    header = (tmp_path / "out.json.gz").read_bytes()[:10]
    assert header[3] == 0 and header[4:8] == bytes(4)


def test_recorded_traces_have_the_same_numbers_and_none_of_their_paths(shared_traces, tmp_path):
    sources = sorted(shared_traces.glob(KINETO))
    assert sources
    for source in sources:
        target = tmp_path / source.name
        scrub(source, target)
        before, after = numbers(source), numbers(target)
        for part in (before, after):  # the host's Python functions during the longest gaps: their files are shorter
            for device in part["devices"]:
                for gap in device["idle"]["longest"]:
                    gap.pop("host")
        assert {key for key in before if before[key] != after[key]} == set(), source.name
        text = content(target)
        leaks = [
            w
            for w in (b"/home/", b"/tmp/", b"/opt/", b"/usr/", b"torchinductor_", b"moca/", b"site-packages")
            if w in text
        ]
        assert leaks == [], source.name
