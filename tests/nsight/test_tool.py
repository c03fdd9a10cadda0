"""Programs of Nsight that hang or leave processes behind, as shell scripts: finding a tool always ends."""

from __future__ import annotations

import os
import re
import select
from dataclasses import replace
from pathlib import Path

import pytest

from ttprof.errors import NsightError
from ttprof.nsight import nsys, tool

HANGING = {
    "hangs": "exec sleep 1000",
    "ignores Ctrl-C": "trap '' INT TERM; while :; do sleep 1000; done",
    "leaves a process on its output": "sleep 1000 & echo NVIDIA Nsight Systems version 2024.3.1",
}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a shell script the only nsys of this machine; tools may take no time."""

    def make(body: str) -> Path:
        path = tmp_path / "nsys"
        path.write_text(f"#!/bin/sh\n[ -e {tmp_path}/alive ] && exec 9> {tmp_path}/alive\n{body}\n")
        path.chmod(0o755)
        return path

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(nsys, "NSYS", replace(nsys.NSYS, places=()))
    monkeypatch.setattr(tool, "GRACE_S", 0.1)
    return make


@pytest.mark.parametrize("kind", HANGING)
def test_a_tool_that_does_not_answer_is_named_and_ended(program, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(tool, "ANSWER_S", 0.5)
    os.mkfifo(tmp_path / "alive")  # at its end as soon as no process has it open any more
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    path = program(HANGING[kind])
    with pytest.raises(NsightError, match=rf"^{re.escape(str(path))} --version did not end within 0\.5 s.*terminal"):
        nsys.find()
    assert select.select([alive], [], [], 60)[0] and os.read(alive, 1) == b""
    os.close(alive)


def test_the_options_of_a_tool_are_asked_for_with_the_same_limit(program, monkeypatch):
    monkeypatch.setattr(tool, "ANSWER_S", 0.5)
    program("exec sleep 1000")
    with pytest.raises(NsightError, match="profile --help did not end within"):
        tool.ask(["nsys", "profile", "--help"])


def test_a_tool_that_answers_is_found(program):
    path = program("echo NVIDIA Nsight Systems version 2024.3.1")
    assert tool.find(nsys.NSYS) == (str(path), (2024, 3))
