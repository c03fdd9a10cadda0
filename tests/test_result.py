"""Results as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from results import FIT, case, measured, suite, trial, verdict

from ttprof import baseline, load
from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.errors import ResultFileError
from ttprof.result import CaseResult, Element, Measurement, TrialResult
from ttprof.result_file import decode, load_all
from ttprof.scaling_fit import LawFit, ScalingFit
from ttprof.system.escape import visible_struct
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

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
points = st.dictionaries(names, st.integers(1, 9), max_size=2).map(Point)
ends = st.none() | finite
verdicts = st.builds(
    Verdict,
    kind=st.sampled_from(Kind),
    code=st.sampled_from(VerdictCode),
    expectation=names,
    status=st.sampled_from(Status),
    reason=names,
    metric=st.none() | names,
    measured=st.none() | finite,
    bound=st.none() | st.tuples(ends, ends),
    point=points,
)
numbers = finite | st.sampled_from(["nan", "inf", "-inf"])
elements = st.builds(
    Element, reference=names, path=names, index=st.lists(st.integers(0, 9)), value=numbers, expected=numbers
)
trials = st.builds(
    TrialResult,
    point=points,
    notes=st.lists(st.builds(Note, code=st.sampled_from(NoteCode), text=names), max_size=2),
    inputs=names,
    inputs_source=names,
    measurements=st.lists(measurements, max_size=3),
    trace_path=st.none() | names,
    worst=st.none() | elements,
    top_ops=st.lists(st.tuples(names, finite), max_size=2),
)
fits = st.builds(
    ScalingFit,
    metric=names,
    axis=names,
    law=names,
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=2),
    values=st.lists(finite, min_size=2, max_size=2),
    exponent=finite,
    interval=st.tuples(finite, finite),
    rounds=st.just([]) | st.lists(st.lists(finite, max_size=2), min_size=2, max_size=2),
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


@given(st.lists(cases, max_size=3))
def test_a_result_survives_json(tmp_path_factory, generated):
    before = suite(*generated)
    assert load(before.save(tmp_path_factory.mktemp("r") / "deep" / "result.json")) == visible_struct(before)


FAILED = (VerdictCode.OUTSIDE_LIMIT, "too slow")
HOSTILE = "\x1b]0;title\x07\x9b2J\r\n::error::x ##[error]y \u202e"


def hostile(value):
    """A JSON value with the hostile text at the end of every string, keys of dicts included, but for codes."""
    if isinstance(value, dict):
        coded = {"kind", "code", "status", "better", "timed", "bound", "samples"}
        return {k: v if k in coded else hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


def texts(value):
    """All strings in a JSON value, keys included."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", ["result", "list", "baseline"])
def test_no_text_of_a_foreign_file_reaches_a_terminal_raw(tmp_path, kind):
    whole = suite(case("a", Status.FAIL, trial(measured("latency_ms", 1.0)), verdicts=[verdict(Status.FAIL, *FAILED)]))
    environment = replace(whole.environment, versions={f"torch{HOSTILE}": "2"}, clocks={"throttle": ["power"]})
    whole = replace(whole, environment=environment)
    damaged = hostile(msgspec.to_builtins(baseline.of(whole) if kind == "baseline" else whole))
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode([damaged] if kind == "list" else damaged))
    loaded = texts(msgspec.to_builtins(baseline.read(path) if kind == "baseline" else load_all(path)[0]))
    assert len([text for text in loaded if r"#\x23[error]y" in text]) > (8 if kind == "baseline" else 15)
    assert [text for text in loaded if not text.isprintable() or "##[" in text] == []


@pytest.mark.parametrize(
    ("statuses", "strict", "passed"),
    [
        (["PASS", "SKIP"], False, True),
        (["PASS", "INCONCLUSIVE"], False, True),
        (["PASS", "INCONCLUSIVE"], True, False),
        (["PASS", "FAIL"], False, False),
        (["ERROR"], False, False),
        ([], False, False),
    ],
)
def test_a_suite_passes_without_failures_and_errors(statuses, strict, passed):
    assert suite(*(case("x", Status(s)) for s in statuses), strict=strict).passed is passed


def test_a_suite_is_a_sequence_of_its_cases():
    result = suite(case("a", Status.PASS), case("b", Status.FAIL))
    assert [c.module_name for c in result] == ["a", "b"]
    assert (len(result), result[0].module_name, result["b"].status) == (2, "a", "FAIL")
    assert [c.module_name for c in result.failures] == ["b"]
    with pytest.raises(KeyError):
        result["c"]


def test_errors_are_the_reasons_of_failures_and_errors():
    one = case("x", Status.FAIL, verdicts=[verdict(s, VerdictCode.WITHIN_LIMIT, s.value) for s in Status])
    assert one.errors == ["FAIL", "ERROR"]
    assert (one.metrics, one.trace_path, one.passed) == ({}, None, False)


def test_a_result_from_before_the_worst_element_was_stored_still_loads(tmp_path):
    worst = Element(reference="its float64 self", path="output[0]", index=[1, 2], value="nan", expected=0.1)
    path = suite(case("x", Status.PASS, trial(worst=worst))).save(tmp_path / "x.json")
    assert load(path)["x"].trials[0].worst == worst
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["cases"][0]["trials"][0]["worst"]
    path.write_text(json.dumps(data))
    assert load(path)["x"].trials[0].worst is None
    data["cases"][0]["trials"][0]["worst"] = {**msgspec.to_builtins(worst), "value": "much"}
    path.write_text(json.dumps(data))
    with pytest.raises(ResultFileError, match="not a ttprof result"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a ttprof result"),
        ("[]", "not a ttprof result"),
        ('{"version": 1}', "not a ttprof result: .*missing required field"),
        ('{"version": 0}', "not a ttprof file: the format is 1 or more, got 0"),
        ('{"version": "3"}', "not a ttprof result"),
        ('{"version": 99, "anything": 0}', r"written by a newer ttprof \(format 99, this one reads up to 2\): update"),
    ],
)
def test_broken_files_get_one_error(tmp_path, content, message):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ResultFileError, match=message):
        load(tmp_path / "r.json")
    with pytest.raises(ResultFileError, match="No such file"):
        load(tmp_path / "nothing.json")


