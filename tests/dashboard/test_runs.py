"""The runs under a log directory: which ones are listed, and that nothing outside it is ever read."""

from __future__ import annotations

import os

import msgspec
import pytest
import results

from ttprof.dashboard import runs as runs_module
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import LogDirectory, moved
from ttprof.errors import ResultFileError, TraceError
from ttprof.result import SuiteResult, TrialResult
from ttprof.verdict import Status


def result(folder, trace=None, started="2026-11-24T10:00:00") -> SuiteResult:
    trial = results.trial(trace_path=trace and str(trace))
    return results.suite(results.case("ffn", Status.PASS, trial), started=started, run_dir=str(folder))


def saved(root, name: str, trace=None, **more) -> SuiteResult:
    folder = root / name
    saved_result = result(folder, trace and folder / trace, **more)
    saved_result.save(folder / "result.json")
    return saved_result


def only_trial(run) -> TrialResult:
    return run.read.cases[0].trials[0]


def test_runs_are_listed_at_any_depth_newest_first(tmp_path):
    saved(tmp_path, "a", started="2026-11-24T10:00:00")
    saved(tmp_path, "deep/er/b", started="2026-11-24T11:00:00")
    assert [run.name for run in LogDirectory(tmp_path).runs()] == ["deep/er/b", "a"]
    assert LogDirectory(tmp_path / "none").runs() == []


def test_an_id_is_stable_and_reveals_no_path(tmp_path):
    saved(tmp_path, "../logs/x" if tmp_path.name == "logs" else "x")
    first, again = (LogDirectory(tmp_path).runs()[0].id for _ in range(2))
    assert first == again and len(first) == 16 and int(first, 16) >= 0


@pytest.mark.parametrize("text", ["", "{nope", "[]", '{"version": 99}', '{"version": 1}', "\x00"])
def test_a_broken_result_is_a_run_with_an_error(tmp_path, text):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text(text)
    saved(tmp_path, "good")
    bad, good = LogDirectory(tmp_path).runs()
    assert (bad.name, bad.result) == ("bad", None) and bad.error and good.error is None
    with pytest.raises(ResultFileError, match=r"^bad: "):
        _ = bad.read


def test_a_result_is_read_again_when_its_file_changes(tmp_path):
    logs = LogDirectory(tmp_path)
    saved(tmp_path, "a")
    assert logs.runs()[0].read is logs.runs()[0].read
    (tmp_path / "a" / "result.json").write_text("{")
    assert logs.runs()[0].error
    (tmp_path / "a" / "result.json").unlink()
    assert logs.runs() == []


def test_links_that_leave_the_log_directory_are_not_followed(tmp_path):
    outside, logs = tmp_path / "outside", tmp_path / "logs"
    saved(outside, "secret")
    saved(logs, "a")
    (logs / "linked").symlink_to(outside / "secret")
    (logs / "b").mkdir()
    (logs / "b" / "result.json").symlink_to(outside / "secret" / "result.json")
    runs = {run.name: run for run in LogDirectory(logs).runs()}
    assert set(runs) == {"a", "b"}
    assert runs["b"].result is None and "leaves the log directory" in runs["b"].error


def test_the_trace_of_a_moved_run_is_found_below_its_folder(tmp_path):
    saved(tmp_path / "old", "run", "case/t.json")
    (tmp_path / "old" / "run" / "case").mkdir()
    (tmp_path / "old" / "run" / "case" / "t.json").write_text("{}")
    (tmp_path / "old").rename(tmp_path / "new")
    (run,) = LogDirectory(tmp_path / "new").runs()
    assert run.trace_file(only_trial(run)) == tmp_path / "new" / "run" / "case" / "t.json"
    assert run.read.run_dir == str(tmp_path / "new" / "run")


@pytest.mark.parametrize("where", ["absolute", "dots", "link"])
def test_a_trace_outside_the_log_directory_is_refused(tmp_path, where):
    secret, logs = tmp_path / "secret.json", tmp_path / "logs"
    secret.write_text("{}")
    path = {"absolute": secret, "dots": logs / "run" / ".." / ".." / "secret.json", "link": logs / "run" / "t.json"}[
        where
    ]
    result(logs / "run", path).save(logs / "run" / "result.json")
    if where == "link":
        path.symlink_to(secret)
    (run,) = LogDirectory(logs).runs()
    with pytest.raises(TraceError, match="outside the log directory"):
        run.trace_file(only_trial(run))


