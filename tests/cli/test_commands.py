"""The commands as a user types them."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from xml.sax.saxutils import unescape

import click
import kineto_files as k
import pytest
from click.testing import CliRunner

from ttprof.cli.main import COMMANDS, cli, main
from ttprof.result_file import load_all

GATE = """
from ttprof import TestSuite
from torch import nn
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
with TestSuite(model, seq_len=4) as suite:
    suite.test(model[0]).profile(1, 3).expect(memory_mb={limit})
with TestSuite(model, seq_len=4, name="second") as suite:
    suite.test("1").profile(1, 2)
"""


@dataclass
class Done:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str

    def __post_init__(self) -> None:
        waiting = r"^ttprof: waiting for .*\n"  # another suite runs on this machine
        self.stderr = re.sub(waiting, "", self.stderr, flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    """Hides the CI system that runs these tests."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def in_new_process(*arguments: object) -> Done:
    command = [sys.executable, "-m", "ttprof", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def ttprof(*arguments: object) -> Done:
    """Run a command in this process, which has imported torch already."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    argv = patch.object(sys, "argv", ["ttprof", *map(str, arguments)])
    with argv, redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main()
    return Done(end.value.code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def script(name: str, body: str) -> Path:
    path = Path(name)
    path.write_text(body, encoding="utf-8")
    return path


def test_help_lists_every_command_and_the_exit_codes():
    done = in_new_process("--help")
    assert done.returncode == 0 and "Exit codes" in done.stdout
    assert in_new_process("--version").stdout == "ttprof 0.1.0\n"
    for name, summary in COMMANDS.items():
        assert f"  {name} " in done.stdout and summary in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_a_terminal_and_begins_with_its_summary(name):
    command = cli.get_command(click.Context(cli), name)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(command, ["--help"]).stdout
    assert command.help.split("\n\n")[0].replace("\n", " ").startswith(COMMANDS[name])
    assert max(map(len, shown.splitlines())) <= 80


def test_run_passes_and_writes_its_files():
    done = in_new_process("run", script("gate.py", GATE.format(limit=1)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("gate: 1 case: 1 PASS\nsecond: 1 case: 1 PASS\n")
    (run,) = Path("traces").glob("gate-*")
    assert sorted(p.name for p in run.iterdir() if not p.name.startswith("events.")) == ["0", "journal", "result.json"]
    shown = ttprof("report", run)
    assert shown.returncode == 0 and "1 case: 1 PASS" in shown.stdout
    assert ttprof("report", "-q", run).stdout == "gate: 1 case: 1 PASS\n"
    assert ttprof("report", run, "--svg", "out.svg").stdout == "wrote out.svg\n"
    verified = ttprof("report", run, "--verify")
    assert verified.returncode == 0
    assert "gate: confirmed: 1 verdict judged again; 1 more would need tensors" in verified.stdout
    file = run / "result.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"status": "PASS"', '"status": "SKIP"'))
    changed = ttprof("report", run, "--verify")
    assert changed.returncode == 1 and "not confirmed: 0: memory_mb <= 1 MB: SKIP" in changed.stdout
    picture = Path("out.svg").read_text(encoding="utf-8")
    assert "latency" in picture and "@font-face" not in picture


def test_run_continues_after_a_failure_and_exits_with_1():
    done = ttprof("run", "-q", "--trace-dir", "elsewhere", script("gate.py", GATE.format(limit=0)))
    assert done.returncode == 1
    assert done.stdout.endswith("gate: 1 case: 1 FAIL\nsecond: 1 case: 1 PASS\n")
    assert "memory_mb is 0.000122 MB, over the limit of 0 MB" in done.stdout
    assert len(list(Path("elsewhere").iterdir())) == 2
    assert ttprof("report", *Path("elsewhere").iterdir()).returncode == 1


def test_run_strict_treats_inconclusive_as_failure():
    body = GATE.format(limit=1).replace("profile(1, 2)", "profile(1, 1).expect(latency_ms=1000)")
    assert ttprof("run", "-q", script("gate.py", body)).returncode == 0
    assert ttprof("run", "-q", "--strict", Path("gate.py")).returncode == 1


def test_run_writes_one_file_of_each_format_for_all_suites_and_reads_it_back():
    done = ttprof(
        "run", "-q", "--json", "out/all.json", "--junit", "out/all.xml", script("gate.py", GATE.format(limit=0))
    )
    assert done.returncode == 1
    assert done.stdout.endswith("wrote out/all.json\nwrote out/all.xml\n")
    assert [(result.name, len(result)) for result in load_all("out/all.json")] == [("gate", 1), ("second", 1)]
    document = Path("out/all.xml").read_text(encoding="utf-8")
    assert document.count("<testcase ") == 2 and document.count("<failure ") == 1
    shown = ttprof("report", "out/all.json", "--junit", "again.xml")
    assert shown.returncode == 1 and "1 case: 1 FAIL" in shown.stdout and "1 case: 1 PASS" in shown.stdout
    assert Path("again.xml").read_text(encoding="utf-8") == document
    assert ttprof("run", "-q", "--json", ".", Path("gate.py")).returncode == 2


def test_suites_of_one_name_get_distinct_names_and_their_own_baselines():
    body = GATE.format(limit=1).replace(', name="second"', "")
    assert ttprof("run", "-q", "--json", "base.json", script("gate.py", body)).returncode == 0
    assert [result.name for result in load_all("base.json")] == ["gate", "gate#2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as: base.json has no suite 'gate'
        again = ttprof("run", "--json", "new.json", "--baseline", "base.json", Path("gate.py"))
    assert "the run has no" not in again.stdout
    compared = [v.expectation for result in load_all("new.json") for case in result for v in case.verdicts]
    assert sum("baseline" in expectation for expectation in compared) >= 2
    both = json.loads(ttprof("compare", "--json", "base.json", "base.json").stdout)
    assert {row["case"] for row in both["rows"]} == {"gate: 0", "gate#2: 1"}
    assert "contains 2 suites" in ttprof("baseline", "update", "kept.json", "base.json").stderr
    renamed = script("gate.py", body.replace("seq_len=4)", 'seq_len=4, name="new")'))
    with pytest.warns(UserWarning, match=r"base\.json has no suite 'new'"):
        ttprof("run", "-q", "--baseline", "base.json", renamed)


def test_quiet_and_verbose_set_how_much_run_prints():
    gate = script("gate.py", GATE.format(limit=1))
    assert ttprof("run", "-q", gate).stdout == "gate: 1 case: 1 PASS\nsecond: 1 case: 1 PASS\n"
    assert "PASS 0 (Linear): memory_mb is " not in ttprof("run", gate).stdout
    assert "PASS 0 (Linear): memory_mb is 0.000122 MB" in ttprof("run", "-v", gate).stdout


def test_run_annotates_on_github(monkeypatch):
    gate = script("gate.py", GATE.format(limit=0))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    done = ttprof("run", "-q", gate)
    assert "\n::error file=gate.py,line=6,title=ttprof FAIL 0::FAIL: memory_mb is 0.000122 MB" in done.stdout
    assert Path("summary.md").read_text(encoding="utf-8").count("| case | status |") == 2


def test_a_name_can_not_forge_a_github_command_or_a_terminal_escape(monkeypatch):
    name = r"x\n::error file=a.py,line=1::injected\x1b[2J\ud800"
    body = (
        GATE.format(limit=0)
        .replace('"second"', f'"{name}"')
        .replace("test(model[0])", f'test(model[0], name="{name}")')
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for more in ([], ["-q"], ["-v"]):
        done = ttprof("run", "--json", "all.json", *more, script("gate.py", body))
        assert done.returncode == 1 and name in done.stdout
        assert not re.search(r"^::error file=a|\x1b", done.stdout + done.stderr, re.MULTILINE)
    assert load_all("all.json")[0][0].module_name == name


INTERRUPTED = """
from ttprof import TestSuite
from torch import nn
class Interrupted(nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
with TestSuite(model, seq_len=4, name="first") as suite:
    suite.test("0").profile(1, 3)
with TestSuite(model, seq_len=4) as suite:
    suite.test("1").profile(1, 20).expect(latency_ms=1000)
    suite.test("0", name="slow").profile(1, 20).expect(latency_ms=1e-7)
    suite.test(Interrupted()).input_shape((1, 8)).profile(1, 2)
raise SystemExit("not reached")
"""


def test_ctrl_c_keeps_finished_results_and_reports_it():
    other = script("other.py", GATE.format(limit=1))
    done = in_new_process("run", "--json", "all.json", "--junit", "all.xml", script("gate.py", INTERRUPTED), other)
    assert done.returncode == 128 + signal.SIGINT and "Traceback" not in done.stderr
    assert re.search(
        r"interrupted: 0 of 3 cases finished; results so far are in traces/gate-\S+/result\.json",
        done.stdout,
    )
    assert done.stderr == "ttprof: interrupted in gate.py; results so far are kept\n"
    totals = "first: 1 case: 1 PASS\ngate: 3 cases: 3 ERROR (interrupted, 2 of them had been timed)\n"
    assert done.stdout.endswith(f"{totals}wrote all.json\nwrote all.xml\n")
    assert [result.interrupted for result in load_all("all.json")] == [False, True]
    _, interrupted = load_all("all.json")
    assert [case.status for case in interrupted] == ["ERROR"] * 3
    for case, status in ((interrupted[0], "PASS"), (interrupted[1], "FAIL")):
        (limit,) = [verdict for verdict in case.verdicts if verdict.metric == "latency_ms"]
        assert limit.status == status
        for report in (" ".join(done.stdout.split()), unescape(Path("all.xml").read_text(encoding="utf-8"))):
            assert re.search(rf"{status}[^:]*: {re.escape(limit.reason)}", report)
            assert "timed, and not recorded: the run was interrupted" in report


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "gate.py ran no TestSuite"),
        ("raise ValueError('broken')", "ValueError: broken"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_script_that_tests_nothing_does_not_pass(body, message):
    done = ttprof("run", script("gate.py", body))
    assert done.returncode == 1
    assert message in done.stderr


def test_a_run_without_a_result_leaves_the_files_of_an_earlier_one():
    for name in ("all.json", "all.xml", "all.html"):
        Path(name).write_text("earlier", encoding="utf-8")
    files = ("--json", "all.json", "--junit", "all.xml", "--html", "all.html")
    done = ttprof("run", *files, script("gate.py", "raise ValueError('broken')"))
    assert done.returncode == 1 and done.stdout.count("no suite ran: all.") == 3 and "wrote" not in done.stdout
    assert {Path(name).read_text(encoding="utf-8") for name in ("all.json", "all.xml", "all.html")} == {"earlier"}


def test_an_unwritable_file_is_reported_before_anything_runs():
    Path("file").touch()
    for option in ("--json", "--junit", "--html"):
        done = ttprof("run", option, "file/out", script("gate.py", GATE.format(limit=1)))
        assert (done.returncode, done.stdout) == (2, "") and "file is not a folder" in done.stderr
    assert not Path("traces").exists()


def test_a_wrong_name_in_a_script_prints_one_line_and_other_scripts_run():
    typo = script("typo.py", GATE.format(limit=1).replace('test("1")', 'test("two")'))
    done = ttprof("run", "-q", typo, script("gate.py", GATE.format(limit=1)))
    message = "ttprof: typo.py:8: unknown module 'two'; valid are '0', '1' (suite.test at typo.py:8)\n"
    assert done.returncode == 1 and done.stderr == message
    assert done.stdout.endswith("gate: 1 case: 1 PASS\nsecond#2: 1 case: 1 PASS\n")
    verbose = ttprof("run", "-v", typo).stderr
    assert verbose.startswith("Traceback (most recent call last):\n  File ") and verbose.endswith(message)
    assert "typo.py" in verbose.splitlines()[1] and "suite.py" not in verbose and "runpy" not in verbose


def test_the_traceback_of_a_script_begins_in_it():
    done = ttprof("run", script("gate.py", "import json\njson.loads('{')"))
    assert done.returncode == 1 and "runpy" not in done.stderr
    assert "gate.py" in done.stderr.splitlines()[1] and "JSONDecodeError" in done.stderr


def test_scripts_see_their_own_folder_and_name():
    Path("lib").mkdir()
    script("lib/neighbour.py", "NAME = 'second'")
    body = (
        GATE.format(limit=1).replace('"second"', "NAME + __name__") + "\nimport sys; assert sys.argv == ['lib/gate.py']"
    )
    done = ttprof("run", "-q", script("lib/gate.py", "from neighbour import NAME\n" + body))
    assert done.returncode == 0, done.stderr
    assert "second__main__: 1 case: 1 PASS" in done.stdout


def test_analyze_prints_numbers_for_people_and_machines():
    path = k.write(Path("t.json.gz"), k.two_iterations(), deviceProperties=[{"name": "NVIDIA H100"}])
    shown = ttprof("analyze", path)
    assert shown.returncode == 0
    for text in ("NVIDIA H100", "gemm", "softmax", "60.00 µs", "13.67 KiB"):
        assert text in shown.stdout
    summary = json.loads(ttprof("analyze", path, "--json").stdout)
    rows = [(row["name"], row["count"], row["time_ns"]) for row in summary["kernels"].pop("by_name")]
    assert rows == [("softmax", 2, 40000), ("gemm", 2, 20000)]
    assert summary["kernels"] == {
        "count": 4,
        "time_ns": 60000,
        "union_ns": 50000,
        "without_launch": 0,
        "distinct_names": 2,
    }
    assert summary["device_busy_ns"] == 58000


def test_analyze_warns_of_lost_kernels():
    path = k.write(Path("t.json"), k.two_iterations(lose_kernel=True))
    assert "WARNING incomplete trace: 1 of 4 kernel launches have no kernel" in ttprof("analyze", path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze", "nothing.json"), "ttprof: nothing.json: No such file"),
        (("analyze", "empty.json"), "ttprof: empty.json: the file is empty"),
        (("report", "empty.json"), "ttprof: empty.json: not a ttprof result"),
        (("view", "."), "ttprof: .: no run in this folder"),
        (("run", "nothing.py"), "does not exist"),
        (("analyse", "x"), "No such command 'analyse'"),
        (("run",), "Missing argument"),
    ],
)
def test_wrong_usage_and_unreadable_input_exit_with_2(arguments, message):
    Path("empty.json").touch()
    done = ttprof(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_metrics_lists_every_metric_with_its_alias():
    shown = ttprof("metrics").stdout
    for text in ("latency_ms", "(cuda_time_ms)", "at least", "memory_ratio"):
        assert text in shown
