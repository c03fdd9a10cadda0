"""The error code for each reason why a trace can't be read or written, in every format."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import kineto_files as k
import nsys_files as n
import pytest

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.nsight import compute_report
from ttprof.trace.analyses import ranks
from ttprof.trace.formats import detect, kineto, kineto_writer, read_buffer

WHOLE = json.dumps({"traceEvents": k.two_iterations(), "traceName": "x"}).encode()
KERNEL = '{"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 1}'
EXPORT = "t.sqlite"


def event(text: str) -> bytes:
    return f'{{"traceEvents": [{KERNEL}, {text}]}}'.encode()


def replaced(old: str, new: str) -> bytes:
    return event(KERNEL.replace(old, new))


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("t.json", b"", TraceErrorCode.EMPTY),
        ("t.json", b"hello", TraceErrorCode.NOT_A_TRACE),
        ("t.json", b'{"answer": 42}', TraceErrorCode.NOT_A_TRACE),
        ("t.json", b'{"cases": [], "run_dir": "x"}', TraceErrorCode.NOT_A_TRACE),
        ("t.json", b'{"traceEvents": [7]}', TraceErrorCode.NOT_A_TRACE),
        ("t.json", b'{"deviceProperties": 7, "traceEvents": [{"ph": "M"}]}', TraceErrorCode.NOT_A_TRACE),
        ("t.json", b'{"traceEvents": []}', TraceErrorCode.NO_EVENTS),
        ("t.json", b"[]", TraceErrorCode.NO_EVENTS),
        ("t.json", b'{"schemaVersion": 1, "dev', TraceErrorCode.TRUNCATED),
        ("t.json", b'{"schemaVersion" 1}', TraceErrorCode.CORRUPT),
        ("t.json", WHOLE[: len(WHOLE) // 2], TraceErrorCode.TRUNCATED),
        ("t.json", WHOLE[:-1], TraceErrorCode.TRUNCATED),
        ("t.json", WHOLE[:-6], TraceErrorCode.TRUNCATED),
        ("t.json", WHOLE.replace(b'"cat": ', b'"cat" ', 5), TraceErrorCode.CORRUPT),
        ("t.json", WHOLE + b"}", TraceErrorCode.CORRUPT),
        ("t.json", gzip.compress(WHOLE)[:-9], TraceErrorCode.TRUNCATED),
        ("t.json", gzip.compress(WHOLE)[:-8] + b"\xff" * 8, TraceErrorCode.CORRUPT),
        (
            "t.json",
            b'{"baseTimeNanoseconds": 9223372036854775808, "traceEvents": [{"ph": "M"}]}',
            TraceErrorCode.IMPOSSIBLE_VALUES,
        ),
        ("t.json", event('{"args": {"x": ' + "[" * 100_000 + "]" * 100_000 + "}}"), TraceErrorCode.UNSUPPORTED),
        (EXPORT, b"", TraceErrorCode.EMPTY),
        (EXPORT, b"hello" * 100, TraceErrorCode.NOT_A_TRACE),
        ("t.nsys-rep", b"", TraceErrorCode.EMPTY),
    ],
)
def test_incomplete_files_and_other_files(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    assert code_of(path) is code


def code_of(path: Path) -> TraceErrorCode:
    with pytest.raises(TraceError) as caught:
        detect.read(path)
    assert str(path) in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("name", ["t.json", "t.json.gz", EXPORT, "t.nsys-rep"])
def test_a_missing_file_and_a_folder(tmp_path, name):
    assert code_of(tmp_path / name) is TraceErrorCode.NOT_FOUND
    (tmp_path / name).mkdir()
    assert code_of(tmp_path / name) is TraceErrorCode.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = k.write(tmp_path / "t.json", k.two_iterations())
    path.chmod(0)
    assert code_of(path) is TraceErrorCode.UNREADABLE


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def replace_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (cut, TraceErrorCode.TRUNCATED),
        (damage, TraceErrorCode.CORRUPT),
        (replace_tables, TraceErrorCode.NOT_A_TRACE),
    ],
)
def test_incomplete_exports(tmp_path, change, code):
    path = n.write(tmp_path / EXPORT, kernel=[n.kernel(i, i + 1, i) for i in range(2000)])
    change(path)
    assert code_of(path) is code


@pytest.mark.parametrize(
    ("without", "row", "code"),
    [
        ("deviceId", n.kernel(0, 1, 1), TraceErrorCode.UNSUPPORTED),
        ("", n.kernel(100, 110, "x"), TraceErrorCode.IMPOSSIBLE_VALUES),
    ],
)
def test_exports_with_unknown_columns_or_impossible_rows(tmp_path, without, row, code):
    assert code_of(n.write(tmp_path / EXPORT, without=without, kernel=[row])) is code


def test_an_export_that_is_still_being_written(tmp_path):
    path = n.write(tmp_path / EXPORT, kernel=[n.kernel(0, 1, 1)])
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        assert code_of(path) is TraceErrorCode.LOCKED
    finally:
        writer.close()


def test_a_trace_that_can_not_be_written(tmp_path):
    trace = kineto.read(k.write(tmp_path / "t.json", k.two_iterations()))
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "t.json.gz", tmp_path / "folder"):
        (tmp_path / "folder" / "x").mkdir(parents=True, exist_ok=True)
        with pytest.raises(TraceError) as caught:
            kineto_writer.write(replace(trace, path="elsewhere"), target)
        assert caught.value.code is TraceErrorCode.UNWRITABLE
        assert str(target) in str(caught.value)


def test_a_folder_without_traces(tmp_path):
    with pytest.raises(TraceError) as caught:
        ranks.trace_files([str(tmp_path)])
    assert caught.value.code is TraceErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", TraceErrorCode.EMPTY),
        (b"hello, this is text", TraceErrorCode.NOT_A_TRACE),
        (compute_report.MARK + (1000).to_bytes(4, "little"), TraceErrorCode.TRUNCATED),
        (None, TraceErrorCode.NOT_FOUND),
    ],
)
def test_reports_of_nsight_compute(tmp_path, content, code):
    path = tmp_path / "t.ncu-rep"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraceError) as caught:
        compute_report.read(path)
    assert caught.value.code is code


def test_a_missing_reader_of_nsight_compute(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ncu_report", None)
    path = tmp_path / "t.ncu-rep"
    path.write_bytes(compute_report.MARK + bytes(100))
    with pytest.raises(TraceError, match=r"ttprof\[ncu\]") as caught:
        compute_report.read(path)
    assert caught.value.code is TraceErrorCode.READER_MISSING


def test_damage_within_a_large_file_is_not_truncation(tmp_path, monkeypatch):
    monkeypatch.setattr(read_buffer, "BLOCK", 1 << 10)
    events = [k.kernel(f"k{i}", i, 1, i) for i in range(500)]
    data = json.dumps({"traceEvents": events}).encode()
    path = tmp_path / "t.json"
    path.write_bytes(data[: len(data) // 2] + b'"' + data[len(data) // 2 :])
    assert code_of(path) is TraceErrorCode.CORRUPT
    path.write_bytes(data[: len(data) // 2])
    assert code_of(path) is TraceErrorCode.TRUNCATED
