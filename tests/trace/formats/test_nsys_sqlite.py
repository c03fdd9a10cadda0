"""The reader of Nsight Systems exports: recorded files, small handwritten ones, and files that can't be read."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import msgspec
import nsys_files as n
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.codes import Flaw, Note, NoteCode
from ttprof.errors import TraceError
from ttprof.trace.analyses import nvtx, ranks, summary
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index
from ttprof.trace.formats import kineto, kineto_writer, nsys_sqlite

NAMES = [
    "cpu_nvtx_n2022",
    "h100x2_megatron_1s_n2026",
    "h100x2_mfu_before_n2026",
    "rtx3080_tiny_n2026",
    "synthetic_healthy_minschema",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_export_has_the_expected_numbers(shared_traces, name):
    path = shared_traces / "nsys" / f"{name}.sqlite"
    result = json.loads(CliRunner().invoke(command, [str(path), "--json"]).stdout)
    expected = json.loads((shared_traces / "expected" / f"nsys_{name}.json").read_text(encoding="utf-8"))
    kernels, expected_kernels = result["kernels"], expected["kernels"]
    assert (kernels["count"], kernels["time_ns"]) == (expected_kernels["count"], expected_kernels["time_ns"])
    by_name = {row["name"]: (row["count"], row["time_ns"]) for row in kernels["by_name"]}
    assert all(by_name[row["name"]] == (row["count"], row["time_ns"]) for row in expected_kernels["top10"])
    if expected_kernels["count"]:
        assert kernels["without_launch"] == expected_kernels["without_launch"]
        trace = nsys_sqlite.read(path)
        unions = {
            str(device): summary.union_ns(
                *(c[trace.kernels.device == device] for c in (trace.kernels.ts, trace.kernels.end))
            )
            for device in (0, 1)
        }
        assert {device: union for device, union in unions.items() if union} == expected_kernels["union_ns_per_device"]
    for part in ("memcpy", "memset"):
        total = expected[part] or {"count": 0, "ns": 0}
        assert result[part] == {"count": total["count"], "time_ns": total["ns"]}
    if expected["nvtx"]["ranges"] is not None:
        assert result["nvtx"]["ranges"] == expected["nvtx"]["ranges"]
        assert result["nvtx"]["kernels_in_no_range"] == expected["nvtx"]["kernels_in_no_range"]
        assert result["nvtx"]["kernel_time_by_range"][:40] == expected["nvtx"]["kernel_time_by_range_top40"]
        assert len(result["nvtx"]["kernel_time_by_range"]) == expected["nvtx"]["distinct_range_names"]


def test_every_recorded_export_is_tested(shared_traces):
    assert sorted(p.stem for p in (shared_traces / "nsys").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_chrome_trace_has_the_same_summary(shared_traces, tmp_path, name):
    trace = nsys_sqlite.read(shared_traces / "nsys" / f"{name}.sqlite")
    kineto_writer.write(trace, tmp_path / "t.json.gz")
    before = msgspec.to_builtins(summary.summarise(trace))
    after = msgspec.to_builtins(summary.summarise(kineto.read(tmp_path / "t.json.gz")))
    assert {key for key in before if before[key] != after[key]} <= {"source", "events", "nvtx", "annotations"}


def test_a_chrome_trace_keeps_notes_losses_and_dropped_records(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        schema="4.1.0",
        nvtx=[n.pushed(0, 5, "layer")],
        diagnostic=[(6, "Not all CUDA events might have been collected."), (7, "2 records were dropped.")],
    )
    trace = replace(nsys_sqlite.read(path), lost="everything from event 7 on")
    assert len(trace.notes) == len(trace.dropped) == 2
    kineto_writer.write(trace, tmp_path / "t.json.gz")
    copy = kineto.read(tmp_path / "t.json.gz")
    assert (copy.notes, copy.dropped, copy.lost) == (trace.notes, trace.dropped, trace.lost)
    kineto_writer.write(copy, tmp_path / "again.json.gz")
    again = kineto.read(tmp_path / "again.json.gz")
    assert (again.notes, again.dropped, again.lost) == (trace.notes, trace.dropped, trace.lost)


def test_a_note_of_a_newer_ttprof_keeps_its_text(tmp_path):
    events = b'{"ttprof": {"notes": [{"code": "from-the-future", "text": "news"}]}, "traceEvents": [{"ph": "M"}]}'
    (tmp_path / "t.json").write_bytes(events)
    assert kineto.read(tmp_path / "t.json").notes == (Note(NoteCode.UNSTATED, "news"),)


def test_ranges_of_a_recording_without_a_gpu(shared_traces):
    result = summary.summarise(nsys_sqlite.read(shared_traces / "nsys" / "cpu_nvtx_n2022.sqlite"))
    assert result.trace.notes == [nsys_sqlite.NO_ACTIVITY]
    assert {"never_popped", "never_ended", "model:layer", "epoch"} <= {row.name for row in result.nvtx.time_by_range}
    assert result.nvtx.ranges == 47


def test_kernel_time_by_range_counts_every_range_open_at_the_launch(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(1000, 1100, 1), n.kernel(1100, 1300, 2), n.kernel(1300, 1700, 3), n.kernel(1700, 2500, 4)],
        runtime=[n.launch(10, 11, 1), n.launch(20, 21, 2), n.launch(30, 31, 3, n.WORKER), n.launch(40, 41, 4)],
        nvtx=[
            n.pushed(5, 25, "outer"),
            n.pushed(15, 24, "inner"),
            n.started(20, 40, "crossing"),  # from the launch of 2 on, and over before that of 4
            n.pushed(0, 100, "elsewhere", n.WORKER),
            n.pushed(8, 12, "outer"),
        ],
    )
    result = nvtx.nvtx_ranges(Attribution(nsys_sqlite.read(path)))
    assert result.kernels_in_no_range == (1, 800)
    assert {row.name: (row.count, row.time_ns) for row in result.kernel_time_by_range} == {
        "outer": (3, 400),  # kernel 1 is in both
        "inner": (1, 200),
        "crossing": (1, 200),
        "elsewhere": (1, 400),
    }


def test_equal_ids_of_different_processes_are_distinguished(tmp_path):
    other = n.OTHER_PROCESS
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(100, 110, 1), n.kernel(200, 230, 1, n.RELU, other, device=1)],
        runtime=[n.launch(50, 51, 1, other + 9), n.launch(10, 11, 1)],
    )
    trace = nsys_sqlite.read(path)
    assert launch_index(trace.kernels, trace).tolist() == [1, 0]
    assert trace.threads == ((100, 1), (200, 9)) or trace.threads == ((200, 9), (100, 1))
    unknown = nsys_sqlite.read(
        n.write(
            path,
            without="globalPid",
            kernel=[n.kernel(100, 110, 1), n.kernel(200, 230, 2)],
            runtime=[n.launch(50, 51, 1, other + 9), n.launch(10, 11, 1), n.launch(20, 21, 2)],
        )
    )
    assert launch_index(unknown.kernels, unknown).tolist() == [-1, 2]  # nothing is guessed


def test_graphs_count_node_by_node_or_as_a_whole(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(100, 110, 1), n.kernel(110, 130, 1)],
        graph_trace=[(200, 250, 0, 7, 2, n.PROCESS, 4)],
        runtime=[n.launch(10, 20, 1, name=n.GRAPH_LAUNCH), n.launch(30, 40, 2, name=n.GRAPH_LAUNCH)],
    )
    result = summary.summarise(nsys_sqlite.read(path))
    assert (result.kernels.count, result.kernels.time_ns, result.kernels.without_launch) == (3, 80, 0)
    assert {row.name for row in result.kernels.by_name} == {"gemm", "CUDA graph 4 (whole)"}
    assert result.trace.complete


def test_lost_kernels_and_warnings_of_nsys_make_a_recording_incomplete(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(100, 110, 1)],
        runtime=[n.launch(10, 20, 1), n.launch(30, 40, 2)],
        diagnostic=[(5, "Number of CUDA events collected: 12."), (6, "Not all CUDA events might have been collected.")],
    )
    assert summary.summarise(nsys_sqlite.read(path)).trace.reasons == [
        Note(NoteCode.LAUNCHES_WITHOUT_KERNEL, "1 of 2 kernel launches have no kernel"),
        Note(NoteCode.RECORDS_DROPPED, "the profiler reported: Not all CUDA events might have been collected."),
    ]


def test_kernels_belong_to_modules_and_to_ops_of_emit_nvtx(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(100, 110, 1), n.kernel(110, 130, 2)],
        runtime=[n.launch(10, 11, 1), n.launch(30, 31, 2)],
        nvtx=[
            n.pushed(0, 50, "module: block"),
            n.pushed(5, 20, "module: block.fc"),
            n.pushed(8, 15, "aten::addmm, seq = 12, op_id = 3"),
            n.pushed(9, 14, "aten::mm, op_id = 4"),
        ],
    )
    result = summary.summarise(nsys_sqlite.read(path))
    assert {(row.name, row.time_ns, row.kernel_ns) for row in result.ops} == {
        ("aten::addmm", 7, 0),
        ("aten::mm", 5, 10),
    }
    assert [(row.path, row.forward_ns, row.self_forward_ns) for row in result.modules] == [
        ("block", 30, 20),
        ("block.fc", 10, 10),
    ]
    assert result.unattributed.time_ns == 0


def test_names_copies_and_memory(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(0, 1, 1, 99)],
        memcpy=[(10, 20, 0, 7, 2, n.PROCESS, 1, 4096), (20, 60, 0, 7, 3, n.PROCESS, 8, 100)],
        memset=[(60, 61, 0, 7, 4, n.PROCESS)],
        nvtx=[(0, 5, 59, n.MAIN, None, n.REGISTERED), (0, None, 34, n.MAIN, "a mark", None)],
        memory=[(5, 0, 512, 1, 0), (3, 0, 1024, 2, 0), (9, 0, 512, 1, 1)],
        gpu=[(0, "NVIDIA H100")],
    )
    result = summary.summarise(nsys_sqlite.read(path))
    assert result.source.devices == ["NVIDIA H100"]
    assert [row.name for row in result.kernels.by_name] == ["(string 99)"]
    assert {(c.direction, c.bytes) for c in result.copies} == {("HtoD", 4096), ("DtoD", 100)}
    assert [row.name for row in result.nvtx.time_by_range] == ["registered"]
    assert [(m.device_type, m.events, m.net_bytes) for m in result.memory] == [(1, 3, 1024)]


def test_a_window_selects_the_rows_that_begin_in_it(tmp_path):
    path = n.write(
        tmp_path / "t.sqlite",
        kernel=[n.kernel(100, 110, 1), n.kernel(210, 230, 2), n.kernel(215, 300, 2, process=n.OTHER_PROCESS)],
        runtime=[n.launch(10, 11, 1), n.launch(205, 206, 2), n.launch(205, 206, 2, n.OTHER_PROCESS + 3)],
        nvtx=[n.pushed(200, 300, "it's this"), n.pushed(5, 12, "other"), n.pushed(400, 500, "it's this")],
    )
    window = nsys_sqlite.range_window(path, "it's this")
    assert (window.start, window.end, window.process) == (200, 301, n.PROCESS >> 24)
    result = summary.summarise(nsys_sqlite.read(path, window))
    assert (result.kernels.count, result.kernels.time_ns, result.kernels.without_launch) == (1, 20, 0)
    assert nsys_sqlite.range_window(path, "it's") is None


def test_unknown_schemas_are_noted(tmp_path):
    rows = {"kernel": [n.kernel(100, 110, 1)]}
    future = nsys_sqlite.read(n.write(tmp_path / "t.sqlite", schema="4.1.0", **rows))
    assert "schema 4.1.0 is newer than those ttprof knows (2.9 to 3.25)" in str(future.notes[-1])
    assert [note.code for note in future.notes] == [NoteCode.NO_CUDA_CALLS, NoteCode.UNKNOWN_SCHEMA]
    for schema in ("2.9.1", 3, None):
        assert len(nsys_sqlite.read(n.write(tmp_path / "t.sqlite", schema=schema, **rows)).notes) == 1
    with pytest.raises(TraceError, match=r"CUPTI_ACTIVITY_KIND_KERNEL has no column deviceId.*schema 4\.1\.0"):
        nsys_sqlite.read(n.write(tmp_path / "t.sqlite", schema="4.1.0", without="deviceId", **rows))


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_unreadable_files_raise_one_clear_error(tmp_path):
    whole = n.write(tmp_path / "whole.sqlite", kernel=[n.kernel(i, i + 1, i) for i in range(2000)]).read_bytes()
    files = {
        "cut.sqlite": (whole[: len(whole) // 2], "the file is truncated"),
        "head.sqlite": (whole[:50], "the file is truncated"),
        "empty.sqlite": (b"", "the file is empty"),
        "text.sqlite": (b"hello, this is text" * 20, "not an SQLite file"),
        "damaged.sqlite": (whole[:4096] + b"\xff" * (len(whole) - 4096), "the file is damaged"),
        "empty.nsys-rep": (b"", "the file is empty"),
    }
    for name, (content, words) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=words) as error:
            raise run(tmp_path / name).exception
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(TraceError, match="No such file"):
        raise run(tmp_path / "missing.sqlite").exception
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(TraceError, match="not one written by `nsys export"):
        raise run(tmp_path / "other.sqlite").exception


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        (n.kernel(100, 90, 1), Flaw.NEGATIVE),
        (n.kernel(100, None, 1), Flaw.NEGATIVE),
        (n.kernel(None, 100, 1), Flaw.UNREADABLE),
        (n.kernel(100, 100, 1), Flaw.NO_DURATION),
    ],
)
def test_impossible_rows_are_left_out(tmp_path, row, flaw):
    trace = nsys_sqlite.read(n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 1, 1), row]))
    assert [(left.flaw, left.count, left.of) for left in trace.left_out] == [(flaw, 1, 2)]
    assert trace.kernels.time_ns == 1


def test_a_value_that_is_no_number_is_an_error(tmp_path):
    path = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 1, 1), n.kernel(100, 110, "x")])
    with pytest.raises(TraceError, match="CUPTI_ACTIVITY_KIND_KERNEL has a value that is not an integer"):
        nsys_sqlite.read(path)


def test_a_missing_table_or_optional_column_leaves_the_rest_intact(tmp_path):
    rows = {"kernel": [n.kernel(100, 110, 1)], "runtime": [n.launch(1, 2, 1)], "gpu": [(0, "GPU")]}
    rows["nvtx"] = [(0, 5, 59, n.MAIN, None, n.REGISTERED)]
    for column in ("text", "name", "value", "globalPid", "shortName", "correlationId", "nameId"):
        result = summary.summarise(nsys_sqlite.read(n.write(tmp_path / "t.sqlite", without=column, **rows)))
        assert (result.kernels.count, result.nvtx.ranges) == (1, 1), column


def test_a_locked_file_is_reported_as_locked(tmp_path):
    path = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 1, 1)])
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(TraceError, match="another process is writing this file"):
            nsys_sqlite.read(path)
    finally:
        writer.close()


def test_reading_does_not_change_the_file(tmp_path):
    path = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 1, 1)])
    path.chmod(0o444)
    before = path.read_bytes()
    nsys_sqlite.read(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.sqlite"]


def test_analyze_writes_a_trace_for_other_viewers(tmp_path):
    path = n.write(tmp_path / "a b.sqlite", kernel=[n.kernel(100, 110, 1)], runtime=[n.launch(10, 11, 1)])
    shown = run(path, "--to-chrome", tmp_path / "out" / "t.json.gz")
    assert shown.exit_code == 0
    assert f"wrote {tmp_path / 'out' / 't.json.gz'}" in shown.stdout
    assert "launched within" not in shown.stdout
    assert json.loads(run(tmp_path / "out" / "t.json.gz", "--json").stdout)["kernels"]["count"] == 1
    as_json = run(path, "--json", "--to-chrome", tmp_path / "t.json.gz")
    assert json.loads(as_json.stdout)["kernels"]["count"] == 1
    assert run(path, "--diff", path, "--to-chrome", tmp_path / "t.json.gz").exit_code == 2
    before = path.read_bytes()
    assert run(path, "--to-chrome", path).exit_code == 2
    (tmp_path / "same.json.gz").symlink_to(path)
    assert "overwrite the recording itself" in run(path, "--to-chrome", tmp_path / "same.json.gz").output
    assert path.read_bytes() == before


def test_control_characters_in_names_are_escaped(tmp_path):
    path = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(0, 1, 1)], nvtx=[n.pushed(0, 5, "\x1b[31mred\nline")])
    shown = run(path).stdout
    assert "\x1b" not in shown
    assert json.loads(run(path, "--json").stdout)["nvtx"]["time_by_range"][0]["name"] == "\x1b[31mred\nline"
    assert "\\x1b[31mred\\nline" in run(n.write(path, nvtx=[n.pushed(0, 5, "\x1b[31mred\nline")])).stdout


def test_exports_in_a_folder_are_read_as_ranks(tmp_path):
    path = n.write(tmp_path / "t.sqlite", kernel=[n.kernel(100, 110, 1)])
    (tmp_path / "request.json").write_text("{}")
    assert ranks.trace_files([str(tmp_path)]) == [path]
    rows = list(ranks.read_all([path], salvage=False, processes=1))
    assert rows[0].kernels.count == 1
