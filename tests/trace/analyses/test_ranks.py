"""Folders of traces, one row per rank."""

from __future__ import annotations

import json
from pathlib import Path

import kineto_files as k
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.errors import TraceError
from ttprof.trace.analyses import ranks


def write_ranks(folder: Path, count: int = 3) -> None:
    folder.mkdir()
    for rank in range(count):
        info = {"rank": count - 1 - rank, "world_size": count}
        k.write(folder / f"worker{rank}.pt.trace.json.gz", k.two_iterations(), distributedInfo=info)


def analyze(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_a_folder_gives_one_row_per_rank_in_order():
    write_ranks(Path("runs"))
    (Path("runs") / "result.json").write_text("{}")  # not a trace: *.trace.json files take precedence
    result = json.loads(analyze("runs", "--json").stdout)
    assert [trace["source"]["rank"] for trace in result["traces"]] == [0, 1, 2]
    assert [trace["kernels"]["time_ns"] for trace in result["traces"]] == [60_000] * 3
    assert result["unreadable"] == []
    shown = analyze("runs").stdout
    assert shown.count("worker") == 3
    assert "launch-bound" in shown


def test_an_unreadable_file_affects_only_its_row():
    write_ranks(Path("runs"))
    (Path("runs") / "broken.trace.json").write_text("{")
    done = analyze("runs")
    assert done.exit_code == 2
    assert "ERROR runs/broken.trace.json: truncated or corrupt JSON" in done.stdout
    assert done.stdout.count("worker") == 3


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/*1*.gz"], ["worker1"]),
        (["runs/worker2.pt.trace.json.gz", "runs"], ["worker2", "worker0", "worker1"]),
        (["*"], ["worker0", "worker1", "worker2"]),
    ],
)
def test_patterns_folders_and_files_list_each_trace_once(paths, names):
    write_ranks(Path("runs"))
    assert [path.name.split(".")[0] for path in ranks.trace_files(paths)] == names


def test_a_path_without_a_trace_is_an_error():
    Path("empty").mkdir()
    for path in ("empty", "nothing*.json"):
        with pytest.raises(TraceError, match="no trace found"):
            ranks.trace_files([path])


def test_a_name_with_brackets_is_a_file_if_it_exists():
    k.write(Path("t[1].json"), k.two_iterations())
    assert ranks.is_one_file(["t[1].json"])
    assert not ranks.is_one_file(["t[2].json"])


def test_a_slow_rank_is_named():
    Path("runs").mkdir()
    for rank, length in enumerate((90, 90, 140)):
        step = k.span("user_annotation", "ProfilerStep#1", 0, length)
        k.write(Path("runs") / f"r{rank}.json", [step, k.kernel("a", 5, 5, 1)], distributedInfo={"rank": rank})
    assert "rank 2: its steps take 1.56 times the median of all ranks" in analyze("runs").stdout


def test_a_diff_takes_two_traces():
    a, b = (k.write(Path(name), k.two_iterations()) for name in ("a.json", "b.json"))
    assert "kernels: 2 same" in analyze(str(a), "--diff", str(b)).stdout
    assert analyze(str(a), str(b), "--diff", str(a)).exit_code == 2


@pytest.mark.parametrize(
    ("others", "counts"),
    [
        (["trace.json", "rank1.json.gz"], {".json": 1, ".json.gz": 1}),
        (["report.sqlite", "report.nsys-rep", "notes.txt"], {".nsys-rep": 1, ".sqlite": 1}),
        ([], {}),
    ],
)
def test_a_folder_names_what_was_not_read(others, counts):
    write_ranks(Path("runs"), 1)
    for name in others:
        (Path("runs") / name).write_text("{}")
    assert json.loads(analyze("runs", "--json").stdout)["not_read"] == counts
    shown = analyze("runs").stdout
    for ending, count in counts.items():
        assert f"{count} {ending}" in shown.partition("not read: ")[2]
    assert ("not read" in shown) is bool(counts)


def test_named_files_are_read_whatever_they_are_called():
    write_ranks(Path("runs"), 1)
    k.write(Path("runs/trace.json"), k.two_iterations())
    result = json.loads(analyze("runs", "runs/trace.json", "--json").stdout)
    assert len(result["traces"]) == 2 and result["not_read"] == {}


def test_impossible_records_and_unknown_rows_are_said_for_each_trace():
    Path("runs").mkdir()
    events = k.two_iterations()
    k.write(Path("runs/a.trace.json"), [*events, {**k.kernel("bad", 5, -1, 99)}])
    k.write(Path("runs/b.trace.json"), [*events, {**k.kernel("odd", 5, 1, 98), "cat": "tensix"}])
    shown = " ".join(analyze("runs").stdout.split())
    assert "WARNING runs/a.trace.json has impossible records: 1 of 5 kernels left out" in shown
    assert "WARNING runs/b.trace.json: 1 row of no category that ttprof knows" in shown
