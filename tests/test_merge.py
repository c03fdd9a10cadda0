"""Merging the shards of a suite: the merged result, and shards that don't belong together."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from machines import MACHINE
from results import FAILED, case, measured, suite, trial

from ttprof.errors import ResultFileError
from ttprof.merge import UnlikeShards, merge, read
from ttprof.report.console import failure_text
from ttprof.report.markdown import markdown
from ttprof.verdict import Status

NAMES = ["a", "b", "c"]


def shard(text: str, *names: str, **fields):
    """A shard of a suite with the cases a, b and c, of which it ran *names*; the case b fails."""
    cases = [case(n, Status.FAIL if n == "b" else Status.PASS, verdicts=[FAILED] if n == "b" else []) for n in names]
    return suite(*cases, **{"shard": text, "suite_cases": NAMES, **fields})


def machine(**fields):
    return msgspec.structs.replace(MACHINE, **fields)


FIRST, SECOND = shard("1/2", "a", "c"), shard("2/2", "b")


def test_the_cases_of_all_shards_are_in_registration_order_and_then_those_of_the_baseline():
    first = msgspec.structs.replace(FIRST, cases=[*FIRST.cases, case("lost", Status.INCONCLUSIVE, source="baseline")])
    (merged,) = merge([SECOND, first])
    assert [c.module_name for c in merged] == ["a", "b", "c", "lost"]
    assert (merged.shard, merged.suite_cases, merged.merged_despite) == ("", [], [])
    assert not merged.passed and [c.module_name for c in merged.failures] == ["b"]


def test_times_are_added_and_the_start_is_the_earliest():
    first = msgspec.structs.replace(FIRST, started="2026-11-02", seconds={"timing": 1.5, "capture": 2.0})
    second = msgspec.structs.replace(SECOND, started="2026-11-01", seconds={"timing": 0.5}, interrupted=True)
    (merged,) = merge([first, second])
    assert (merged.started, merged.seconds, merged.interrupted) == ("2026-11-01", {"timing": 2.0, "capture": 2.0}, True)


def test_hosts_are_listed_and_the_highest_load_counts():
    first = shard("1/2", "a", "c", environment=machine(hostname="x", load_average=0.5, git_commit="1a"))
    second = shard("2/2", "b", environment=machine(hostname="y", load_average=3.0, git_commit="1a"))
    environment = merge([first, second])[0].environment
    assert (environment.hostname, environment.load_average, environment.git_commit) == ("x, y", 3.0, "1a")


def test_every_suite_is_merged_in_the_order_in_which_the_suites_first_occur():
    others = [msgspec.structs.replace(part, name="other") for part in (FIRST, SECOND)]
    assert [m.name for m in merge([others[0], SECOND, FIRST, others[1]])] == ["other", "gate"]


def test_an_empty_shard_is_a_shard():
    (merged,) = merge([shard("1/2", *NAMES), shard("2/2")])
    assert len(merged) == 3
    with pytest.raises(UnlikeShards, match="shard 2/2 is missing, and with it 0 of 3 cases"):
        merge([shard("1/2", *NAMES)])


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        (None, "shard 2/2 is missing, and with it 1 of 3 cases"),
        (shard("2/2"), "no shard ran b"),
        (shard("2/2", "b", environment=machine(git_commit="1a")), "commit was None, now '1a'"),
        (shard("2/2", "b", environment=machine(device_name="x")), "device name was 'a processor', now 'x'"),
        (shard("2/2", "b", environment=machine(cpu_count=4)), "number of CPUs was 2, now 4"),
        (shard("2/2", "b", environment=machine(versions={"torch": "2.12.0"})), "torch 2.13.0 → 2.12.0"),
        (shard("2/2", "b", strict=True), "strict was False, now True"),
        (shard("2/2", "b", backend="nsys"), "backend was 'torch', now 'nsys'"),
        (shard("2/2", "b", suite_cases=["a", "b"]), "the suite has other cases"),
    ],
)
def test_unlike_shards_are_refused_and_a_forced_merge_says_so_in_every_report(second, difference):
    parts = [FIRST] if second is None else [FIRST, second]
    with pytest.raises(UnlikeShards) as refused:
        merge(parts)
    assert difference in str(refused.value) and "(pass --force to merge them anyway)" in str(refused.value)
    (merged,) = merge(parts, force=True)
    (overlooked,) = merged.merged_despite
    assert difference in overlooked
    assert f"merged with --force although {overlooked}" in merged.environment.experimental
    assert "merged with --force although" in markdown(merged)


def test_a_forced_merge_names_no_commit_that_only_some_shards_have():
    second = shard("2/2", "b", environment=machine(git_commit="1a"))
    assert (
        merge([second, shard("1/2", "a", "c", environment=machine(git_commit="2b"))], force=True)[
            0
        ].environment.git_commit
        is None
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([FIRST, FIRST, SECOND], "gate: shard 1/2 is there twice"),
        ([FIRST, shard("2/2", "b", "c")], "gate: case c is there twice"),
        ([FIRST, shard("2/3", "b")], "gate: these are shards of a run in 2 and 3 parts"),
        ([FIRST, suite(case("b", Status.PASS))], "gate is not a shard"),
        ([shard("x/2", "a")], "'x/2'"),
    ],
)
def test_shards_of_which_no_result_can_be_made_are_refused_even_with_force(parts, message):
    for force in (False, True):
        with pytest.raises(ResultFileError, match=message):
            merge(parts, force=force)


def with_trace(part, path: str, run_dir: str):
    traced = [msgspec.structs.replace(c, trials=[trial(measured("latency_ms", 1.0), trace_path=path)]) for c in part]
    return msgspec.structs.replace(part, cases=traced, run_dir=run_dir)


def test_traces_are_found_where_the_files_of_a_run_were_moved():
    part = with_trace(SECOND, "traces/gate-1/b/trace.json", "traces/gate-1")
    for folder in ("one", "two"):
        trace = Path(folder, "traces", "gate-1", "b", "trace.json")
        trace.parent.mkdir(parents=True)
        trace.touch()
    part.save("one/results.json")
    part.save("two/traces/gate-1/result.json")
    for run in ("one/results.json", "two/traces/gate-1", "two/traces/gate-1/result.json"):
        (result,) = read(Path(run))
        expected = Path(run.split("/")[0], "traces", "gate-1", "b", "trace.json").resolve()
        assert result["b"].trace_path == str(expected)


def test_a_trace_that_was_not_moved_keeps_its_place():
    with_trace(SECOND, "traces/gate-1/b/trace.json", "traces/gate-1").save("elsewhere/results.json")
    (result,) = read(Path("elsewhere/results.json"))
    assert result["b"].trace_path == str(Path("traces/gate-1/b/trace.json").resolve())


def test_a_merged_result_without_a_folder_names_no_file_of_one():
    (merged,) = merge([FIRST, SECOND])
    assert "result.json" in failure_text(merged)
    assert "result.json" not in failure_text(msgspec.structs.replace(merged, run_dir=""))
