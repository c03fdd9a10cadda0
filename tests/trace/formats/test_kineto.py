"""The Kineto reader: exact times, every schema, blocks, and unreadable files."""

from __future__ import annotations

import gzip
import json
import random
from decimal import Decimal

import kineto_files as k
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.codes import Flaw
from ttprof.errors import TraceError
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto


def test_every_kind_of_event_is_in_its_table(tmp_path):
    trace = kineto.read(k.write(tmp_path / "t.json", k.two_iterations(), deviceProperties=[{"name": "H100"}]))
    assert trace.devices == ("H100",)
    assert trace.events == 22
    assert trace.name_of(trace.kernels) == ["gemm", "softmax", "gemm", "softmax"]
    assert trace.kernels.time_ns == 60_000
    assert (len(trace.memcpy), len(trace.runtime), len(trace.launches)) == (2, 6, 4)
    assert trace.kernels.stream.tolist() == [7, 8, 7, 8]
    assert trace.memory.bytes.tolist() == [3000, 1000, -1000, -3000] * 2


def test_gzip_is_detected_by_content(tmp_path):
    plain = k.write(tmp_path / "a.json", k.two_iterations())
    packed = tmp_path / "b.json"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert kineto.read(packed).kernels.time_ns == kineto.read(plain).kernels.time_ns


@given(
    whole=st.integers(0, 2 * 10**15),
    ns=st.integers(0, 999),
    base=st.sampled_from([0, 1711964646000000000]),
)
def test_times_are_exact_to_the_nanosecond(tmp_path_factory, whole, ns, base):
    path = tmp_path_factory.mktemp("t") / "t.json"
    event = json.dumps(k.kernel("x", 0, 0, 1)).replace('"ts": 0, "dur": 0', f'"ts": {whole}.{ns:03}, "dur": 0.{ns:03}')
    path.write_text(f'{{"baseTimeNanoseconds": {base}, "traceEvents": [{event}]}}')
    trace = kineto.read(path)
    assert trace.kernels.ts.tolist() == [base + int(Decimal(f"{whole}.{ns:03}") * 1000)]
    assert trace.kernels.dur.tolist() == [ns]


def test_the_schema_of_2021(tmp_path):
    events = [
        {**k.kernel("k", 5, 2, 1), "cat": "Kernel"},
        {**k.launch(1, 1), "cat": "Runtime", "tid": "12"},
        {
            "ph": "X",
            "cat": "Operator",
            "name": "aten::mm",
            "pid": "p",
            "tid": "t",
            "ts": 0,
            "dur": 3,
            "args": {"external id": "7"},
        },
        {
            "ph": "i",
            "name": "[memory]",
            "s": "t",
            "pid": 1,
            "tid": 1,
            "ts": 2,
            "args": {"Bytes": 64, "Device Type": 0, "Device Id": -1},
        },
    ]
    trace = kineto.read(k.write(tmp_path / "t.json", events))
    assert (len(trace.kernels), len(trace.runtime), trace.ops.external.tolist()) == (1, 1, [7])
    assert trace.memory.allocated.tolist() == [-1]


def test_a_bare_list_nan_and_control_characters(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(k.two_iterations()))
    assert kineto.read(path).kernels.time_ns == 60_000
    event = json.dumps({**k.kernel("a\tb", 5, 2, 1)}).replace("\\t", "\t").replace('"device": 0', '"x": NaN')
    path.write_text('{"traceEvents": [' + event + "]}")
    trace = kineto.read(path)
    assert (trace.names, trace.kernels.dur.tolist()) == (("a b",), [2000])


def test_columns_equal_the_events(tmp_path):
    rng = random.Random(1)
    events = [k.kernel(rng.choice("abc"), rng.randrange(10**6), rng.randrange(100), i) for i in range(200)]
    trace = kineto.read(k.write(tmp_path / "t.json.gz", events))
    assert trace.kernels.ts.tolist() == [1000 * e["ts"] for e in events]
    assert trace.name_of(trace.kernels) == [e["name"] for e in events]
    assert trace.kernels.correlation.tolist() == list(range(200))
    assert trace.kernels.ts.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not JSON, so not a trace of torch.profiler"),
        (b"SQLite format 3\0...", "an SQLite file"),
        (b'{"cases": [], "run_dir": "x"}', "a ttprof result"),
        (b'{"traceEvents": [{"ph": "X", "name": "a"', "truncated or corrupt JSON"),
        (b'{"traceEvents": [7, "x"]}', "not a trace: .*Expected `object`"),
        (b'{"answer": 42}', "JSON, but not a trace: .*traceEvents"),
        (b"[]", "without a single event"),
        (b'{"traceEvents": []}', "without a single event"),
        (b'{"baseTimeNanoseconds": 9223372036854775808, "traceEvents": [{"ph": "M"}]}', "is not a time"),
        (b'{"baseTimeNanoseconds": ' + b"9" * 400 + b', "traceEvents": [{"ph": "M"}]}', "is not a time"),
        (gzip.compress(b'{"traceEvents": []}', mtime=0)[:-9], "truncated or corrupt gzip after"),
        (b"\x1f\x8bjunk", "truncated or corrupt gzip"),
    ],
)
def test_bad_files_raise_one_error_that_names_file_and_position(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message) as caught:
        kineto.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        ({"cat": "kernel", "dur": 1}, "kernels"),
        ({"cat": "kernel", "ts": 1}, "kernels"),
        ({"cat": "kernel", "ts": 1, "dur": float("inf")}, "kernels"),
        ({"cat": "kernel", "ts": 1e300, "dur": 1}, "kernels"),
        ({"cat": "cpu_op", "ts": 2**70, "dur": 1}, "ops"),
        ({"cat": "cuda_runtime", "ts": 1, "dur": 2**41}, "runtime"),
        ({"ph": "i", "name": "[memory]", "ts": 1, "args": {}}, "memory"),
        ({"ph": "i", "name": "[memory]", "ts": 1, "args": {"Bytes": 1e300}}, "memory"),
    ],
)
def test_a_row_that_can_not_be_read_costs_no_other_row(tmp_path, row, table):
    path = tmp_path / "t.json"
    rows = [*k.two_iterations(), {"ph": "X", "name": "bad", "pid": 1, "tid": 1, **row}]
    path.write_text(json.dumps(rows).replace("Infinity", "1e400"), encoding="utf-8")
    trace = kineto.read(path)
    assert [(left.flaw, left.table, left.count) for left in trace.left_out] == [(Flaw.UNREADABLE, table, 1)]
    assert trace.kernels.time_ns == 60_000 and len(trace.memory) == 8
    (reason,) = summary.summarise(trace).trace.reasons
    assert "left out: it has a value that can't be read" in str(reason)


