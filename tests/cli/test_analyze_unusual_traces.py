"""``ttprof analyze`` on incomplete traces, traces without optional data, and unusual file names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import kineto_files as k
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.errors import TraceError
from ttprof.trace.analyses import ranks


def analyze(*arguments: str):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_diff_warns_about_incomplete_traces():
    k.write(Path("a.json"), k.two_iterations())
    k.write(Path("b.json"), [*k.two_iterations(lose_kernel=True), k.kernel("early", 0, 5, 999)])
    shown = analyze("a.json", "--diff", "b.json").stdout
    assert "WARNING B is incomplete: 1 of 4 kernel launches have no kernel" in shown
    assert "1 kernel of B outside all steps left out" in shown
    result = json.loads(analyze("a.json", "--diff", "b.json", "--json").stdout)
    assert (result["incomplete"][0], result["kernels_left_out"]) == ([], [0, 1])


def test_a_kernel_without_occupancy_in_a_step_with_markup_in_its_name():
    half = k.kernel("k", 5, 5, 1)
    half["args"]["blocks per SM"] = 1.0
    events = [k.span("user_annotation", "ProfilerStep#1[/x]", 0, 20), k.launch(1, 1), half]
    done = analyze(k.write(Path("t.json"), events))
    assert done.exit_code == 0, done.exception
    assert "SM efficiency 100 %" in done.stdout
    assert "critical chain of ProfilerStep#1[/x]" in done.stdout


def test_undecodable_file_names_are_shown_with_question_marks():
    name = os.fsdecode(b"caf\xe9.json")
    k.write(Path(name), k.two_iterations())
    assert json.loads(analyze(name, "--json").stdout)["source"]["path"] == "caf?.json"


def test_a_folder_follows_links_inside_it_once_and_lists_broken_ones():
    Path("runs/real").mkdir(parents=True)
    k.write(Path("runs/real/a.trace.json"), k.two_iterations())
    Path("runs/link").symlink_to(Path("runs/real").absolute())
    Path("runs/again").symlink_to(Path("runs/real").absolute())
    Path("runs/broken.trace.json").symlink_to("nowhere")
    result = json.loads(analyze("runs", "runs/real/../real", "--json").stdout)
    assert len(result["traces"]) == 1
    assert [(row["path"], row["code"]) for row in result["unreadable"]] == [("runs/broken.trace.json", "not-found")]
    with pytest.raises(TraceError, match="no trace found"):
        ranks.trace_files([""])


def test_links_out_of_a_folder_are_not_followed():
    Path("elsewhere").mkdir()
    for name in ("elsewhere/a.trace.json", "b.trace.json"):
        k.write(Path(name), k.two_iterations())
    Path("runs").mkdir()
    Path("runs/link").symlink_to(Path("elsewhere").absolute())
    Path("runs/b.trace.json").symlink_to(Path("b.trace.json").absolute())
    with pytest.raises(TraceError, match="no trace found"):
        ranks.trace_files(["runs"])
    Path("whole").symlink_to("elsewhere")  # a link that the user names is where they send us
    assert [file.name for file in ranks.trace_files(["whole"])] == ["a.trace.json"]


def test_unattributed_time_is_shown_without_modules_too():
    shown = analyze(k.write(Path("t.json"), k.two_iterations())).stdout
    assert "Unattributed" in shown
    assert "no op" in shown
