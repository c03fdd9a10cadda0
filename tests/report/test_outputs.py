"""The formats that CI systems read, over passing, failing, empty and hostile results."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import msgspec
import pytest
import xmlschema
from peers import peer_file
from results import EVERYTHING, FAILED, SUITES, UNDECIDED, UNMEASURED, case, measured, note, suite, trial, verdict
from rich.console import Console

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ResultFileError
from ttprof.report import console, github, junit, outputs, sentences
from ttprof.result_file import load_all
from ttprof.system.escape import visible
from ttprof.verdict import Status

HOSTILE = "a\x00\x1b[31m\ufffe\ud800]]> & <b> \"'\n\r\t%, :: é 漢 \U0001f600"
ALL = {
    **SUITES,
    "everything": EVERYTHING,
    "undecided": suite(case("norm", Status.INCONCLUSIVE, trial(), verdicts=[UNDECIDED])),
    "terrible": suite(
        case(HOSTILE, Status.FAIL, trial(measured("latency_ms", float("nan"))), verdicts=[FAILED]),
        msgspec.structs.replace(case(HOSTILE, Status.ERROR), source=HOSTILE),
    ),
}


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    """The junit-10.xsd of Jenkins' xunit plugin, with which pytest's own tests validate."""
    return xmlschema.XMLSchema(peer_file("pytest-8.4.0.tar.gz", "junit-10.xsd").decode())


def parsed(*results) -> ElementTree.Element:
    return ElementTree.fromstring(junit.xml(results).encode("utf-8"))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_junit_is_valid_for_every_kind_of_result(schema, name, strict):
    result = msgspec.structs.replace(ALL[name], strict=strict)
    schema.validate(junit.xml([result, result]).split("?>", 1)[1])


def test_the_schema_rejects_invalid_documents(schema):
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate('<testsuites><testsuite name="x"/></testsuites>')


@pytest.mark.parametrize("name", ALL)
def test_junit_counts_its_cases(name):
    result = ALL[name]
    root = parsed(result, result)
    assert root.tag == "testsuites" and len(root) == 2
    suite_element = root[0]
    assert len(suite_element.findall("testcase")) == len(result) == int(suite_element.get("tests"))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite_element.get(attribute)) == len(suite_element.findall(f"testcase/{tag}"))


def test_junit_has_the_reasons_and_the_metrics():
    root = parsed(ALL["failing"], ALL["unmeasured"], ALL["hostile"], ALL["swept"])
    failure = root[0].find("testcase/failure")
    assert failure.get("message").startswith("latency_ms is 7 ms, 40 % over the limit of 5 ms; dominated by")
    assert failure.get("type") == "outside-limit" and failure.text.endswith("at gate.py:7")
    assert root[1].find("testcase/error").get("message") == "kernel_time_ms was not measured on cpu: it needs kernels"
    both = case("both", Status.ERROR, verdicts=[FAILED, UNMEASURED])
    assert parsed(suite(both))[0].find("testcase/error").get("message") == f"{UNMEASURED.reason} (and 1 more)"
    assert [child.tag for child in root[2].findall("testcase")[1]] == ["skipped"]
    properties = {element.get("name"): element.get("value") for element in root[3].iter("property")}
    assert properties["ffn seq_len=64/latency_ms"] == "1.0" and "a processor" in properties["machine"]


def test_junit_lets_inconclusive_pass_with_its_reason_unless_strict():
    lenient, strict = ALL["undecided"], msgspec.structs.replace(ALL["undecided"], strict=True)
    (passing,) = parsed(lenient)[0].findall("testcase")
    assert [child.tag for child in passing] == ["system-out"] and "both sides" in passing[0].text
    (failing,) = parsed(strict)[0].findall("testcase")
    assert [child.tag for child in failing] == ["failure"] and failing[0].get("type") == "limit-undecided"
    assert parsed(strict)[0].get("failures") == "1"


def test_junit_replaces_characters_that_xml_forbids():
    name = parsed(ALL["terrible"])[0].find("testcase").get("name")
    assert name == visible(HOSTILE).replace("\ufffe", "\ufffd")


def test_json_is_a_list_that_is_read_back(tmp_path):
    results = [ALL["failing"], ALL["swept"]]
    for saved in (results, results[:1]):
        written = outputs.write(saved, {"json": tmp_path / "new" / "all.json", "junit": None})
        assert written == ([f"wrote {tmp_path}/new/all.json"], [])
        assert load_all(tmp_path / "new" / "all.json") == saved
    ALL["failing"].save(tmp_path / "one.json")
    assert load_all(tmp_path / "one.json") == results[:1]


@pytest.mark.parametrize("text", ["[", "[1]", "[{}]", '[{"version": 99}]'])
def test_a_list_that_holds_something_else_is_refused(tmp_path, text):
    (tmp_path / "all.json").write_text(text)
    with pytest.raises(ResultFileError, match=r"all\.json: (not a|written by a newer ttprof)"):
        load_all(tmp_path / "all.json")


@pytest.mark.parametrize("name", outputs.FORMATS)
def test_without_a_result_the_file_of_an_earlier_run_stays(tmp_path, name):
    (tmp_path / "kept").write_text("earlier")
    assert outputs.write([], {name: tmp_path / "kept"}).messages == [f"no suite ran: {tmp_path}/kept was not written"]
    assert (tmp_path / "kept").read_text(encoding="utf-8") == "earlier"


@pytest.mark.parametrize("broken", outputs.FORMATS)
def test_a_file_that_cannot_be_written_is_named_and_the_others_are_written(tmp_path, broken):
    paths = {name: tmp_path / name for name in outputs.FORMATS}
    paths[broken].mkdir()
    written = outputs.write([ALL["failing"]], paths)
    assert [str(failure) for failure in written.failures] == [f"{paths[broken]}: Is a directory"]
    assert written.messages == [f"wrote {path}" for name, path in paths.items() if name != broken]
    assert [path.is_file() for path in paths.values()] == [name != broken for name in paths]


def test_a_path_is_checked_without_creating_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    outputs.check({"json": tmp_path / "new" / "deep" / "all.json", "html": tmp_path / "file", "junit": None})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "x.json", "file is not a folder")):
        with pytest.raises(ResultFileError, match=why):
            outputs.check({"json": path})
    monkeypatch.setattr(outputs.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ResultFileError, match="permission denied"):
        outputs.check({"json": tmp_path / "new" / "all.json"})


def test_nothing_is_reported_outside_github(tmp_path):
    summary = tmp_path / "summary.md"
    assert github.report([ALL["failing"]], {"GITHUB_STEP_SUMMARY": str(summary)}) == []
    assert github.report([], {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true"}) == []
    assert not summary.exists()
    assert len(github.report([ALL["failing"]], {"GITHUB_ACTIONS": "true"})) == 1


def test_annotations_are_at_the_lines_of_the_tests(in_empty_folder):
    lines = [line for name in ("passing", "failing", "undecided", "hostile") for line in tell(ALL[name])]
    assert lines == [
        "::error file=gate.py,line=7,title=ttprof FAIL ffn::FAIL: latency_ms is 7 ms, 40 %25 over the limit of 5 ms; "
        "dominated by aten::addmm 61 %25, aten::gelu 20 %25",
        "::warning file=gate.py,line=7,title=ttprof INCONCLUSIVE norm::INCONCLUSIVE: latency_ms lies on both sides of "
        "5 ms",
        "::error file=gate.py,line=7,title=ttprof ERROR <script>[red]|x::ERROR: kernel_time_ms was not measured on "
        "cpu: it needs kernels",
    ]
    strict = msgspec.structs.replace(ALL["undecided"], strict=True)
    assert tell(strict)[0].startswith("::error file=gate.py,line=7,title=ttprof INCONCLUSIVE norm::")


def tell(result, **environ: str) -> list[str]:
    return github.report([result], {"GITHUB_ACTIONS": "true", **environ})


def test_annotations_name_only_paths_in_the_workspace(in_empty_folder):
    inside = msgspec.structs.replace(ALL["failing"][0], source=f"{in_empty_folder}/sub dir/gate,1.py:12")
    outside = msgspec.structs.replace(inside, source="/elsewhere/gate.py:3")
    unknown = msgspec.structs.replace(inside, source="baseline")
    lines = tell(suite(inside, outside, unknown), GITHUB_WORKSPACE=str(in_empty_folder))
    assert lines[0].startswith("::error file=sub dir/gate%2C1.py,line=12,title=")
    assert lines[1].startswith("::error title=") and lines[1].endswith("%0Aat /elsewhere/gate.py:3")
    assert lines[2].startswith("::error title=") and lines[2].endswith("%0Aat baseline")


def test_hostile_names_cannot_break_a_command(in_empty_folder):
    for line in tell(ALL["terrible"]):
        assert "\n" not in line and "\r" not in line
        head, _, _ = line.removeprefix("::").partition("::")
        assert "%25%2C %3A%3A" in head


def test_a_hostile_name_or_message_is_one_line_without_an_escape_in_every_text(in_empty_folder):
    forged = "x\n::error file=a.py,line=1::injected\r\u2028\x1b[2J\x9b2J"
    failed = verdict(Status.ERROR, VerdictCode.RAISED, f"{forged} raised", kind=Kind.RUN, expectation="runs")
    noted = msgspec.structs.replace(trial(), inputs=forged, notes=[note(forged)])
    result = msgspec.structs.replace(suite(case(forged, Status.ERROR, noted, verdicts=[failed])), name=forged)
    out = io.StringIO()
    Console(file=out, width=400).print(console.render(result, 400, sentences.all_reasons))
    texts = [out.getvalue(), console.failure_text(result), github.summary([result]), *tell(result), result.to_json()]
    for text in (*texts, sentences.headline(result[0])):
        assert "injected" in text and not re.search(r"[\x1b\x9b\r\u2028]|^::error file=a", text, re.MULTILINE)
    assert result[forged] is result[0]


def test_the_summary_holds_the_table_of_each_suite_and_appends(tmp_path):
    target = tmp_path / "summary.md"
    target.write_text("before\n")
    results = [ALL["failing"], ALL["terrible"]]
    github.report(results, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(target)})
    text = target.read_text(encoding="utf-8")
    assert text.startswith("before\n") and "| ffn | FAIL | 7 (≤ 5) | 2x8 float32 |" in text
    assert "- **FAIL** ffn: latency\\_ms is 7 ms, 40 % over" in text
    assert "<b>" not in text and "&lt;b&gt;" in text
    with pytest.raises(ResultFileError, match=r"GITHUB_STEP_SUMMARY=.*: Is a directory"):
        github.report(results, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path)})


def test_a_summary_that_is_too_large_keeps_the_totals():
    results = [ALL["failing"]] * 100
    tables = github.summary(results)
    short = github.summary(results, max_bytes=len(tables.encode()) - 1)
    assert short.count("**gate** · 1 case: 1 FAIL") == 100 and "too large" in short and "| ffn |" not in short
    assert github.summary(results, max_bytes=len(tables.encode())) == tables
    assert github.summary(results, max_bytes=10) == ""
