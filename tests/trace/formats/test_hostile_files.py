"""Files made to exhaust or to fool their reader: each is refused with the reason, within the bounds of ``budget``."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import struct

import kineto_files as k
import nsys_files as n
import pytest

from ttprof.codes import Flaw, TraceErrorCode
from ttprof.errors import TraceError
from ttprof.nsight import compute_report
from ttprof.system import budget
from ttprof.trace.analyses import summary
from ttprof.trace.formats import detect, kineto, nsys_sqlite, read_buffer, sqlite_file

EVENT = json.dumps(k.kernel("k", 1, 1, 1)).encode()
EXPORT = "t.sqlite"


def refused(path, **options) -> TraceError:
    with pytest.raises(TraceError) as caught:
        detect.read(path, **options)
    assert path.name in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["t.json", "t.json.gz", EXPORT, "t.ncu-rep"])
def test_a_fifo_is_refused_instead_of_waited_for(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    read = compute_report.read if path.suffix == ".ncu-rep" else detect.read
    with pytest.raises(TraceError, match="not a regular file but a FIFO") as caught:
        read(path)
    assert caught.value.code is TraceErrorCode.UNREADABLE


def test_a_device_is_refused(tmp_path):
    (tmp_path / "t.json").symlink_to("/dev/zero")
    assert "not a regular file but a device" in str(refused(tmp_path / "t.json"))


def test_a_gzip_bomb_is_refused_early_and_salvaged_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FREE_BYTES", 1 << 20)
    path = tmp_path / "t.json.gz"
    bomb = b'{"traceEvents":[' + (EVENT + b",") * 50_000  # 6 MB, packed 250 times smaller
    path.write_bytes(gzip.compress(bomb))
    error = refused(path)
    assert error.code is TraceErrorCode.TOO_LARGE
    assert "more than 128 times as much" in str(error)
    trace = kineto.read(path, salvage=True)
    assert 0 < trace.events < 50_000
    assert "128 times" in trace.lost


def test_a_repetitive_recording_within_the_free_bytes_is_read(tmp_path):
    path = k.write(tmp_path / "t.json.gz", [k.kernel("k", 1, 1, 1)] * 20_000)
    assert path.stat().st_size * budget.RATIO < 20_000 * len(EVENT)
    assert kineto.read(path).events == 20_000


def test_more_gzip_members_than_a_packer_writes(tmp_path):
    path = tmp_path / "t.json.gz"
    whole = gzip.compress(b'{"traceEvents":[' + EVENT + b"]}")
    path.write_bytes(gzip.compress(b"") * 900 + whole)
    assert kineto.read(path).events == 1
    path.write_bytes(gzip.compress(b"") * 2000 + whole)
    error = refused(path)
    assert (error.code, "gzip members" in str(error)) == (TraceErrorCode.TOO_LARGE, True)


@pytest.mark.parametrize("size", [0, 3])
def test_a_gzip_file_shorter_than_its_trailer(tmp_path, size):
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(b"x")[: 2 + size])
    assert refused(tmp_path / "t.json.gz").code in (TraceErrorCode.TRUNCATED, TraceErrorCode.CORRUPT)


@pytest.mark.parametrize(
    "content",
    [
        b'{"traceEvents":[{"name":"' + b"a" * 5000 + b'"}]}',
        b'{"traceEvents":[{"name":"' + b"}" * 5000 + b'"}]}',
        b'{"traceEvents":[{"name":"' + rb"\\" * 2500 + b'"}]}',
        b'{"x":"' + b" " * 5000 + b'","traceEvents":[{}]}',
        b'{"traceEvents":[{}],"x":"' + b" " * 5000 + b'"}',
        b"[" + b"1," * 3000,
        b'{"a":' + b'{"traceEvents":[' * 400,
    ],
)
def test_a_part_without_an_event_is_bounded(tmp_path, monkeypatch, content):
    monkeypatch.setattr(read_buffer, "BLOCK", 512)
    monkeypatch.setattr(read_buffer, "PART_BYTES", 2048)
    (tmp_path / "t.json").write_bytes(content)
    error = refused(tmp_path / "t.json")
    assert error.code is TraceErrorCode.TOO_LARGE
    assert "no complete event" in str(error)


def test_reading_stops_at_the_damage_and_says_what_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(read_buffer, "BLOCK", 512)
    events = [json.dumps(k.kernel(f"k{i}", i, 1, i)) for i in range(100)]
    events[50] = events[50].replace('"cat":', '"cat"')
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents":[' + ",".join(events) + "]}")
    start, size = path.read_text().index('"k50"'), path.stat().st_size
    error = refused(path)
    assert error.code is TraceErrorCode.CORRUPT
    assert f"event 50, byte {path.read_text().rindex('{', 0, start)} of {size}" in str(error)
    trace = kineto.read(path, salvage=True)
    assert trace.events == 50
    assert "everything from event 50" in trace.lost


def test_exact_times_are_salvaged_from_the_end_of_a_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setattr(read_buffer, "BLOCK", 512)
    row = '{"ph":"X","cat":"kernel","name":"k","dur":1,"ts":1700000000000000.%s}'
    rows = [
        f'{{"name":"{"x" * 560}"}}',
        row % "125",
        row % "250",
        '{"name" "k"}',
        "{}",
    ]  # the first is longer than a block
    (tmp_path / "t.json").write_text('{"traceEvents":[' + ",".join(rows) + "]}")
    trace = kineto.read(tmp_path / "t.json", salvage=True)
    assert trace.events == 3
    assert (trace.kernels.ts - 1700000000000000000).tolist() == [125, 250]


def test_lists_of_objects_within_events_are_not_taken_for_events(tmp_path, monkeypatch):
    monkeypatch.setattr(read_buffer, "BLOCK", 512)
    inner = [{"text": '}, {"'}, {"y": [{}, {}]}] * 20
    events = [{**k.kernel(f"k{i}", i, 1, i), "more": inner} for i in range(20)]
    assert kineto.read(k.write(tmp_path / "t.json", events)).events == 20


@pytest.mark.parametrize("text", ["NaN", "-Infinity", r'"\ud800"', '"\x01"'])
def test_repaired_text_in_a_long_event(tmp_path, monkeypatch, text):
    monkeypatch.setattr(read_buffer, "BLOCK", 512)
    event = json.dumps(k.kernel("k", 1, 1, 1)).replace('"stream": 7', f'"stream": 7, "x": [{text}{", {}" * 500}]')
    (tmp_path / "t.json").write_text('{"traceEvents":[' + ",".join([event] * 5) + "]}")
    assert kineto.read(tmp_path / "t.json").events == 5


@pytest.mark.parametrize("depth", [10**6, 3000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_million_brackets(tmp_path, depth, bracket):
    (tmp_path / "t.json").write_text('{"traceEvents":[' + EVENT.decode() + ',{"x":' + bracket * depth)
    assert refused(tmp_path / "t.json").code is TraceErrorCode.UNSUPPORTED


@pytest.mark.parametrize("ts", ["16612e3462598743", "1e999999999999", "-1e400", "9" * 5000, "1" + "0" * 70 + "e-70"])
def test_an_event_with_a_huge_time_is_left_out(tmp_path, ts):
    epoch = EVENT.replace(b'"ts": 1,', b'"ts": 1700000000000000.125,')
    rows = epoch + b"," + EVENT.replace(b'"ts": 1,', f'"ts": {ts},'.encode())
    (tmp_path / "t.json").write_bytes(b'{"traceEvents":[' + rows + b"]}")
    trace = detect.read(tmp_path / "t.json")
    assert [(row.flaw, row.count) for row in trace.left_out] == [(Flaw.UNREADABLE, 1)]
    assert trace.kernels.ts.tolist() == [1_700_000_000_000_000_125]


@pytest.mark.parametrize("base", ["1e308", "-1e308", "9" * 30])
def test_a_huge_base_time(tmp_path, base):
    (tmp_path / "t.json").write_text(f'{{"baseTimeNanoseconds":{base},"traceEvents":[{EVENT.decode()}]}}')
    assert refused(tmp_path / "t.json").code in (TraceErrorCode.IMPOSSIBLE_VALUES, TraceErrorCode.NOT_A_TRACE)


def test_a_rank_that_is_no_rank_is_unknown(tmp_path):
    path = k.write(tmp_path / "t.json", k.two_iterations(), distributedInfo={"rank": "9" * 5000})
    assert kineto.read(path).rank is None


def test_nan_where_the_list_of_events_should_be(tmp_path):
    (tmp_path / "t.json").write_text('{"traceEvents": -Infinity}')
    assert refused(tmp_path / "t.json").code is TraceErrorCode.NOT_A_TRACE


def changed(path, *statements: str):
    """An export with one kernel after these statements of SQL."""
    n.write(path, kernel=[n.kernel(0, 1, 1)])
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.executescript(statement)
    connection.close()
    return path


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "CREATE VIEW NVTX_EVENTS AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT x AS start, x AS end, 59 AS eventType, 1 AS globalTid FROM c",
            "NVTX_EVENTS is a view",
        ),
        (
            "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN graphId AS (length(hex(zeroblob(900000000))))",
            "the column graphId of CUPTI_ACTIVITY_KIND_KERNEL is generated",
        ),
        (
            "PRAGMA writable_schema = ON; INSERT INTO sqlite_master VALUES "
            "('table', 'NVTX_EVENTS', 'NVTX_EVENTS', 0, 'CREATE VIRTUAL TABLE NVTX_EVENTS USING none(x)')",
            "NVTX_EVENTS is a virtual table",
        ),
    ],
)
def test_tables_that_would_compute_are_refused(tmp_path, statement, words):
    error = refused(changed(tmp_path / EXPORT, statement))
    assert error.code is TraceErrorCode.UNSUPPORTED
    assert words in str(error)


def test_triggers_and_indexes_are_not_used(tmp_path):
    path = changed(
        tmp_path / EXPORT,
        "CREATE TRIGGER t AFTER INSERT ON StringIds BEGIN DELETE FROM StringIds; END",
        "CREATE INDEX i ON CUPTI_ACTIVITY_KIND_KERNEL(abs(start)) WHERE start < 0",
    )
    assert len(detect.read(path).kernels) == 1


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_a_fifo_that_sqlite_would_open_too(tmp_path, end):
    path = changed(tmp_path / EXPORT)
    os.mkfifo(f"{path}{end}")
    assert refused(path).code is TraceErrorCode.UNREADABLE


def test_an_id_of_an_export_that_is_none(tmp_path):
    statement = "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET correlationId = zeroblob(900000)"
    assert refused(changed(tmp_path / EXPORT, statement)).code is TraceErrorCode.IMPOSSIBLE_VALUES


@pytest.mark.parametrize(
    "change",
    [
        "end = 9223372036854775807",
        "start = -9223372036854775807",
        "end = 1099511627776000",
        "start = -9223372036854775808",
        "start = NULL",
    ],
)
def test_impossible_times_of_an_export(tmp_path, change):
    trace = detect.read(changed(tmp_path / EXPORT, f"UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET {change}"))
    assert [(row.flaw, row.table) for row in trace.left_out] == [(Flaw.UNREADABLE, "kernels")]
    assert len(trace.kernels) == 0 and not summary.summarise(trace).trace.complete


def test_the_longest_duration_of_an_export(tmp_path):
    path = changed(tmp_path / EXPORT, "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET end = 1099511627775999")
    assert summary.summarise(detect.read(path)).kernels.time_ns == 1099511627775999


def test_texts_and_rows_and_steps_are_counted(tmp_path, monkeypatch):
    path = n.write(
        tmp_path / EXPORT,
        kernel=[n.kernel(i, i + 1, i) for i in range(500)],
        nvtx=[n.pushed(0, 1, "a name of some length" * 50)] * 30,
    )
    assert len(detect.read(path).kernels) == 500
    for bound, value in (("TEXT_RATIO", 0), ("ROW_BYTES", 1 << 10), ("STEP_BYTES", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(budget, "FREE_TEXT_BYTES", 10_000)
            patch.setattr(budget, "FREE_STEPS", 5000)
            patch.setattr(budget, bound, value)
            assert refused(path).code is TraceErrorCode.TOO_LARGE


def inner_page(child: int, size: int) -> bytes:
    """An inner page of a table with 101 children, all of them the page *child*."""
    cell = struct.pack(">IB", child, 1)
    start = size - len(cell)
    head = struct.pack(">BHHHBI", 5, 0, 100, start, 0, child) + struct.pack(">H", start) * 100
    return head.ljust(start, b"\0") + cell


def test_a_table_whose_pages_repeat_has_too_many_rows(tmp_path):
    path = n.write(tmp_path / EXPORT, kernel=[n.kernel(0, 1, 1)])
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE '%KERNEL'").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    size, pages = struct.unpack(">H", data[16:18])[0], struct.unpack(">I", data[28:32])[0]
    leaf = data[(root - 1) * size : root * size]
    data[(root - 1) * size : root * size] = inner_page(pages + 1, size)
    for number in range(pages + 2, pages + 6):  # 101**5 rows
        data += inner_page(number, size)
    data[28:32] = struct.pack(">I", pages + 5)
    path.write_bytes(data + leaf)
    error = refused(path)
    assert error.code is TraceErrorCode.TOO_LARGE
    assert "too many for a file of" in str(error)


@pytest.mark.parametrize("statement", ["UPDATE NVTX_EVENTS SET textId = 'x'", "UPDATE NVTX_EVENTS SET start = 'x'"])
def test_ranges_with_text_for_numbers(tmp_path, statement):
    path = n.write(tmp_path / EXPORT, nvtx=[n.pushed(0, 5, "layer")])
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    for read in (nsys_sqlite.closed_ranges, lambda file: nsys_sqlite.range_window(file, "layer")):
        with pytest.raises(TraceError):
            read(path)


def test_numbers_of_thousands_of_digits_in_an_export(tmp_path):
    name = f"aten::mm, seq = {'9' * 5000}, op_id = 1"
    path = n.write(tmp_path / EXPORT, schema="9" * 5000, kernel=[n.kernel(0, 1, 1)], nvtx=[n.pushed(0, 5, name)])
    trace = detect.read(path)
    assert trace.name_of(trace.annotations) == [name]
    assert trace.op_details.sequence.tolist() == [-1]


def test_a_schema_that_is_not_text(tmp_path):
    path = changed(tmp_path / EXPORT)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xc1ABLE"))
    assert refused(path).code is TraceErrorCode.CORRUPT


def test_a_header_that_makes_sqlite_ask_for_too_much_memory(tmp_path):
    path = changed(tmp_path / EXPORT)
    with pytest.raises(TraceError, match="more memory than there is") as caught, sqlite_file.open_file(path):
        raise MemoryError  # as sqlite3 does for SQLITE_NOMEM
    assert caught.value.code is TraceErrorCode.TOO_LARGE


def test_the_budget_ends_what_takes_too_long():
    now = iter([0.0, 29.0, 31.0])
    spent = budget.Budget(0, clock=lambda: next(now))
    spent.check_time()
    with pytest.raises(budget.OverBudget, match="more than 30 s of CPU time"):
        spent.check_time()


def test_a_module_with_a_long_name_is_summarised(tmp_path):
    name = "N" + "[" * 100_000 + "."  # quadratic work would take minutes
    path = k.write(tmp_path / "t.json", [k.span("python_function", f"nn.Module: {name}", 0, 5)])
    assert summary.summarise(kineto.read(path)).modules is not None


def test_more_devices_than_any_machine_has(tmp_path):
    row = '{"ph":"X","cat":"kernel","name":"k","ts":%d,"dur":1,"args":{"device":%d,"stream":%d}}'
    for name, kernels in (("devices", [(i, i, 0) for i in range(4097)]), ("streams", [(i, 0, i) for i in range(4097)])):
        path = tmp_path / f"{name}.json"
        path.write_text('{"traceEvents":[' + ",".join(row % kernel for kernel in kernels) + "]}")
        with pytest.raises(TraceError, match="4097 streams of devices, more than the 4096") as caught:
            kineto.read(path)
        assert caught.value.code is TraceErrorCode.TOO_LARGE
    path = tmp_path / "properties.json"
    path.write_text('{"deviceProperties":[' + "{}," * 4096 + '{}],"traceEvents":[' + row % (0, 0, 0) + "]}")
    with pytest.raises(TraceError, match="4097 devices, more than"):
        kineto.read(path)
