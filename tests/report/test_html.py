"""The HTML report as a file: it exists for every kind of result, is escaped and small enough, and loads nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from results import SUITES
from torch import nn

from ttprof import TestSuite, load
from ttprof.cli.report import command
from ttprof.errors import ResultFileError
from ttprof.report import html


class Tags(HTMLParser):
    """The tags of a page with their attributes, as a browser parses them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def documents_text(path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.search(r'id="ttprof-documents">(.*?)</script>', text, re.DOTALL)[1]


def contents(path) -> dict:
    return json.loads(documents_text(path))


@pytest.mark.parametrize("name", SUITES)
def test_every_kind_of_result_has_a_page(name, tmp_path):
    path = html.write([SUITES[name]], tmp_path / "deep" / "report.html")
    documents = contents(path)["documents"]
    (run,) = documents["runs"]["runs"]
    assert len(documents[f"run/{run['id']}"]["cases"]) == len(SUITES[name])
    assert path.stat().st_size < 6_000_000


def test_a_page_has_only_its_own_scripts_and_loads_nothing(tmp_path):
    path = html.write([SUITES["hostile"]], tmp_path / "report.html")
    tags = Tags(path.read_text(encoding="utf-8")).tags
    assert [tag for tag, _ in tags].count("script") == 4
    assert not [attrs for _, attrs in tags if {"src", "href", "onerror", "onload"} & attrs.keys()]
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "<script>[red]|x" in str(contents(path)["documents"])


def test_json_in_a_page_cannot_end_its_script():
    text = '{"a":"</script><!--&\u2028\u2029"}'
    assert not set("<>&\u2028\u2029") & set(html.escape_json(text))
    assert json.loads(html.escape_json(text)) == json.loads(text)


def test_documents_that_do_not_fit_are_left_out_and_listed(tmp_path, monkeypatch):
    whole = html.write([SUITES["swept"]], tmp_path / "whole.html")
    empty_page = whole.stat().st_size - len(documents_text(whole).encode())
    monkeypatch.setattr(html, "BUDGET", empty_page + 1500)
    page = contents(html.write([SUITES["swept"]], tmp_path / "report.html"))
    assert page["missing"] and all("left out" in reason for reason in page["missing"].values())
    assert any("documents" in note for note in page["notes"])


@pytest.mark.parametrize(("count", "words"), [(1, "of 1 timeline:"), (2, "of 2 timelines:")])
def test_left_out_timelines_are_counted_in_singular_and_plural(tmp_path, monkeypatch, count, words):
    monkeypatch.setattr(html, "MIN_EVENTS", 1)
    monkeypatch.setattr(html, "MAX_EVENTS", 2)
    suite = TestSuite(nn.Linear(4, 4), quiet=True, trace_dir=tmp_path)
    for i in range(count):
        suite.test(suite.model, name=f"linear {i}").input_shape((2, 4)).profile(1, 2)
    notes = contents(html.write([suite.run()], tmp_path / "r.html"))["notes"]
    assert any(note.startswith("the shortest events") and words in note for note in notes)


def test_results_with_the_same_folder_name_stay_apart(tmp_path):
    documents = contents(html.write([SUITES["passing"], SUITES["failing"]], tmp_path / "r.html"))["documents"]
    assert len({run["id"] for run in documents["runs"]["runs"]}) == 2


def test_an_unwritable_path_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultFileError, match="file"):
        html.write([SUITES["empty"]], tmp_path / "file" / "report.html")


def test_the_command_writes_it(tmp_path):
    SUITES["failing"].save(tmp_path / "run" / "result.json")
    outcome = CliRunner().invoke(command, [str(tmp_path / "run"), "--html", str(tmp_path / "out.html")])
    assert outcome.exit_code == 1 and "wrote" in outcome.output
    assert contents(tmp_path / "out.html")["documents"]["runs"]["runs"][0]["name"] == "gate"


def test_traces_of_a_run_in_a_relative_folder_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = TestSuite(nn.Linear(4, 4), quiet=True)
    suite.test(suite.model, name="linear").input_shape((2, 4)).profile(0, 2)
    result = suite.run()
    assert not result["linear"].trace_path.startswith("/")
    for source in (result, load(f"{result.run_dir}/result.json")):
        page = contents(html.write([source], tmp_path / "r.html"))
        assert page["missing"] == {}
        assert any(key.startswith("timeline/") for key in page["documents"])
    assert result.plot_timeline("linear").data
