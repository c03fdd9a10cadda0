"""Scrubbed exports of Nsight Systems: a new database with the tables that ttprof reads, and the same numbers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import nsys_files as n

from ttprof.trace.analyses import summary
from ttprof.trace.formats import nsys_sqlite
from ttprof.trace.scrub.copying import scrub

SECRET = "hunter2planted"
REAL = (b"DESKTOP-KBEMEQS", b"rich-wsl", b"fastvideo", b"/opt/nvidia", b"/home/", b"tailscaled", b"pytest -vs")
"""The host, the user, and parts of the command lines and paths in the recorded exports."""


def numbers(path: Path) -> dict:
    built = msgspec.to_builtins(summary.summarise(nsys_sqlite.read(path)))
    built["source"].pop("path")
    return built


def planted(path: Path) -> Path:
    """An export with a secret in every table of nsys that names people or machines, and one deleted row."""
    n.write(
        path,
        kernel=[n.kernel(20, 30, 1)],
        runtime=[n.launch(10, 12, 1)],
        nvtx=[
            n.pushed(0, 50, "module: block"),
            n.pushed(0, 40, "load /home/alice/x"),
            (0, None, 34, n.MAIN, SECRET, None),
            (0, 60, 59, n.MAIN, None, n.REGISTERED),
        ],
        diagnostic=[
            (1, f"Loaded /opt/{SECRET}/lib.so"),
            (1, f"Started by {SECRET}"),
            (2, "3 events were dropped by gpu-17"),
        ],
        gpu=[(0, "NVIDIA H100")],
    )
    with sqlite3.connect(path) as connection:
        tables = {
            "TARGET_INFO_SYSTEM_ENV": "name, value",
            "PROCESSES": "globalPid, name",
            "ThreadNames": "nameId, name",
            "ANALYSIS_FILE": "id, filename",
            "META_DATA_CAPTURE": "name, value",
            "deleted": "name, value",
        }
        for table, columns in tables.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(f"INSERT INTO {table} VALUES (1, ?)", (SECRET * 50,))
        connection.execute("DELETE FROM deleted")
        connection.execute("INSERT INTO StringIds VALUES (99, ?)", (SECRET,))
        connection.execute("INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_HOST', 'gpu-17')")
        connection.execute("INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_SCHEMA_VERSION_NOTE', ?)", (SECRET,))
        connection.execute("ALTER TABLE NVTX_EVENTS ADD COLUMN jsonText")
        connection.execute("UPDATE NVTX_EVENTS SET jsonText = ?", (SECRET,))
        connection.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN mangledName")
        connection.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET mangledName = 99, globalPid = globalPid")
        connection.execute(f"CREATE INDEX {SECRET} ON PROCESSES (name)")
    connection.close()
    return path


def test_no_planted_secret_is_in_the_copy_and_the_numbers_are_the_same(tmp_path):
    source, target = planted(tmp_path / "in.sqlite"), tmp_path / "out.sqlite"
    outcome = scrub(source, target)
    data = target.read_bytes()
    assert [text for text in (SECRET.encode(), b"alice", b"gpu-17", b"/opt") if text in data] == []
    before, after = numbers(source), numbers(target)
    before["trace"].pop("dropped"), before["trace"].pop("reasons")
    assert after["trace"].pop("dropped") == ["3 events were dropped by <hidden text 1>"]
    after["trace"].pop("reasons")
    ranges = [row.pop("name") for part in ("kernel_time_by_range", "time_by_range") for row in after["nvtx"][part]]
    for part in ("kernel_time_by_range", "time_by_range"):
        for row in before["nvtx"][part]:
            row.pop("name")
    assert set(ranges) == {"module: block", "load <path 1>", "registered"}
    assert {key for key in before if before[key] != after[key]} == set()
    removed = {row.what: row.count for row in outcome.removed}
    assert removed["table of the export"] == 6 and removed["string that no kept column uses"] == 3


def test_only_tables_and_columns_that_are_read_are_copied(tmp_path):
    scrub(planted(tmp_path / "in.sqlite"), tmp_path / "out.sqlite")
    with sqlite3.connect(tmp_path / "out.sqlite") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        ranges = [row[1] for row in connection.execute("PRAGMA table_info(NVTX_EVENTS)")]
    connection.close()
    assert tables == {
        "CUPTI_ACTIVITY_KIND_KERNEL",
        "CUPTI_ACTIVITY_KIND_RUNTIME",
        "NVTX_EVENTS",
        "StringIds",
        "TARGET_INFO_GPU",
        "DIAGNOSTIC_EVENT",
        "META_DATA_EXPORT",
    }
    assert ranges == ["start", "end", "eventType", "globalTid", "textId", "text"]


def test_recorded_exports_have_the_same_numbers_and_neither_host_nor_user(shared_traces, tmp_path):
    sources = sorted((shared_traces / "nsys").glob("*.sqlite"))
    assert sources
    found = set()
    for source in sources:
        target = tmp_path / source.name
        scrub(source, target)
        assert numbers(source) == numbers(target), source.name
        found |= {text for text in REAL if text in source.read_bytes()}
        assert [text for text in REAL if text in target.read_bytes()] == [], source.name
    assert {b"DESKTOP-KBEMEQS", b"rich-wsl", b"pytest -vs"} <= found, "the recorded exports do name them"


def test_the_user_of_the_environment_is_hidden_in_names(tmp_path):
    source, target = tmp_path / "in.sqlite", tmp_path / "out.sqlite"
    n.write(
        source, kernel=[n.kernel(20, 30, 1)], runtime=[n.launch(10, 12, 1)], nvtx=[n.pushed(0, 50, "run of mallory")]
    )
    with sqlite3.connect(source) as connection:
        connection.execute("CREATE TABLE TARGET_INFO_SYSTEM_ENV (name, value)")
        connection.execute("INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES ('USER', 'mallory')")
    connection.close()
    scrub(source, target)
    assert b"mallory" in source.read_bytes() and b"mallory" not in target.read_bytes()
