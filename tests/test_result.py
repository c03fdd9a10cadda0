"""Results as JSON and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import MACHINE

from ttprof import load
from ttprof.errors import ResultFileError
from ttprof.result import (
    CaseResult,
    LawFit,
    Measurement,
    ScalingFit,
    Status,
    SuiteResult,
    TrialResult,
    Verdict,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(max_size=20)
measurements = st.builds(
    Measurement,
    name=names,
    label=names,
    unit=st.sampled_from(["ms", "MB", ""]),
    better=st.sampled_from(["lower", "higher"]),
    statistic=st.just("median"),
    value=finite,
    samples=st.lists(finite, max_size=4),
)
verdicts = st.builds(
    Verdict,
    expectation=names,
    status=st.sampled_from(Status),
    reason=names,
    metric=st.none() | names,
    measured=st.none() | finite,
    limit=st.none() | finite,
    point=st.dictionaries(names, st.integers(1, 9), max_size=2),
)
trials = st.builds(
    TrialResult,
    point=st.dictionaries(names, st.integers(1, 9), max_size=2),
    inputs=names,
    inputs_source=names,
    measurements=st.lists(measurements, max_size=3),
    trace_path=st.none() | names,
    top_ops=st.lists(st.tuples(names, finite), max_size=2),
)
fits = st.builds(
    ScalingFit,
    metric=names,
    axis=names,
    law=names,
    sizes=st.lists(st.integers(1, 9), max_size=3),
    values=st.lists(finite, max_size=3),
    exponent=finite,
    interval=st.tuples(finite, finite),
    rounds=st.lists(st.lists(finite, max_size=2), max_size=2),
    laws=st.lists(st.builds(LawFit, law=names, intercept=finite, factor=finite, r2=finite), max_size=2),
    overhead=finite,
    quadratic=finite,
    crossover=st.none() | finite,
    threads=st.integers(0, 4),
    extended=st.lists(names, max_size=2),
)
cases = st.builds(
    CaseResult,
    module_name=names,
    module_type=names,
    status=st.sampled_from(Status),
    source=names,
    verdicts=st.lists(verdicts, max_size=3),
    trials=st.lists(trials, max_size=2),
    scaling=st.none() | fits,
)


def suite(*found: CaseResult, strict: bool = False) -> SuiteResult:
    return SuiteResult(
        name="s", started="2026-01-01", environment=MACHINE, cases=list(found), run_dir="traces/s", strict=strict
    )


def case(status: Status, name: str = "x") -> CaseResult:
    return CaseResult(module_name=name, module_type="M", status=status, source="f.py:1")


@given(st.lists(cases, max_size=3))
def test_a_result_is_json_and_back_without_loss(tmp_path_factory, found):
    before = suite(*found)
    assert load(before.save(tmp_path_factory.mktemp("r") / "deep" / "result.json")) == before


@pytest.mark.parametrize(
    ("statuses", "strict", "passed"),
    [
        (["PASS", "SKIP"], False, True),
        (["PASS", "INCONCLUSIVE"], False, True),
        (["PASS", "INCONCLUSIVE"], True, False),
        (["PASS", "FAIL"], False, False),
        (["ERROR"], False, False),
        ([], False, True),
    ],
)
def test_what_passes(statuses, strict, passed):
    assert suite(*(case(Status(s)) for s in statuses), strict=strict).passed is passed


def test_a_suite_is_a_sequence_of_its_cases():
    result = suite(case(Status.PASS, "a"), case(Status.FAIL, "b"))
    assert [c.module_name for c in result] == ["a", "b"]
    assert (len(result), result[0].module_name, result["b"].status) == (2, "a", "FAIL")
    assert [c.module_name for c in result.failures] == ["b"]
    with pytest.raises(KeyError):
        result["c"]


def test_errors_are_the_sentences_of_failures():
    found = [Verdict(expectation="e", status=s, reason=s.value) for s in Status]
    one = CaseResult(module_name="x", module_type="M", status=Status.FAIL, source="", verdicts=found)
    assert one.errors == ["FAIL", "ERROR"]
    assert (one.metrics, one.trace_path, one.passed) == ({}, None, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a ttprof result"),
        ("[]", "not a ttprof result"),
        ('{"version": 1}', "not a ttprof result: .*missing required field"),
        ('{"version": 99, "anything": 0}', "format 99 is newer than this ttprof reads"),
    ],
)
def test_broken_files_get_one_error(tmp_path, content, message):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ResultFileError, match=message):
        load(tmp_path / "r.json")
    with pytest.raises(ResultFileError, match="No such file"):
        load(tmp_path / "nothing.json")


def test_the_json_states_its_version():
    assert json.loads(suite().to_json())["version"] == 1
