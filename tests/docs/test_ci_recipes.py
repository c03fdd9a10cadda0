"""The CI recipes: the steps of the workflows, their actions, and the settings of the pytest plugin."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_blocks import ROOT, pipeline_commands

from ttprof.pytest_plugin.settings import SETTINGS

WORKFLOW = ROOT / "examples" / "github-workflow.yml"
SHARDS = ROOT / "examples" / "github-shards.yml"
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))

FAKE = """#!/bin/sh
echo "$*" >> commands
case "$1" in
  baseline) mkdir -p baselines && wc -l < commands > baselines/newest.json ;;
  run) echo > results.json ;;
esac
"""
"""A ``ttprof`` that notes what it was asked, and writes a new number as each newest baseline."""


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]


def step(job: str, start: str) -> dict[str, Any]:
    """The step of a job whose action or first command starts so."""
    (row,) = [row for row in jobs(WORKFLOW)[job]["steps"] if row.get("uses", row.get("run", "")).startswith(start)]
    return row


def runs_if(condition: str) -> bool:
    """Whether a step without failures before it runs, by the files of the working directory."""
    tests = re.findall(r"hashFiles\('([^']+)'\) (==|!=) ''", condition)
    assert re.sub(r"hashFiles\('[^']+'\) (==|!=) ''| && |!cancelled\(\)|always\(\)", "", condition) == ""
    return all(Path(path).exists() == (operator == "!=") for path, operator in tests)


@pytest.fixture
def play(in_empty_folder, monkeypatch) -> Callable[..., list[str]]:
    """Runs the shell steps of a job, as GitHub does, with a fake of ttprof. Returns what ttprof was asked."""
    (in_empty_folder / "bin").mkdir()
    (in_empty_folder / "bin" / "ttprof").write_text(FAKE, encoding="utf-8")
    (in_empty_folder / "bin" / "ttprof").chmod(0o755)
    monkeypatch.setenv("PATH", f"{in_empty_folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_OUTPUT", "output")

    def played(job: str, accept: str = "") -> list[str]:
        Path("commands").touch()
        before = len(asked())
        for row in jobs(WORKFLOW)[job]["steps"]:
            if "run" in row and "pip install" not in row["run"] and runs_if(row.get("if", "")):
                assert set(row.get("env", {})) <= {"ACCEPT"}
                environment = {**os.environ, "ACCEPT": accept}
                subprocess.run(["bash", "-e", "-c", row["run"]], check=True, env=environment)
        return asked()[before:]

    return played


def asked() -> list[str]:
    return Path("commands").read_text(encoding="utf-8").splitlines()


def baselines() -> list[int]:
    return [int(Path(f"baselines/{name}.json").read_text(encoding="utf-8")) for name in ("oldest", "newest")]


def test_the_oldest_baseline_stays_until_another_is_accepted(play):
    assert play("baseline") == ["baseline record --runs 5 -o baselines/newest.json gate.py"]
    assert baselines() == [1, 1]
    play("baseline")
    assert baselines() == [1, 2]
    play("baseline", accept="false")
    assert baselines() == [1, 3]
    play("baseline", accept="true")
    assert baselines() == [4, 4]
    assert step("baseline", "if ")["env"] == {"ACCEPT": "${{ inputs.accept }}"}


def test_a_pull_request_is_compared_with_the_newest_and_the_oldest_baseline_as_soon_as_there_are_some(play):
    (first,) = play("gate")
    assert first.startswith("run ") and "--baseline" not in first
    play("baseline")
    run, drift = play("gate")
    assert run.startswith("run --baseline baselines/newest.json ") and "--json results.json" in run
    assert drift.startswith("compare ") and drift.endswith(" baselines/oldest.json results.json")


def test_both_jobs_install_the_same_and_keep_their_baselines_in_one_cache():
    gate, baseline = (jobs(WORKFLOW)[name] for name in ("gate", "baseline"))
    assert step("gate", "python -m pip") == step("baseline", "python -m pip")
    restored, saved = step("gate", "actions/cache/restore")["with"], step("baseline", "actions/cache/save")["with"]
    assert step("baseline", "actions/cache/restore")["with"] == restored
    assert {key: restored[key] for key in saved} == saved and saved["path"] == "baselines"
    assert saved["key"].startswith(restored["restore-keys"]) and "github.run_attempt" in saved["key"]
    assert "pull_request" in gate["if"] and "refs/heads/main" in baseline["if"]  # no pull request saves a baseline


def test_the_evidence_is_uploaded_after_a_failure_too():
    upload = step("gate", "actions/upload-artifact")
    assert upload["if"] == "always()" and {"report.html", "results.json"} <= set(upload["with"]["path"].split())


@pytest.mark.parametrize("workflow", EXAMPLES, ids=lambda path: path.name)
def test_every_command_of_a_workflow_exists_and_no_host_is_named(workflow, in_empty_folder):
    from test_code_blocks import check

    text = workflow.read_text(encoding="utf-8")
    named = list(pipeline_commands(yaml.safe_load(text)))
    assert len(named) == len(re.findall(r"^\s+(?:run: )?ttprof ", text, re.MULTILINE)) > 1
    for command in named:
        check(command)
    assert not re.search(r"https?:|--(?:extra-)?index-url|\w\.(?:org|com|io)\b", text)


def test_the_shards_are_all_of_one_division_and_the_merge_reads_what_they_upload():
    shard, merge = (jobs(SHARDS)[name] for name in ("shard", "merge"))
    numbers = shard["strategy"]["matrix"]["shard"]
    assert numbers == list(range(1, len(numbers) + 1)) and shard["strategy"]["fail-fast"] is False
    (run,) = [row["run"] for row in shard["steps"] if row.get("run", "").startswith("ttprof run")]
    assert f"--shard ${{{{ matrix.shard }}}}/{len(numbers)} --json results.json" in run
    (upload,) = [row for row in shard["steps"] if "upload-artifact" in row.get("uses", "")]
    assert upload["with"]["path"].split() == ["results.json", "traces/"] and upload["if"] == "always()"
    (download,) = [row for row in merge["steps"] if "download-artifact" in row.get("uses", "")]
    names = [upload["with"]["name"].replace("${{ matrix.shard }}", str(number)) for number in numbers]
    assert len(set(names)) == len(numbers) and all(fnmatch(name, download["with"]["pattern"]) for name in names)
    (command,) = [row["run"] for row in merge["steps"] if row.get("run", "").startswith("ttprof merge")]
    for name in names:
        assert fnmatch(f"{download['with']['path']}/{name}/results.json", command.split()[2])
    assert merge["needs"] == "shard" and merge["if"] == "always()"


def test_the_report_of_the_merge_is_of_the_file_that_it_wrote_and_lies_above_the_traces():
    rows = [row["run"] for row in jobs(SHARDS)["merge"]["steps"] if row.get("run", "").startswith("ttprof")]
    merge, report = (row.split() for row in rows)
    assert merge[-2:] == ["--output", report[-1]] and "/" not in report[-1]


@pytest.mark.parametrize("workflow", EXAMPLES, ids=lambda path: path.name)
def test_every_action_is_named_by_its_commit_and_has_few_rights(workflow):
    text = workflow.read_text(encoding="utf-8")
    actions = re.findall(r"uses: (.*)", text)
    assert actions and all(re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", row) for row in actions)
    assert len({row.split("@")[1] for row in actions}) == len(
        {re.sub(r"/(restore|save)@.*|@.*", "", row) for row in actions}
    )
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_the_pytest_page_lists_every_setting_of_the_plugin():
    text = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    for row in SETTINGS:
        assert f"`{row.option}" in text and f"`{row.key}`" in text
    assert set(re.findall(r"--(?:no-)?ttprof-[a-z-]+", text)) == {
        "--no-ttprof-strict",
        "--no-ttprof-isolate",
        *(row.option for row in SETTINGS),
    }
