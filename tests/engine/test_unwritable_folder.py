"""A suite whose trace_dir can't be written runs in a temporary folder and says so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from ttprof import TestSuite
from ttprof.errors import SpecError


def refuse(monkeypatch, number: int) -> None:
    """Let no folder be made below ``traces``."""
    mkdir = Path.mkdir

    def refusing(self: Path, *arguments, **options) -> None:
        if "traces" in self.parts:
            raise OSError(number, os.strerror(number))
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refusing)


def suite() -> TestSuite:
    built = TestSuite(nn.ReLU(), quiet=True, seconds_per_case=0.05, trace_dir="traces", name="gate")
    built.test(built.model, name="relu").inputs(torch.ones(2, 4)).profile(1, 2)
    return built


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_it_runs_among_the_temporary_files(monkeypatch, capsys, number):
    refuse(monkeypatch, number)
    result = suite().run()
    assert result.passed and Path(result.run_dir).name.startswith("ttprof-gate-")
    assert (Path(result.run_dir) / "result.json").exists() and Path(result[0].trace_path).exists()
    said = capsys.readouterr().err
    assert said == f"ttprof: trace_dir='traces': {os.strerror(number)}, so this run is in {result.run_dir}\n"


def test_a_mistake_is_an_error_before_anything_runs(monkeypatch):
    refuse(monkeypatch, errno.ENOTDIR)
    with pytest.raises(SpecError, match="trace_dir='traces': Not a directory"):
        suite().run()
