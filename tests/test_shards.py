"""Shards: which cases run in each, and what a shard compares with a baseline."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from results import case, measured, suite, trial
from torch import nn

from ttprof import TestSuite, baseline, session
from ttprof.codes import VerdictCode
from ttprof.errors import SpecError
from ttprof.nsight import rerun
from ttprof.rerun import Again, RecordRequest, by
from ttprof.shards import Shard
from ttprof.verdict import Status

BY_HASH = ["h", "c", "g", "b", "d", "a", "f", "e"]
"""The letters a to h in the order of ``printf 'gate\\0a' | sha256sum`` and so on."""


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))


def run(shard: str, *names: str, base: str | None = None, skipped: bool = False):
    """The result of a suite that tests one layer under several names."""
    layers = model()
    with session.active(session.Session(shard=shard)):
        registered = TestSuite(layers, quiet=True, seconds_per_case=0.1, name="gate", baseline=base)
        for name in names:
            test = registered.test(layers[0], name=name).input_shape((1, 8)).profile(1, 12, trace_iterations=1)
            if skipped:
                test.skip("not today")
        return registered.run()


def names(result) -> list[str]:
    return [case.module_name for case in result]


def write_baseline(path: str, *names: str) -> None:
    """A baseline that measured *names* on this machine, in which nothing is slower than now."""
    environment = run("", "any").environment
    trials = (case(name, Status.PASS, trial(measured("memory_mb", 1e9, "MB"), inputs="")) for name in names)
    baseline.of(suite(*trials, environment=environment)).save(path)


@pytest.mark.parametrize(
    ("shard", "expected"),
    [("1/3", ["h", "b", "f"]), ("2/3", ["c", "d", "e"]), ("3/3", ["g", "a"]), ("1/1", BY_HASH), ("9/9", [])],
)
def test_a_shard_takes_every_nth_case_in_the_order_of_the_sha256_of_their_names(shard, expected):
    for registered in (BY_HASH, sorted(BY_HASH), sorted(BY_HASH, reverse=True)):
        assert Shard.parse(shard).of("gate", registered) == set(expected)


def test_the_name_of_the_suite_is_part_of_the_hash():
    letters = sorted(BY_HASH)
    assert Shard.parse("1/2").of("gate", letters) != Shard.parse("1/2").of("other", letters)


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "-1/2", "1/0", "1/2/3", "1 / 2", "a/b", "١/٢", "1/2\n", "1/10000"]
)
def test_anything_but_k_of_n_is_refused(text):
    with pytest.raises(SpecError, match="a shard is K/N with K from 1 to N, for example 2/8, got"):
        Shard.parse(text)


def test_the_cases_of_a_shard_run_in_registration_order():
    result = run("1/3", "f", "a", "b", "h")  # by hash: h b a f
    assert names(result) == ["f", "h"]
    assert (result.shard, result.suite_cases) == ("1/3", ["f", "a", "b", "h"])
    whole = run("", "f", "a")
    assert (names(whole), whole.shard, whole.suite_cases) == (["f", "a"], "", [])


def test_a_shard_without_a_case_passes_and_a_run_without_a_case_does_not():
    result = run("2/2", "a")
    assert names(result) == [] and result.passed and result.suite_cases == ["a"]
    assert not msgspec.structs.replace(result, shard="").passed


def test_cases_of_other_shards_are_not_missing_from_the_baseline():
    write_baseline("base.json", "f", "a", "b", "h")
    for shard, own in (("1/3", ["f", "h"]), ("2/3", ["b"]), ("3/3", ["a"])):
        assert names(run(shard, "f", "a", "b", "h", base="base.json")) == own


def test_a_case_that_the_suite_lost_is_missing_from_the_first_shard_only():
    write_baseline("base.json", "a", "b", "lost")
    first, second = (run(f"{index}/2", "a", "b", base="base.json") for index in (1, 2))  # by hash: b a
    assert names(first) == ["b", "lost"] and names(second) == ["a"]
    assert first["lost"].verdicts[0].code is VerdictCode.NO_LONGER_RUN


def test_a_shard_of_new_cases_has_something_in_common_with_the_baseline_through_the_other_shards():
    write_baseline("base.json", "b")
    assert names(run("2/2", "a", "b", base="base.json")) == ["a"]


def test_a_shard_whose_cases_are_now_skipped_fails_no_comparison():
    write_baseline("base.json", "a", "b")
    assert names(run("1/2", "a", "b", base="base.json", skipped=True)) == ["b"]  # the other shard compares a
    assert names(run("", "a", "b", base="base.json", skipped=True)) == ["a", "b", "(all)"]


def test_only_the_first_shard_says_that_the_baseline_has_nothing_in_common_with_the_suite():
    write_baseline("base.json", "x", "y")
    first, second = (run(f"{index}/2", "a", "b", base="base.json") for index in (1, 2))
    assert names(first) == ["b", "(all)", "x", "y"] and names(second) == ["a"]
    assert first["(all)"].verdicts[0].code is VerdictCode.NOTHING_IN_COMMON


def test_a_shard_is_no_baseline():
    result = run("1/2", "a", "b")
    assert "it is shard 1/2 of its suite" in (baseline.reason_unfit(result) or "")
    assert baseline.reason_unfit(msgspec.structs.replace(result, shard="")) is None


def test_the_process_that_nsight_watches_runs_the_same_shard(tmp_path):
    with by(Again(["python", "gate.py"], shard="2/3")):
        (file,) = rerun.write_request(tmp_path, "gate", ["c"]).values()
    request = msgspec.json.decode(Path(file).read_bytes(), type=RecordRequest)
    assert (request.cases, request.shard) == (["c"], "2/3")