def test_unsigned_64_bit_ids_stay_distinct(tmp_path):
    events = [k.kernel("a", 5, 1, 2**64 - 1), k.launch(1, 2**64 - 1), k.kernel("b", 6, 1, 2**63)]
    trace = kineto.read(k.write(tmp_path / "t.json", events))
    assert trace.kernels.correlation.tolist() == [-1, -(2**63)]


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_the_complete_events_of_a_truncated_file_can_be_salvaged(tmp_path, suffix):
    events = [k.kernel(f"k{i}", i, 1, i) for i in range(20_000)]
    data = k.write(tmp_path / f"t{suffix}", events).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(TraceError, match="truncated or corrupt"):
        kineto.read(cut)
    trace = kineto.read(cut, salvage=True)
    assert 10_000 < trace.events == len(trace.kernels) < 20_000
    assert trace.kernels.ts.tolist() == [1000 * i for i in range(trace.events)]
    assert trace.lost is not None


def test_a_large_trace_is_read_in_blocks_wherever_events_end(tmp_path):
    rows = [
        {**k.kernel("k", i, 1, i), "args": {"correlation": i, "nested": [{"a": [{}, {}]}, {"b": "},{"}]}}
        for i in range(15_000)
    ]
    for layout in ({"separators": (",", ":")}, {"indent": 2}):
        path = tmp_path / "t.json"
        path.write_text(json.dumps({"traceEvents": rows, "traceName": "x", "more": [{"c": 1}, {"d": 2}]}, **layout))
        assert path.stat().st_size > 1.5e6
        trace = kineto.read(path)
        assert trace.kernels.correlation.tolist() == list(range(15_000))


def test_large_decimal_timestamps_in_every_form(tmp_path):
    base = 1669783687464181
    texts = [f"{base}.123", f"{base + 1}.5", f"{base + 2}", f"{base + 3}.0004"]
    rows = [json.dumps(k.kernel("k", 0, 2, i)).replace('"ts": 0,', f'"ts": {t},') for i, t in enumerate(texts)]
    (tmp_path / "t.json").write_text('{"traceEvents": [' + ",".join(rows) + "]}")
    result = kineto.read(tmp_path / "t.json").kernels
    assert (result.ts - base * 1000).tolist() == [123, 1500, 2000, 3000]
    assert result.dur.tolist() == [2000] * 4


@pytest.mark.parametrize("trailer", [[[i] for i in range(300)], ["a]"] * 300, {"x]}": [{"y": "],}"}] * 3000}])
def test_json_after_the_events_is_not_an_event(tmp_path, trailer):
    events = [k.kernel("k", i, 1, i) for i in range(3)]
    (tmp_path / "t.json").write_text(
        json.dumps({"traceEvents": events, "more": trailer, "deviceProperties": [{"name": "é"}]})
    )
    trace = kineto.read(tmp_path / "t.json")
    assert (trace.events, trace.devices) == (3, ("é",))


@pytest.mark.parametrize(
    "field",
    ['"ts": 30000000000000000, "dur": 1', '"ts": 1, "dur": 20000000000000000', '"ts": 30000000000000000.000, "dur": 1'],
)
def test_no_time_overflows_next_to_decimal_timestamps(tmp_path, field):
    good = json.dumps(k.kernel("good", 0, 1, 1)).replace('"ts": 0', '"ts": 1700000000000000.125')
    bad = json.dumps(k.kernel("bad", 0, 1, 2)).replace('"ts": 0, "dur": 1', field)
    (tmp_path / "t.json").write_text(f'{{"traceEvents": [{good}, {bad}]}}')
    trace = kineto.read(tmp_path / "t.json")
    assert trace.name_of(trace.kernels) == ["good"] and [left.example for left in trace.left_out] == ["bad"]


def test_gzip_members_and_padding(tmp_path):
    data = k.write(tmp_path / "a.json", k.two_iterations()).read_bytes()
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(data[:100]) + gzip.compress(data[100:]) + b"\0" * 512)
    assert kineto.read(path).kernels.time_ns == 60_000


def test_a_missing_file(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        kineto.read(tmp_path / "nothing.json")


def test_a_truncated_recording_is_always_an_error(tmp_path):
    data = k.write(tmp_path / "t.json", k.two_iterations()).read_bytes()
    path = tmp_path / "cut.json"
    for size in range(1, len(data) - 1, len(data) // 40):
        path.write_bytes(data[:size])
        with pytest.raises(TraceError):
            kineto.read(path)