@pytest.mark.parametrize(("path", "message"), [("a\0b", "no longer exists"), ("n" * 5000, "is not usable")])
def test_an_impossible_path_is_an_error_with_a_message(tmp_path, path, message):
    saved(tmp_path, "run", path)
    (run,) = LogDirectory(tmp_path).runs()
    with pytest.raises(TraceError, match=message):
        run.trace_file(only_trial(run))


def test_link_loops_are_errors(tmp_path):
    saved(tmp_path, "run", "t.json")
    (tmp_path / "run" / "t.json").symlink_to("t.json")
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "result.json").symlink_to("result.json")
    runs = {run.name: run for run in LogDirectory(tmp_path).runs()}
    assert runs["round"].error
    with pytest.raises(TraceError):
        runs["run"].trace_file(only_trial(runs["run"]))


def test_a_deleted_trace_and_one_never_recorded_have_their_own_messages(tmp_path):
    saved(tmp_path, "a", "t.json")
    saved(tmp_path, "b")
    deleted, unrecorded = sorted(LogDirectory(tmp_path).runs(), key=lambda run: run.name)
    with pytest.raises(TraceError, match=r"no longer exists: a/t\.json"):
        deleted.trace_file(only_trial(deleted))
    with pytest.raises(TraceError, match="no trace"):
        unrecorded.trace_file(only_trial(unrecorded))


def test_no_error_reveals_where_the_log_directory_is(tmp_path):
    saved(tmp_path, "run", "t.json")
    (tmp_path / "run" / "t.json").write_text("{nope")
    saved(tmp_path, "long", "n" * 5000)
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "result.json").symlink_to("result.json")
    logs = LogDirectory(tmp_path)
    messages = [run.error for run in logs.runs() if run.error]
    for run in logs.runs():
        if run.result is not None:
            with pytest.raises(TraceError) as caught:
                Archive(logs, "logs").answer(f"trace/{run.id}/0/0")
            messages.append(str(caught.value))
    assert len(messages) == 3 and not any(str(tmp_path) in text for text in messages), messages
    assert any(text.startswith("run/t.json: ") for text in messages), messages


def test_moving_keeps_paths_outside_the_folder(tmp_path):
    moved_result = moved(result("old/run", "elsewhere/t.json"), tmp_path)
    assert moved_result.cases[0].trials[0].trace_path == "elsewhere/t.json"
    assert msgspec.structs.replace(moved_result, run_dir="old/run") == result("old/run", "elsewhere/t.json")


def test_a_result_that_is_not_a_file_is_an_error_and_does_not_hang(tmp_path):
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "result.json")
    runs = LogDirectory(tmp_path).runs()
    assert [(run.name, run.error) for run in runs] == [
        (name, "result.json is not a regular file") for name in ("folder", "pipe")
    ]


def test_a_result_that_is_rewritten_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    saved(tmp_path, "a")
    file = tmp_path / "a" / "result.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    load, reads = runs_module.load, []

    def finished_meanwhile(path):
        reads.append(path)
        try:
            return load(path)
        finally:
            if len(reads) == 1:
                file.write_bytes(whole)

    monkeypatch.setattr(runs_module, "load", finished_meanwhile)
    logs = LogDirectory(tmp_path)
    assert logs.runs()[0].error is None and len(reads) == 2
    assert logs.runs()[0].error is None and len(reads) == 2


def test_a_result_of_the_same_size_and_time_is_read_again_if_its_file_is_another(tmp_path):
    saved(tmp_path, "a")
    file = tmp_path / "a" / "result.json"
    logs = LogDirectory(tmp_path)
    first, state = logs.runs()[0].read, file.stat()
    other = tmp_path / "new"
    other.write_bytes(file.read_bytes().replace(b'"PASS"', b'"SKIP"'))
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(file)
    assert [case.status for case in first] != [case.status for case in logs.runs()[0].read]
