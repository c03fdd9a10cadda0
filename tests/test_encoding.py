"""Files are UTF-8 in every locale, and characters that a terminal cannot show do not end a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ttprof
from ttprof import load

SCRIPT = """
import torch
from torch import nn
from ttprof import TestSuite, at_least

model = nn.ModuleDict({"größe": nn.Linear(4, 4)})
with TestSuite(model, name="µ-suite", on_failure="report") as suite:
    suite.test("größe").inputs(torch.ones(2, 4)).expect(latency_ms=at_least(1000))
"""


def run(*command: str, encoding: str = "ascii") -> subprocess.CompletedProcess[str]:
    """Run a command in a locale whose encoding is ASCII, on a terminal of *encoding*."""
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": str(Path(ttprof.__file__).parents[1]),
    }
    return subprocess.run(command, env=environment, capture_output=True, encoding=encoding, check=False, timeout=120)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_result_written_in_another_locale_can_be_read_and_shown(tmp_path, encoding):
    (tmp_path / "gate.py").write_text(SCRIPT, encoding="utf-8")
    ran = run(sys.executable, "gate.py", encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    assert "(>= 1,000)" in ran.stdout
    (saved,) = (tmp_path / "traces").glob("*/result.json")
    assert load(saved)["größe"].status == "FAIL"
    shown = run(sys.executable, "-m", "ttprof", "report", str(saved.parent), encoding=encoding)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "(>= 1,000)" in shown.stdout
