"""A pytest run writes every file that it can: one that can't be written is named, and the run is a usage error."""

from __future__ import annotations

import pytest

from ttprof.result_file import load_all

BODY = """
from pathlib import Path
from torch import nn

def test_one(ttprof):
    Path("page").mkdir()
    ttprof(nn.Sequential(nn.Linear(8, 8)), seq_len=4).test("0").profile(1, 1)
"""


def test_a_file_that_becomes_unwritable_is_named_and_the_other_is_written(pytester):
    pytester.makepyfile(test_gate=BODY)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--ttprof-html", "page", "--ttprof-json", "all.json")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stdout.fnmatch_lines(["wrote *all.json", "ERROR *page: Is a directory"])
    assert len(load_all(pytester.path / "all.json")) == 1
