"""Malformed Kineto files: the right numbers or one clear error, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import kineto_files as k
import pytest

from ttprof.errors import TraceError
from ttprof.trace.formats import kineto


def test_names_that_contain_nan_survive_next_to_a_nan_value():
    names = ["f(a, NaN, b)", "x: inf, [nan]", 'quote \\" NaN']
    text = json.dumps({"traceEvents": [k.kernel(name, i, 1, i) for i, name in enumerate(names)]})
    Path("t.json").write_text(text.replace('"stream": 7', '"x": NaN', 1), encoding="utf-8")
    trace = kineto.read("t.json")
    assert trace.name_of(trace.kernels) == names


@pytest.mark.parametrize("ending", ["", ",", ",\n  ", "]", '], "trace', '],\n "traceName": "x'])
def test_a_file_truncated_after_an_event_loses_no_event(ending):
    rows = ",".join(json.dumps(k.kernel("k", i, 1, i)) for i in range(5))
    Path("t.json").write_text('{"traceEvents": [' + rows + ending, encoding="utf-8")
    with pytest.raises(TraceError, match="truncated or corrupt JSON at event 5"):
        kineto.read("t.json")
    trace = kineto.read("t.json", salvage=True)
    assert trace.events == 5
    assert trace.lost is not None


def test_the_loss_of_a_truncated_gzip_names_event_and_reason(tmp_path):
    path = k.write(Path("t.json.gz"), [k.kernel("k", i, 1, i) for i in range(20_000)])
    path.write_bytes(path.read_bytes()[:-20])
    lost = kineto.read(path, salvage=True).lost
    assert "everything from event" in lost
    assert "gzip" in lost


@pytest.mark.parametrize(
    "field",
    [
        '"ts": {}, "dur": 1',
        '"ts": 1, "dur": 8796093022209.5',
        '"ts": 1, "dur": 4000000000000000',
    ],
)
def test_events_with_impossible_times_are_left_out(field):
    row = json.dumps(k.kernel("x", 0, 1, 1)).replace('"ts": 0, "dur": 1', field)
    Path("t.json").write_text(f'{{"traceEvents": [{row}]}}', encoding="utf-8")
    trace = kineto.read("t.json")
    assert len(trace.kernels) == 0 and [row.table for row in trace.left_out] == ["kernels"]


def test_times_may_be_texts_as_torch_npu_writes_them():
    row = json.dumps(k.kernel("x", 0, 1, 1)).replace('"ts": 0', '"ts": "1704161511422800.491"')
    Path("t.json").write_text(f'{{"traceEvents": [{row}]}}', encoding="utf-8")
    assert kineto.read("t.json").kernels.ts.tolist() == [1704161511422800491]


@pytest.mark.parametrize("where", ["args", "header", "trailer"])
def test_deep_nesting_is_an_error_not_a_traceback(where):
    deep = "[" * 5000 + "]" * 5000
    row = json.dumps(k.kernel("x", 0, 1, 1))
    texts = {
        "args": '{"traceEvents": [' + row.replace('"stream": 7', f'"x": {deep}') + "]}",
        "header": f'{{"x": {deep}, "traceEvents": [{row}]}}',
        "trailer": f'{{"traceEvents": [{row}], "x": {deep}}}',
    }
    Path("t.json").write_text(texts[where], encoding="utf-8")
    with pytest.raises(TraceError):
        kineto.read("t.json")


def test_a_lone_surrogate_becomes_the_replacement_character():
    text = json.dumps({"traceEvents": [k.kernel("ab", 0, 1, 1), k.kernel("\U0001f600", 5, 1, 2)]})
    Path("t.json").write_text(text.replace('"ab"', '"a\\ud800b"'), encoding="utf-8")
    trace = kineto.read("t.json")
    assert trace.name_of(trace.kernels) == ["a\ufffdb", "\U0001f600"]


def test_a_nested_trace_events_key_is_ignored():
    row = json.dumps(k.kernel("x", 0, 1, 1))
    Path("t.json").write_text(f'{{"meta": {{"traceEvents": []}}, "traceEvents": [{row}]}}', encoding="utf-8")
    assert kineto.read("t.json").events == 1
