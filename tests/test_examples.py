"""Every example runs with ``ttprof run``, and all of its cases pass."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ttprof import Status, load
from ttprof.codes import VerdictCode
from ttprof.trace.analyses import summary
from ttprof.trace.formats import nsys_sqlite
from ttprof.trial_key import TrialKey

EXAMPLES = Path(__file__).parents[1] / "examples"
CASES = {"quickstart": 10, "minilm": 6, "ci_gate": 2}


def test_every_example_is_tested():
    assert sorted(p.stem for p in EXAMPLES.glob("*.py")) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_example_runs_and_passes(name, in_empty_folder):
    command = [sys.executable, "-m", "ttprof", "run", str(EXAMPLES / f"{name}.py")]
    completed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    (path,) = (in_empty_folder / "traces").glob("*/result.json")
    result = load(path)
    assert len(result) == CASES[name]
    # On a busy machine a scaling may be INCONCLUSIVE; all other expectations must pass, or be for a GPU.
    elsewhere = set() if torch.cuda.is_available() else {VerdictCode.OTHER_DEVICE}
    verdicts = [v for c in result for v in c.verdicts if v.code not in elsewhere]
    undecided = [v.expectation for v in verdicts if v.status is not Status.PASS]
    assert all("linear in seq_len" in expectation for expectation in undecided)
    assert all(trial.trace_path for case in result for trial in case.trials)
    assert all((in_empty_folder / trial.trace_path).is_file() for case in result for trial in case.trials)


def test_the_sentences_for_the_pretrained_model_differ():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import minilm
    finally:
        sys.path.remove(str(EXAMPLES))
    assert len(set(minilm.SENTENCES)) == len(minilm.SENTENCES) > 1


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed (docs/nsight.md)")
def test_the_quickstart_recorded_by_nsight(in_empty_folder):
    command = [sys.executable, "-m", "ttprof", "run", "--backend", "nsys", str(EXAMPLES / "quickstart.py")]
    completed = subprocess.run(command, check=False, capture_output=True, text=True)
    (path,) = (in_empty_folder / "traces").glob("*/result.json")
    result = load(path)
    assert len(result) == CASES["quickstart"], completed.stdout + completed.stderr
    ranges = summary.summarise(nsys_sqlite.read(path.parent / "nsys" / "suite.sqlite")).nvtx.time_by_range
    names = {row.name for row in ranges}
    for case in result:
        assert f"ttprof.case#{case.module_name}" in names
        for trial in case.trials:
            assert (times := next(m.samples for m in trial.measurements if m.name == "recorded_latency_ms"))
            assert len(times) == trial.recorded and min(times) > 0
            assert f"ttprof.trial#{TrialKey(case.module_name, trial.point)}" in names
    assert {"module: attention", "module: attention.query_proj", "ttprof.iteration#4"} <= names
    unmeasured = [v for c in result for v in c.verdicts if v.status is Status.ERROR]
    assert {v.metric for v in unmeasured} == {"memory_mb", "memory_ratio", "leak_mb"}
    assert completed.returncode == 1