def encoded() -> dict[str, Any]:
    """The JSON of a result with one verdict and one note."""
    noted = trial(notes=[Note(NoteCode.WAITED, "w")])
    judged = verdict(Status.PASS, VerdictCode.WITHIN_LIMIT, "fast enough")
    return json.loads(suite(case("x", Status.PASS, noted, verdicts=[judged])).to_json())


@pytest.mark.parametrize(
    ("part", "field", "what"),
    [
        (lambda case: case, "status", "status 'NEW'"),
        (lambda case: case["verdicts"][0], "status", "status 'NEW'"),
        (lambda case: case["verdicts"][0], "kind", "kind 'NEW'"),
        (lambda case: case["verdicts"][0], "code", "verdict code 'NEW'"),
        (lambda case: case["trials"][0]["notes"][0], "code", "note code 'NEW'"),
    ],
)
def test_a_code_that_this_version_does_not_know_is_named(part, field, what):
    data = encoded()
    assert decode(json.dumps(data))["x"].status is Status.PASS
    part(data["cases"][0])[field] = "NEW"
    with pytest.raises(ResultFileError) as raised:
        decode(json.dumps(data))
    assert raised.value.reason == f"unknown {what}: written by a newer ttprof (also format 2), or edited; update ttprof"


def test_every_unknown_code_is_named_once_in_the_error_of_the_file(tmp_path):
    data = encoded()
    data["cases"][0]["verdicts"] *= 2
    data["cases"][0]["verdicts"][0]["code"] = "slowish"
    data["cases"][0]["trials"][0]["notes"][0]["code"] = "warm"
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(ResultFileError, match=r"r\.json: unknown verdict code 'slowish', note code 'warm': written by"):
        load(tmp_path / "r.json")


@pytest.mark.parametrize("damage", [{"code": 7}, {"text": None, "code": "waited"}])
def test_damage_that_is_no_unknown_code_stays_a_decoding_error(tmp_path, damage):
    data = encoded()
    data["cases"][0]["trials"][0]["notes"] = [damage]
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(ResultFileError, match=r"r\.json: not a ttprof result: .*notes"):
        load(tmp_path / "r.json")


def test_an_older_version_ignores_an_added_field():
    data = encoded()
    data["cases"][0] |= {"added_later": 1}
    assert decode(json.dumps(data)) == decode(json.dumps(encoded()))


def test_the_json_states_its_version():
    assert json.loads(suite().to_json())["version"] == 2


@pytest.mark.parametrize(
    ("sizes", "values", "rounds"),
    [([], [], []), ([1, 2, 4], [1.0], []), ([0, 1], [1.0, 1.0], []), ([1, 2], [1.0, 2.0], [[1.0]])],
)
def test_a_fit_that_no_sweep_can_give_is_rejected(tmp_path, sizes, values, rounds):
    path = suite(case("x", Status.PASS, scaling=replace(FIT, metric="m"))).save(tmp_path / "x.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    data["cases"][0]["scaling"].update(sizes=sizes, values=values, rounds=rounds)
    path.write_text(json.dumps(data))
    with pytest.raises(ResultFileError, match="not a ttprof result: a fit of m "):
        load(path)


def test_a_moved_run_finds_its_traces(tmp_path):
    result = suite(case("x", Status.PASS, trial(trace_path="traces/run/x/trace.json")), run_dir="traces/run")
    (tmp_path / "moved" / "x").mkdir(parents=True)
    path = result.save(tmp_path / "moved" / "result.json")
    assert load(path)["x"].trace_path == "traces/run/x/trace.json"  # neither path exists: it stays
    (tmp_path / "moved" / "x" / "trace.json").touch()
    assert load(path)["x"].trace_path == str(tmp_path / "moved" / "x" / "trace.json")


OLD = {
    "expectation": "latency_ms <= 5 ms",
    "status": "FAIL",
    "reason": "latency_ms is 7 ms",
    "metric": "latency_ms",
    "measured": 7.0,
    "point": {"n": 4},
}


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"limit": 5.0}, (None, 5.0)),
        ({"limit": 5.0, "metric": "pcc"}, (5.0, None)),
        ({"limit": 5.0, "bound": [4.0, 5.0]}, (4.0, 5.0)),
        ({"limit": None}, None),
    ],
)
def test_a_result_of_version_1_loads_with_its_bounds_and_without_codes(tmp_path, fields, bound):
    at_4 = trial(measured("pcc", 0.5, "", "higher"), point={"n": 4})
    data = json.loads(suite(case("x", Status.FAIL, at_4)).to_json())
    data["version"] = 1
    data["cases"][0]["verdicts"] = [{**OLD, **fields}]
    data["cases"][0]["trials"][0]["notes"] = ["seq_len 64, the most that the model takes"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    (loaded,) = load(path)
    (judged,) = loaded.verdicts
    assert (judged.bound, judged.kind, judged.code) == (bound, Kind.UNSTATED, VerdictCode.UNSTATED)
    assert loaded.verdicts_at(Point(n=4)) == [judged] and loaded.verdicts_at(Point(n=8)) == []
    assert loaded.trials[0].notes == [Note(NoteCode.UNSTATED, "seq_len 64, the most that the model takes")]
