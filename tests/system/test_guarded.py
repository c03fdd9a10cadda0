"""A guarded command: nothing of it outlives its supervisor, however either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ttprof.system.guarded import SUPPORTED, GuardedProcess
from ttprof.system.process import memory_of_tree

pytestmark = pytest.mark.skipif(
    not (SUPPORTED and Path("/proc").exists()), reason="a guard needs fork, this test /proc"
)

ENDLESS = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(3600)"
LEAVES_ORPHANS = f"""
import os
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        exec({ENDLESS!r})
print("parent", flush=True)
"""


def guarded(code: str, tmp_path: Path) -> GuardedProcess:
    command = [sys.executable, "-c", f"MARK = {str(tmp_path)!r}\n{code}"]
    return GuardedProcess(command, dict(os.environ), tmp_path, tmp_path / "log")


def running(tmp_path: Path) -> list[str]:
    """The processes whose command line holds the path of this test."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"MARK = {str(tmp_path)!r}".encode() in line and "guard.py" not in line.decode(errors="replace"):
            found.append(process.name)
    return found


def ended(process: GuardedProcess) -> GuardedProcess:
    assert process.wait(60)
    return process


@pytest.mark.parametrize(
    ("code", "exit_code"), [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.abort()", -6)]
)
def test_the_status_is_that_of_the_command(tmp_path, code, exit_code):
    with guarded(code, tmp_path) as process:
        assert os.waitstatus_to_exitcode(ended(process).status) == exit_code


def test_the_output_goes_to_the_log(tmp_path):
    with guarded("import sys; print('out'); print('err', file=sys.stderr)", tmp_path) as process:
        ended(process)
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_what_the_command_left_behind_ends_with_it(tmp_path):
    with guarded(LEAVES_ORPHANS, tmp_path) as process:
        ended(process)
        assert running(tmp_path) == []


def test_leaving_the_context_ends_everything(tmp_path):
    with guarded(LEAVES_ORPHANS.replace('print("parent"', f'exec({ENDLESS!r}); print("x"'), tmp_path) as process:
        while b"ready" not in (tmp_path / "log").read_bytes():
            assert not process.wait(0.01)
        assert running(tmp_path)
    assert running(tmp_path) == []


def test_a_killed_supervisor_takes_everything_along(tmp_path):
    code = f"""
import os, sys
from pathlib import Path
from ttprof.system.guarded import GuardedProcess
folder = Path({str(tmp_path)!r})
command = [sys.executable, "-c", "MARK = " + repr(str(folder)) + chr(10) + {LEAVES_ORPHANS + ENDLESS!r}]
process = GuardedProcess(command, dict(os.environ), folder, folder / "log")
while b"ready" not in (folder / "log").read_bytes():
    process.wait(0.01)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    for _ in range(1000):  # the guard ends them; each look takes some milliseconds
        if not running(tmp_path):
            break
    assert running(tmp_path) == []


def test_the_memory_of_a_tree_includes_its_children(tmp_path):
    mb = 2**20
    code = (
        f"import os\nx = bytearray(100 * {mb})\nif os.fork() == 0:\n    y = bytearray(60 * {mb})\n    "
        + ENDLESS.replace("\n", "\n    ")
    )
    with guarded(code + "\nos.wait()", tmp_path) as process:
        while b"ready" not in (tmp_path / "log").read_bytes():
            assert not process.wait(0.01)
        memory = memory_of_tree(process.pid)
    assert 160 * mb <= memory < 300 * mb  # the 100 MB of the parent are counted once or, while small, twice
