"""The CI recipes: every command in them is one that exists, with options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from ttprof.cli.main import cli
from ttprof.pytest_plugin.settings import SETTINGS

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "examples" / "github-workflow.yml"
GUIDE = ROOT / "docs" / "ci.md"
ORDER = ("actions/cache/restore", "ttprof run", "ttprof compare", "actions/upload-artifact", "cp", "actions/cache/save")
TYPED = re.compile(r"^(?:[\s-]*|.*sh ')ttprof (?P<rest>[a-z]+ [^'\n]*)", re.MULTILINE)


def steps() -> list[dict[str, object]]:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return job["steps"]


def workflow_commands() -> list[str]:
    return [found["rest"] for step in steps() for found in TYPED.finditer(str(step.get("run", "")))]


def guide_commands() -> list[str]:
    return [found["rest"] for found in TYPED.finditer(GUIDE.read_text(encoding="utf-8"))]


def parse(command: str) -> click.Context:
    """The command as click understands it; raises UsageError for what does not exist."""
    name, *arguments = shlex.split(command)
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no command {name}"
    return found.make_context(name, arguments)


@pytest.fixture(autouse=True)
def files(in_empty_folder):
    for name in ("gate.py", "baseline.json", "results.json"):
        (in_empty_folder / name).touch()


@pytest.mark.parametrize("command", workflow_commands() + guide_commands())
def test_every_command_exists(command):
    assert parse(command).params


def test_the_check_sees_commands_and_what_is_wrong_with_them():
    assert [command.split()[0] for command in workflow_commands()] == ["run", "compare"]
    assert [command.split()[0] for command in guide_commands()] == ["run", "run", "report", "run", "run", "compare"]
    with pytest.raises(click.NoSuchOption):
        parse("run --jnuit x gate.py")


def test_the_workflow_restores_before_it_runs_and_keeps_the_evidence_of_a_failure():
    found = steps()
    order = [step["uses"] if "uses" in step else step["run"] for step in found]
    at = {word: next(i for i, each in enumerate(order) if str(each).startswith(word)) for word in ORDER}
    assert list(at.values()) == sorted(at.values())
    evidence = found[at["actions/upload-artifact"]]
    assert evidence["if"] == "always()" and "report.html" in evidence["with"]["path"]
    restored, saved = (found[at[f"actions/cache/{word}"]]["with"] for word in ("restore", "save"))
    assert restored["path"] == saved["path"] == "baseline.json" and saved["key"] == restored["key"]
    assert saved["key"].startswith(restored["restore-keys"])


WORDS = (
    "actions/cache/restore",
    "ttprof run",
    "ttprof compare",
    "actions/upload-artifact",
    "cp ",
    "actions/cache/save",
)


def test_the_guide_lists_every_setting_of_the_plugin():
    text = GUIDE.read_text(encoding="utf-8")
    for row in SETTINGS:
        assert f"`{row.option}" in text and f"`{row.key}`" in text
    assert set(re.findall(r"--(?:no-)?ttprof-[a-z-]+", text)) == {
        "--no-ttprof-strict",
        *(row.option for row in SETTINGS),
    }
