"""The program ``nsys``, replaced by a shell script: how it is located and called, and the remedies for its errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ttprof.errors import NsightError
from ttprof.nsight import nsys
from ttprof.nsight.tool import Start


def fake(folder: Path, body: str, release: str = "2024.3.1") -> Path:
    """Write a fake ``nsys``: a shell script that answers ``--version`` and otherwise runs *body*."""
    folder.mkdir(exist_ok=True)
    tool = folder / "nsys"
    answer = f'if [ "$1" = --version ]; then echo "NVIDIA Nsight Systems version {release}"; exit; fi'
    tool.write_text(f"#!/bin/sh\n{answer}\n{body}\n")
    tool.chmod(0o755)
    return tool


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Makes a fake nsys the only one on the PATH."""

    def make(body, release="2024.3.1"):
        fake(tmp_path / "bin", body, release)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return nsys.find()

    monkeypatch.setattr(nsys, "NSYS", replace(nsys.NSYS, places=()))
    return make


def test_a_missing_old_or_unknown_nsys_is_an_error(tool, monkeypatch, tmp_path):
    with pytest.raises(NsightError, match=r"too old: install Nsight Systems 2022\.1 or newer"):
        tool("", release="2021.5.2")
    with pytest.raises(NsightError, match="does not state its version"):
        tool("", release="?")
    assert str(tool("", release="2025.10.1")) == "nsys 2025.10"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NsightError, match="nsys was not found: install"):
        nsys.find()


RECORD = '/bin/echo "$@" >> "{log}"; for a; do case "$a" in --output=*) out="${{a#--output=}}";; esac; done'


def test_a_recording_without_a_report_is_repeated_once(tool, tmp_path):
    log = tmp_path / "log"
    if_again = f'if [ -n "$out" ]; then if [ -e "{log}.1" ]; then echo x > "$out.nsys-rep"; else : > "{log}.1"; fi; fi'
    tool(f"{RECORD.format(log=log)}\n{if_again}").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)
    profiled = [line for line in log.read_text(encoding="utf-8").splitlines() if "--output" in line]
    assert len(profiled) == 2
    assert "--sample=none" in profiled[0] and "cudaProfilerApi" not in profiled[0]
    (tmp_path / "r.nsys-rep").unlink()
    with pytest.raises(NsightError, match="wrote no report; its output: so sorry"):
        tool("echo '[1/1] [==  ]'; echo so sorry").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("ERR_NVGPUCTRPERM - The user does not have permission", "not permitted.*SYS_ADMIN"),
        ("The importer binary and its dependencies were not found.", "host-linux-x64"),
    ],
)
def test_errors_of_nsys_become_remedies(tool, tmp_path, output, message):
    with pytest.raises(NsightError, match=message):
        tool(f"echo '{output}'").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)


def test_the_command_line_on_cuda(tool, tmp_path):
    log = tmp_path / "log"
    listed = "\\t-t, --trace=\\n\\n\\t Possible: 'cuda', 'nvtx', 'osrt', 'cublas'\\n\\n\\t--x=\\n"
    helped = f'if [ "$2" = --help ]; then printf "{listed}"; exit; fi'
    fake_nsys = tool(f'{helped}; {RECORD.format(log=log)}; echo x > "$out.nsys-rep"')
    fake_nsys.record(Start(["python", "s.py"]), tmp_path / "r.nsys-rep", on_cuda=True)
    assert log.read_text(encoding="utf-8").split() == [
        "profile",
        "--trace=cuda,nvtx,osrt,cublas",
        "--sample=none",
        "--cpuctxsw=none",
        "--force-overwrite=true",
        f"--output={tmp_path / 'r'}",
        "--capture-range=cudaProfilerApi",
        "--capture-range-end=stop",
        "--cuda-graph-trace=node",
        "python",
        "s.py",
    ]


def test_a_report_that_can_not_be_exported_is_an_error(tool, tmp_path):
    with pytest.raises(NsightError, match=r"r\.nsys-rep: nsys 2024\.3 could not export it: unknown format"):
        tool("echo unknown format").export(tmp_path / "r.nsys-rep", tmp_path / "r.sqlite")
