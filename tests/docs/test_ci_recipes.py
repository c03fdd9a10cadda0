"""The CI recipes: the steps of the workflows, their actions, and the settings of the pytest plugin."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from code_blocks import ROOT

from ttprof.pytest_plugin.settings import SETTINGS

WORKFLOW = ROOT / "examples" / "github-workflow.yml"
SHARDS = ROOT / "examples" / "github-shards.yml"
ORDER = ("actions/cache/restore", "ttprof run", "ttprof compare", "actions/upload-artifact", "cp", "actions/cache/save")


def steps() -> list[dict[str, object]]:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return job["steps"]


def test_the_workflow_restores_the_baseline_first_and_uploads_reports_of_failures():
    rows = steps()
    actions = [str(row["uses"] if "uses" in row else row["run"]) for row in rows]
    at = {word: next(i for i, action in enumerate(actions) if action.startswith(word)) for word in ORDER}
    assert list(at.values()) == sorted(at.values())
    upload = rows[at["actions/upload-artifact"]]
    assert upload["if"] == "always()" and "report.html" in upload["with"]["path"]
    restored, saved = (rows[at[f"actions/cache/{word}"]]["with"] for word in ("restore", "save"))
    assert restored["path"] == saved["path"] == "baseline.json" and saved["key"] == restored["key"]
    assert saved["key"].startswith(restored["restore-keys"])


def jobs(workflow: Path) -> dict[str, dict[str, object]]:
    return yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]


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


@pytest.mark.parametrize("workflow", [WORKFLOW, SHARDS], ids=lambda path: path.name)
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
