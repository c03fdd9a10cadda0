"""The command that runs a script again under Nsight."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ttprof.errors import NsightError
from ttprof.nsight import rerun
from ttprof.rerun import Again, by, script


def test_a_process_that_can_not_be_rerun_is_an_error_with_the_command_to_type(monkeypatch):
    typed = "type: ttprof run --backend nsys SCRIPT"
    with pytest.raises(NsightError, match=f"pytest.*{typed}"):
        rerun.command("nsys")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "a b.py", "--x"])
    assert rerun.command("nsys") == [sys.executable, "a b.py", "--x"]
    for argv, file in ((["python", "-u"], None), (["python", "-", "x"], None), (["python", "/dev/stdin"], os.devnull)):
        monkeypatch.setattr(sys, "orig_argv", argv)
        monkeypatch.setattr(sys.modules["__main__"], "__file__", file)
        with pytest.raises(NsightError, match=f"pipe.*{typed}"):
            rerun.command("nsys")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "code"])
    assert rerun.command("nsys") == [sys.executable, "-c", "code"]
    monkeypatch.setattr(sys, "orig_argv", ["python", "a.py"])
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(NsightError, match="one rank of several would wait"):
        rerun.command("nsys")
    with by(Again(script(Path("/x/a.py")))), pytest.raises(NsightError, match="one rank of several would wait"):
        rerun.command("nsys")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with by(Again(script(Path("/x/a.py")))):
        assert rerun.command("nsys") == [sys.executable, "/x/a.py"]
