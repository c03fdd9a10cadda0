"""``ttprof run --shard`` and ``ttprof merge`` as a CI pipeline types them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from test_commands import script, ttprof

from ttprof.result_file import load, load_all

GATE = """
from ttprof import TestSuite
from torch import nn
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
with TestSuite(model, seq_len=4, name="gate") as suite:
    for name in "abc":
        suite.test(model[0], name=name).profile(1, 3).expect(memory_mb={limit})
"""
"""By hash (sha256 of gate, a zero byte and the name), the order of the cases is c b a."""


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def run_shards(count: int, limit: float) -> list[str]:
    """Run every shard in its own folder, and return their files."""
    gate = script("gate.py", GATE.format(limit=limit))
    for index in range(1, count + 1):
        shard = ("--shard", f"{index}/{count}", "--json", f"{index}.json", "--trace-dir", f"traces/{index}")
        ttprof("run", "-q", *shard, gate)
    return [f"{index}.json" for index in range(1, count + 1)]


def test_shards_run_all_cases_once_and_merge_to_the_result_of_one_run():
    files = run_shards(2, limit=1)
    assert [[case.module_name for case in load_all(file)[0]] for file in files] == [["a", "c"], ["b"]]
    done = ttprof("merge", "-q", *files, "--output", "all.json")
    assert (done.returncode, done.stdout) == (0, "gate: 3 cases: 3 PASS\nwrote all.json\n")
    (merged,) = load_all("all.json")
    assert [case.module_name for case in merged] == ["a", "b", "c"]
    assert all(Path(case.trace_path).is_absolute() and Path(case.trace_path).exists() for case in merged)
    shown = ttprof("report", "all.json", "--html", "all.html")
    assert shown.returncode == 0 and "3 cases: 3 PASS" in shown.stdout
    page = Path("all.html").read_text(encoding="utf-8")
    assert '"trace/' in page and "outside the log directory" not in page


def test_a_merged_failure_exits_with_1_and_names_the_case():
    files = run_shards(2, limit=0)
    done = ttprof("merge", "-q", *files, "--output", "merged")
    assert done.returncode == 1 and "3 of 3 cases failed" in done.stdout
    assert done.stdout.endswith("gate: 3 cases: 3 FAIL\nwrote merged/result.json\n")
    merged = load("merged/result.json")
    assert merged.run_dir == str(Path("merged").resolve()) and len(merged) == 3
    assert ttprof("report", "-q", "merged").returncode == 1


def test_a_shard_without_a_case_says_so_in_one_line_and_is_no_failure():
    gate = script("gate.py", GATE.format(limit=1))
    done = ttprof("run", "--shard", "4/4", "--json", "4.json", gate)
    assert (done.returncode, done.stdout) == (0, "gate: shard 4/4, 0 of 3 cases: nothing to run\nwrote 4.json\n")
    assert ttprof("run", "-q", "--shard", "4/4", script("none.py", "x = 1")).returncode == 1  # it ran no suite


def test_a_missing_shard_is_refused_and_force_says_so():
    first, *_ = run_shards(2, limit=1)
    refused = ttprof("merge", first, "--output", "all.json")
    assert refused.returncode == 2 and not Path("all.json").exists()
    assert refused.stderr == (
        "ttprof: gate: shard 2/2 is missing, and with it 1 of 3 cases (pass --force to merge them anyway)\n"
    )
    forced = ttprof("merge", "--force", first, "--output", "all.json")
    said = "merged with --force although shard 2/2 is missing, and with it 1 of 3 cases"
    assert forced.returncode == 1 and forced.stderr == f"ttprof: gate: {said}\n"
    assert "no shard that was merged ran it" in forced.stdout
    assert said in " ".join(forced.stdout.split())
    ttprof("report", "all.json", "--html", "all.html", "--junit", "all.xml")
    assert all(said in Path(name).read_text(encoding="utf-8") for name in ("all.html", "all.xml"))


def test_wrong_usage_exits_with_2():
    (file,) = run_shards(1, limit=1)
    assert "a shard is K/N" in ttprof("run", "--shard", "2", "gate.py").stderr
    (result,) = load_all(file)
    msgspec.structs.replace(result, name="other").save("other.json")
    two = ttprof("merge", file, "other.json", "--output", "folder")
    assert two.returncode == 2 and "these are gate, other: --output NAME.json" in two.stderr
    assert ttprof("merge", "nothing", "--output", "folder").returncode == 2
    (folder,) = Path("traces/1").iterdir()
    for run, output in ((file, file), (folder, folder), (folder / "result.json", folder)):
        assert "would replace a shard" in ttprof("merge", run, "--output", output).stderr
    assert not Path("folder").exists()


def test_a_merge_summarises_on_github_without_annotating_again(monkeypatch):
    files = run_shards(2, limit=0)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    done = ttprof("merge", "-q", *files, "--output", "all.json")
    assert "::error" not in done.stdout
    assert Path("summary.md").read_text(encoding="utf-8").count("| FAIL |") == 3
