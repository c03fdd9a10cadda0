"""The CI recipes: the order of the workflow's steps, and the settings of the pytest plugin."""

from __future__ import annotations

import re

import yaml
from code_blocks import ROOT

from ttprof.pytest_plugin.settings import SETTINGS

WORKFLOW = ROOT / "examples" / "github-workflow.yml"
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


def test_the_pytest_page_lists_every_setting_of_the_plugin():
    text = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    for row in SETTINGS:
        assert f"`{row.option}" in text and f"`{row.key}`" in text
    assert set(re.findall(r"--(?:no-)?ttprof-[a-z-]+", text)) == {
        "--no-ttprof-strict",
        *(row.option for row in SETTINGS),
    }
