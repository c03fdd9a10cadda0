from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import ncu_fakes as fakes
import pytest
from click.testing import CliRunner
from ncu_fakes import FULL, IAction, INvtxDomainInfo, INvtxState, IRuleResult

from ttprof.cli.ncu_explain import command
from ttprof.errors import ResultFileError, UnknownNameError

REAL = importlib.util.find_spec("ncu_report") is not None
SLOW = FULL | {"gpu__time_duration.sum": (8.0, "us")}
HOSTILE = "a\x1b[31m\x9b\r\u2028\u202ez"
ACTING = re.compile("[\x1b\x9b\r\u2028\u202e]")
HIDDEN = {name: value for name, value in FULL.items() if "throughput" not in name and "time_duration" not in name}


@pytest.fixture(autouse=True)
def report(monkeypatch):
    """Three kernels: one that is slow, one that is fast, one without its throughputs and its time."""
    state = INvtxState(INvtxDomainInfo("torch", ("model", "attention")))
    rule = IRuleResult("Fuse [bold]it[/bold].", 2, (2, 33.3))
    actions = [IAction(function="fast"), IAction(SLOW, "slow", state, (rule,)), IAction(HIDDEN, "hidden")]
    monkeypatch.setitem(sys.modules, "ncu_report", fakes.module(*actions))
    Path("fake.ncu-rep").write_bytes(fakes.HEADER)


def explain(*arguments: str):
    return CliRunner().invoke(command, ["fake.ncu-rep", *arguments])


def test_the_slowest_kernels_come_first_with_an_explanation():
    done = explain()
    assert done.exit_code == 0
    assert done.stdout.startswith("fake.ncu-rep · 3 kernels · Fake GPU (compute capability 9.0)")
    rows = [line.split()[0] for line in done.stdout.splitlines()[3:6]]
    assert rows == ["slow", "fast", "hidden"]
    assert done.stdout.count("memory-bound: DRAM at 71 % of its peak") == 2
    assert "grid 132 x 2 x 1; block 256 x 1 x 1; 40 registers per thread" in done.stdout
    assert "6 blocks per SM, limited by registers" in done.stdout
    assert "in torch@model/attention" in done.stdout
    assert "NVIDIA, Rule, estimated speedup 33 %: Fuse [bold]it[/bold]." in done.stdout


def test_missing_numbers_are_dashes_and_are_named():
    done = explain()
    hidden = next(line for line in done.stdout.splitlines() if line.startswith("hidden"))
    assert hidden.split()[1:5] == ["–", "–", "–", "–"] and hidden.endswith("not known")
    assert "no verdict: the report lacks the SM throughput and the memory throughput" in done.stdout
    speed = "time, SM throughput, memory throughput, DRAM throughput"
    assert f"not in this report: {speed} of 1 of 3 kernels; collect with ncu --section SpeedOfLight\n" in done.stdout
    assert "not in this report: fp16 FLOPs; collect with ncu --section SpeedOfLight_HierarchicalHalf" in done.stdout


def test_top_counts_the_hidden_kernels():
    shown = explain("--top", "1").stdout
    assert "2 more kernels" in shown and "slow<float>(int)" in shown and "fast<float>(int)" not in shown


def test_a_glob_selects_kernels_and_must_match_one():
    shown = explain("--kernel", "F*").stdout
    assert "1 kernel ·" in shown and "fast<float>(int)" in shown and "slow<float>(int)" not in shown
    failed = explain("--kernel", "slaw")
    assert isinstance(failed.exception, UnknownNameError)
    assert str(failed.exception) == "unknown kernel 'slaw'; did you mean 'slow'?"


def test_a_narrow_terminal_keeps_every_column():
    shown = CliRunner(env={"COLUMNS": "40"}).invoke(command, ["fake.ncu-rep"]).stdout
    row = next(line for line in shown.splitlines() if line.startswith("slow "))
    assert " ".join(row.split()) == "slow 8.00 µs 22.0 % 71.0 % 71.0 % 50.0 % 125 G fp32 500 G 0.25 DRAM"


def test_hostile_names_are_escaped(monkeypatch):
    device = FULL | {"device__attribute_display_name": (HOSTILE, "")}
    state = INvtxState(INvtxDomainInfo(HOSTILE, (HOSTILE,)))
    action = IAction(device, HOSTILE, state, (IRuleResult(HOSTILE, 2, (2, 33.3)),))
    monkeypatch.setitem(sys.modules, "ncu_report", fakes.module(action))
    shown = explain()
    assert shown.exit_code == 0 and not ACTING.search(shown.stdout)
    assert r"\x1b[31m" in shown.stdout


def test_json_is_the_documented_shape():
    report = json.loads(explain("--json", "--top", "1").stdout)
    assert set(report) == {"version", "path", "reader", "ceilings", "kernels"}
    assert [kernel["function"] for kernel in report["kernels"]] == ["fast", "slow", "hidden"]
    documented = (Path(__file__).parents[2] / "docs" / "nsight.md").read_text(encoding="utf-8")
    kernel = report["kernels"][1]
    nested = [kernel[name] for name in ("use", "traffic", "roof", "bottleneck", "launch")]
    for part in (report, kernel, *nested, kernel["work"][0], kernel["rules"][0], kernel["missing"][0]):
        assert [key for key in part if f"`{key}`" not in documented] == []


def test_html_is_written_next_to_the_table_or_json():
    done = explain("--html", "new/roof.html")
    assert done.stdout.startswith("wrote new/roof.html\n") and "memory-bound" in done.stdout
    assert "Plotly.newPlot" in Path("new/roof.html").read_text(encoding="utf-8")
    both = explain("--html", "roof.html", "--json")
    assert json.loads(both.stdout)["kernels"] and both.stderr == "wrote roof.html\n"
    Path("file").touch()
    assert isinstance(explain("--html", "file/roof.html").exception, ResultFileError)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "the file is empty; ncu was stopped before it wrote the report"),
        (b"hello", "not a report of Nsight Compute"),
        (fakes.HEADER[:9], "the report is truncated within its header"),
        (fakes.HEADER, "no kernel can be read from this report"),
    ],
)
def test_a_file_that_is_not_a_report_prints_one_line_and_exits_with_2(content, reason):
    if not REAL:
        pytest.skip("needs ncu_report")
    if content is not None:
        Path("broken.ncu-rep").write_bytes(content)
    run = [sys.executable, "-m", "ttprof", "ncu-explain", "broken.ncu-rep"]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"ttprof: broken.ncu-rep: {reason}") and done.stderr.count("\n") == 1


def test_help_shows_how_to_record_and_the_command_is_listed():
    run = [sys.executable, "-m", "ttprof"]
    shown = subprocess.run([*run, "ncu-explain", "--help"], check=True, capture_output=True, text=True).stdout
    for word in ("ncu --set full", "--kernel GLOB", "--html FILE", "Exit codes"):
        assert word in shown
    assert "ncu-explain" in subprocess.run([*run, "--help"], check=True, capture_output=True, text=True).stdout
