"""A command writes every file that it can: one that can't be written is named, and the exit code is 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results import SUITES, case, suite

from ttprof.cli.output import write_files
from ttprof.cli.report import command as report
from ttprof.result_file import load_all
from ttprof.verdict import Status


@pytest.fixture(autouse=True)
def a_file_in_the_way(in_empty_folder):
    Path("file").touch()


def test_every_file_is_tried_and_each_failure_is_one_line(capsys):
    paths = {"json": Path("file/all.json"), "junit": None, "html": Path("all.html")}
    assert not write_files([SUITES["failing"]], paths)
    out, err = capsys.readouterr()
    assert out == "wrote all.html\n"
    assert err == "ttprof: file/all.json: Not a directory\n"


def test_all_files_written_is_no_failure(capsys):
    assert write_files([SUITES["failing"]], {"json": Path("all.json"), "html": None})
    assert capsys.readouterr() == ("wrote all.json\n", "")
    assert load_all("all.json") == [SUITES["failing"]]


def shown(*options: str) -> Result:
    SUITES["passing"].save("result.json")
    return CliRunner().invoke(report, ["-q", "result.json", *options])


def test_report_exits_with_2_and_writes_the_rest():
    done = shown("--junit", "file/all.xml", "--html", "all.html", "--svg", "all.svg")
    assert done.exit_code == 2
    assert "ttprof: file/all.xml: Not a directory\n" in done.output
    assert Path("all.html").is_file() and Path("all.svg").is_file()
    assert shown("--junit", "all.xml").exit_code == 0


def test_a_result_from_elsewhere_does_not_choose_the_folder_that_traces_are_read_from(in_empty_folder):
    Path("near").mkdir()
    suite(case("a", Status.PASS), run_dir="/").save("near/foreign.json")
    suite(case("a", Status.PASS), run_dir=str(in_empty_folder / "traces")).save("near/own.json")
    done = CliRunner().invoke(report, ["near/foreign.json", "--html", "all.html"])
    assert done.exit_code == 0 and "near/foreign.json: traces in / are left out" in done.output
    assert "left out" not in CliRunner().invoke(report, ["near/own.json"]).output
