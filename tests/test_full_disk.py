"""A full disk loses the new file, never the old one: every whole file that ttprof writes is replaced at once."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from results import FAILED, case, measured, suite, trial

import ttprof
from ttprof import baseline
from ttprof.errors import NsightError, ResultFileError, TtprofError
from ttprof.nsight import rerun
from ttprof.report import console, html, jsonfile, junit, outputs, tensorboard
from ttprof.result_file import load
from ttprof.verdict import Status

resource = pytest.importorskip("resource", reason="Windows limits no file sizes")

LIMIT = 500
"""The largest file, in bytes, of a process whose disk is full."""

SMALL = suite(case("ffn", Status.PASS, trial(measured("latency_ms", 1.0))))
LARGE = suite(*(case(f"ffn{i}", Status.FAIL, trial(measured("latency_ms", 7.0)), verdicts=[FAILED]) for i in range(50)))

BASELINE = """
import resource, signal, sys
from ttprof.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
sys.argv = ["ttprof", "baseline", "update", "old.json", "result.json"]
main()
"""


@pytest.fixture
def full_disk():
    """Files of this process can't grow beyond LIMIT bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _svg(path: Path) -> None:
    drawing = console.drawing()
    drawing.print(console.render(LARGE, 100))
    console.save_svg(drawing, path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "SuiteResult.save": LARGE.save,
    "Baseline.save": lambda path: baseline.of(LARGE).save(path),
    "--json": lambda path: jsonfile.write([LARGE], path),
    "--junit": lambda path: junit.write([LARGE], path),
    "--html": lambda path: html.write([LARGE], path),
    "--svg": _svg,
    "text": lambda path: outputs.write_text(path, "x" * (LIMIT + 1)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_old_file_survives_a_full_disk(tmp_path, full_disk, writer):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(ResultFileError, match=r"/file: File too large$"):
        WRITERS[writer](target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_no_half_event_file_and_no_half_answer(tmp_path, full_disk):
    with pytest.raises(ResultFileError, match=r"events\.out\.tfevents\..*: File too large$"):
        tensorboard.write(LARGE, tmp_path)
    with pytest.raises(NsightError, match=r"/recorded\.json: File too large$"):
        rerun.Answer(error="x" * LIMIT).save(tmp_path)
    with pytest.raises(NsightError, match=r"/request\.json: File too large$"):
        rerun.write_request(tmp_path, "gate", ["x" * LIMIT])
    assert list(tmp_path.iterdir()) == []


def test_ttprof_baseline_update_on_a_full_disk_keeps_the_old_baseline(in_empty_folder):
    baseline.of(SMALL).save("old.json")
    LARGE.save("result.json")
    ran = subprocess.run([sys.executable, "-c", BASELINE], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, "ttprof: old.json: File too large")
    assert baseline.read("old.json") == baseline.of(SMALL)
    assert sorted(path.name for path in in_empty_folder.iterdir()) == ["old.json", "result.json"]


def test_a_failed_save_is_an_error_of_ttprof_that_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TtprofError, match=r"/file/result\.json: (Not a directory|File exists)$"):
        SMALL.save(tmp_path / "file" / "result.json")
    saved = SMALL.save(tmp_path / "new" / "result.json")
    assert load(saved) == SMALL


def _writes_in_place(call: ast.Call) -> bool:
    """Whether a call is write_text or write_bytes of a path, or an open for writing."""
    words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("write_text", "write_bytes"):
        return ast.unparse(call.func.value) != "outputs"
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "open" and any(isinstance(word, str) and word[:1] in ("w", "x") for word in words)


COMPRESSED = {"run/torch_profiler.py", "trace/formats/kineto_writer.py"}
"""Traces are compressed into a temporary file, which then takes their name."""


NO_RESULTS = {
    "system/guard.py",  # a setting of the system
    "system/guarded.py",  # the output of a worker, as it comes
    "cli/recording.py",  # the output of a run, where there is no guard
    "engine/suite_run.py",  # the stack of a worker that dies
    "trace/formats/packed.py",  # a temporary file, deleted once it is read
    "trace/scrub/copying.py",  # a new file beside the copy that it becomes
}
"""What else is opened to be written."""


def test_no_file_is_written_but_by_replacing_it():
    package = Path(ttprof.__file__).parent
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    writers = {
        path.relative_to(package).as_posix()
        for path, tree in trees.items()
        if any(isinstance(node, ast.Call) and _writes_in_place(node) for node in ast.walk(tree))
    }
    assert writers == {"system/files.py", *COMPRESSED, *NO_RESULTS}
