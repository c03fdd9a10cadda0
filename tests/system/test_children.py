"""Child processes that import the script of their parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ttprof.system import children

SCRIPT = """
import multiprocessing
from ttprof.system.children import imports_in_child
print(__name__, imports_in_child(), flush=True)
def look():
    print("function", imports_in_child(), flush=True)
if __name__ == "__main__":
    child = multiprocessing.get_context({method!r}).Process(target=look)
    child.start()
    child.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has only one of the start methods")
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("spawn", ["__main__ False", "__mp_main__ True", "function False"]),
        ("forkserver", ["__main__ False", "__mp_main__ True", "function False"]),
        ("fork", ["__main__ False", "function False"]),
    ],
)
def test_only_a_child_that_imports_is_recognised(tmp_path: Path, method, expected):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(method=method), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, encoding="utf-8", timeout=120)
    assert done.stdout.splitlines() == expected, done.stderr


def test_this_process_is_no_child():
    assert not children.imports_in_child()
