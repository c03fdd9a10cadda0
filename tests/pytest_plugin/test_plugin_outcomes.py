"""The pytest plugin as a user's project sees it: every test runs another pytest, most of them in this process."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
from torch import nn

from ttprof import TestSuite
from ttprof.result_file import load_all

MODEL = """
import pytest
from torch import nn
from ttprof import TestSuite, test_model
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
"""
BROKEN = "memory_mb is 0.000122 MB, over the limit of 0 MB (over 2 iterations)"


@pytest.fixture(scope="module", autouse=True)
def modules_are_imported(tmp_path_factory):
    """Import what a run imports: pytester forgets modules that it was the first to import, and some load only once."""
    model = nn.Sequential(nn.Linear(8, 8))
    suite = TestSuite(model, seq_len=4, quiet=True, trace_dir=tmp_path_factory.mktemp("traces"))
    suite.test("0").profile(1, 1)
    suite.run()


@pytest.fixture(autouse=True)
def whole_lines(monkeypatch):
    """Print summary lines in full, and hide the CI system that runs these tests."""
    monkeypatch.setenv("CI", "true")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


def run(pytester, body: str, *arguments: str):
    """Run pytest in this process, which has imported torch already, on one file that starts with a small model."""
    pytester.makepyfile(test_gate=MODEL + body)
    return pytester.runpytest_inprocess("-ra", "-p", "no:cacheprovider", *arguments)


def run_in_new_process(pytester, body: str, *arguments: str):
    pytester.makepyfile(test_gate=MODEL + body)
    return pytester.runpytest_subprocess("-ra", "-p", "no:cacheprovider", *arguments)


def line_of(pytester, text: str, name: str = "test_gate.py") -> int:
    lines = (pytester.path / name).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_suite_decides_the_outcome_of_its_test(pytester):
    done = run_in_new_process(
        pytester,
        """
def test_passes(ttprof):
    ttprof(model, seq_len=4).test(model[0]).profile(1, 3).expect(memory_mb=1)
def test_fails(ttprof):
    ttprof(model, seq_len=4).test(model[0]).profile(1, 3).expect(memory_mb=0)
def test_is_undecided(ttprof):
    ttprof(model, seq_len=4).test("1").profile(1, 1).expect(latency_ms=1000)
def test_is_skipped(ttprof):
    ttprof(model, seq_len=4).test("1").skip("not today")
def test_registers_nothing(ttprof):
    ttprof(model, seq_len=4)
def test_has_a_typo(ttprof):
    ttprof(model, seq_len=4).test("1").expect(latncy_ms=3)
def test_only_reports(ttprof):
    ttprof(model, seq_len=4, on_failure="report").test(model[0]).profile(1, 3).expect(memory_mb=0)
def test_raises_first(ttprof):
    ttprof(model, seq_len=4).test(model[0]).profile(1, 3).expect(memory_mb=0)
    raise ValueError("mine")
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(ttprof):
    ttprof(model, seq_len=4).test(model[0]).profile(1, 3).expect(memory_mb=0)
""",
    )
    done.assert_outcomes(passed=3, failed=4, skipped=1, xfailed=1, warnings=1)
    done.stdout.fnmatch_lines(
        [
            f"SKIPPED [[]1] test_gate.py:{line_of(pytester, 'not today')}: not today",
            f"FAILED test_gate.py::test_fails - {BROKEN}",
            "FAILED test_gate.py::test_registers_nothing - Failed: the suite has no tests; *",
            "FAILED test_gate.py::test_has_a_typo - *unknown metric 'latncy_ms'; did you mean 'latency_ms'*",
            "FAILED test_gate.py::test_raises_first - ValueError: mine",
        ]
    )
    output = done.stdout.str()
    assert "6 suites, 6 cases: 1 PASS, 3 FAIL, 1 INCONCLUSIVE, 1 SKIP" in output
    assert f"test_gate.py:{line_of(pytester, '1, 1')}: InconclusiveWarning: 1: can't tell whether latency_ms " in output
    assert f"test_gate.py:{line_of(pytester, 'memory_mb=0')})" in output, "the failure names the line of suite.test"
    assert not re.search("(pytest_plugin|builder|suite).py", output), "no line of ttprof"


def test_each_case_is_an_outcome(pytester):
    done = run(
        pytester,
        """
def test_two(ttprof):
    with ttprof(model, seq_len=4) as suite:
        suite.test("0").profile(1, 3).expect(memory_mb=0)
        suite.test("1").profile(1, 3).expect(kernel_time_ms=5)
        suite.test("0", name="fine").profile(1, 3)
        suite.test("1", name="later").skip("not today")
    assert len(suite.result) == 4
""",
        "-vv",
    )
    done.stdout.fnmatch_lines(
        [
            "SUBSKIPPED[[]later[]] * not today",
            f"SUBFAILED[[]0[]] test_gate.py::test_two - {BROKEN}",
            "SUBFAILED[[]1[]] test_gate.py::test_two - ERROR: kernel_time_ms was not measured on cpu: *",
            "FAILED test_gate.py::test_two - contains 2 failed subtests",
        ]
    )
    assert done.ret == 1


def test_without_subtests_one_failure_names_all_cases(pytester):
    done = run(
        pytester,
        """
def test_two(ttprof):
    suite = ttprof(model, seq_len=4)
    suite.test("0").profile(1, 3).expect(memory_mb=0)
    suite.test("1").profile(1, 3).expect(kernel_time_ms=5)
    suite.test("0", name="fine").profile(1, 3)
""",
        "-p",
        "no:subtests",
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*FAIL: memory_mb is *", "*ERROR: kernel_time_ms *", f"FAILED *::test_two - 0: {BROKEN} (and 1 more case)"]
    )


def test_a_suite_without_the_fixture_raises_an_assertion_error(pytester):
    done = run(
        pytester,
        """
def test_raises():
    with pytest.raises(AssertionError, match="1 of 1 cases failed"):
        with TestSuite(model, seq_len=4) as suite:
            suite.test("0").profile(1, 3).expect(memory_mb=0)
def test_fails():
    with TestSuite(model, seq_len=4) as suite:
        suite.test("0").profile(1, 3).expect(memory_mb=0)
def test_one_call():
    test_model(model, {"0": {"memory_mb": 1}}, options={"seq_len": 4})
class TestOfMine:
    def test_passes(self):
        pass
""",
        "-W",
        "error::pytest.PytestCollectionWarning",
    )
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines([f"FAILED test_gate.py::test_fails - 0: {BROKEN}"])
    assert "suite.py" not in done.stdout.str()


UNDECIDED = """
def test_undecided(ttprof):
    ttprof(model, seq_len=4).test("1").profile(1, 1).expect(latency_ms=1000)
def test_plain():
    with TestSuite(model, seq_len=4) as suite:
        suite.test("1").profile(1, 1).expect(latency_ms=1000)
"""


def test_strict_fails_inconclusive_cases_and_the_command_line_overrides_the_ini_file(pytester):
    strict = run(pytester, UNDECIDED, "--ttprof-strict")
    strict.assert_outcomes(failed=2)
    strict.stdout.fnmatch_lines(["FAILED *::test_undecided - INCONCLUSIVE: can't tell whether latency_ms *"])
    pytester.makeini("[pytest]\nttprof_strict = true\n")
    run(pytester, UNDECIDED).assert_outcomes(failed=2)
    run(pytester, UNDECIDED, "--no-ttprof-strict").assert_outcomes(passed=2, warnings=2)


ONE = """
def test_one(ttprof):
    ttprof(model, seq_len=4).test("0").profile(1, 3)
"""


def test_ini_paths_are_relative_to_the_ini_file_and_typed_ones_to_the_working_directory(pytester, monkeypatch):
    pytester.makeini("[pytest]\nttprof_json = from_ini.json\nttprof_trace_dir = runs\n")
    pytester.mkdir("inner")
    pytester.makepyfile(**{"inner/test_gate": MODEL + ONE})
    monkeypatch.chdir(pytester.path / "inner")
    for extra in ([], ["--ttprof-json", "typed.json"]):
        assert pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *extra).ret == 0
    written = sorted(str(path.relative_to(pytester.path)) for path in pytester.path.rglob("*.json"))
    assert [path for path in written if "runs" not in path] == ["from_ini.json", "inner/typed.json"]
    assert len([path for path in written if re.fullmatch(r"runs/.*/result\.json", path)]) == 2
    (result,) = load_all(pytester.path / "from_ini.json")
    assert result.name == "inner/test_gate.py::test_one" and result.passed


def test_a_regression_against_a_baseline_fails(pytester):
    assert run(pytester, ONE, "--ttprof-json", "base.json").ret == 0
    base = json.loads((pytester.path / "base.json").read_text(encoding="utf-8"))
    for measurement in base[0]["cases"][0]["trials"][0]["measurements"]:
        if measurement["name"] == "memory_mb":
            measurement.update(value=measurement["value"] / 2, samples=[x / 2 for x in measurement["samples"]])
    (pytester.path / "base.json").write_text(json.dumps(base))
    worse = run(pytester, ONE, "--ttprof-baseline", "base.json")
    worse.stdout.fnmatch_lines(["FAILED test_gate.py::test_one - memory_mb *"])
    new = run(pytester, ONE.replace("test_one", "test_new"), "--ttprof-baseline", "base.json")
    new.assert_outcomes(passed=1, warnings=1)
    new.stdout.fnmatch_lines(
        [
            "*test_gate.py:*: UserWarning: *base.json has no suite 'test_gate.py::test_new', "
            "so this run is not compared with it*"
        ]
    )


def test_the_html_report_gets_all_results(pytester):
    done = run(pytester, ONE, "--ttprof-html", "report.html")
    done.stdout.fnmatch_lines(["wrote *report.html"])
    page = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "test_gate.py::test_one" in page and '"memory_mb"' in page


FAST = """
def test_one(ttprof):
    ttprof(model, seq_len=4).test("0").profile(1, 12)
"""


def test_the_threshold_and_the_time_to_confirm_come_from_the_command_line_or_the_ini_file(pytester):
    assert run(pytester, FAST, "--ttprof-json", "base.json").ret == 0
    base = json.loads((pytester.path / "base.json").read_text(encoding="utf-8"))
    for measurement in base[0]["cases"][0]["trials"][0]["measurements"]:
        if measurement["name"] in ("latency_ms", "cpu_time_ms"):
            samples = [round(x / 1000) for x in measurement["samples"]]
            measurement.update(value=measurement["value"] / 1000, samples=samples)
    (pytester.path / "base.json").write_text(json.dumps(base))
    options = ["--ttprof-baseline", "base.json", "--ttprof-json", "now.json"]
    assert run(pytester, FAST, *options, "--ttprof-confirm", "20").ret == 1
    (now,) = json.loads((pytester.path / "now.json").read_text(encoding="utf-8"))
    assert len(now["cases"][0]["trials"][0]["looks"]) == 1
    assert run(pytester, FAST, *options, "--ttprof-threshold", "100000000%").ret == 0
    pytester.makeini("[pytest]\nttprof_threshold = 1000000\n")
    assert run(pytester, FAST, *options).ret == 0
    wrong = run(pytester, FAST, "--ttprof-threshold", "much")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*--ttprof-threshold: 'much' is not a fraction or percentage*"])


def test_a_missing_baseline_and_an_unwritable_file_are_usage_errors(pytester):
    missing = run(pytester, ONE, "--ttprof-baseline", "nothing.json")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    missing.stderr.fnmatch_lines(["ERROR: ttprof: *nothing.json: No such file or directory"])
    pytester.mkdir("folder")
    unwritable = run(pytester, ONE, "--ttprof-json", "folder")
    assert unwritable.ret == pytest.ExitCode.USAGE_ERROR
    unwritable.stderr.fnmatch_lines(["ERROR: ttprof: *folder: Is a directory"])


def test_a_run_without_a_suite_keeps_the_files_of_an_earlier_one(pytester):
    pytester.makeini("[pytest]\nttprof_json = all.json\nttprof_html = all.html\n")
    for name in ("all.json", "all.html"):
        (pytester.path / name).write_text("earlier")
    silent = run(pytester, "def test_plain():\n    pass\n")
    assert silent.ret == 0
    silent.stdout.no_fnmatch_line("*all.*")
    requested = run(pytester, "def test_plain():\n    pass\n", "--ttprof-json", "all.json")
    requested.stdout.fnmatch_lines(["no suite ran: *all.json was not written"])
    requested.stdout.no_fnmatch_line("*all.html*")
    assert {(pytester.path / name).read_text(encoding="utf-8") for name in ("all.json", "all.html")} == {"earlier"}


LATE = """
import unittest
class TestUnit(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def keep_fixture(self, ttprof):
        self.ttprof = ttprof
    def test_gate(self):
        self.ttprof(model, seq_len=4).test("0").expect(memory_mb={limit}).profile(1, 3)
    def test_raises(self):
        self.ttprof(model, seq_len=4).test("0").expect(memory_mb=0).profile(1, 3)
        self.skipTest("before it is run")

@pytest.fixture
def late(ttprof):
    yield
    ttprof(model, seq_len=4).test("0").expect(memory_mb={limit}).profile(1, 3)

def test_late(late):
    pass
"""


def test_suites_that_no_test_function_concludes_run_in_the_teardown(pytester):
    done = run(pytester, LATE.replace("{limit}", "0"))
    done.assert_outcomes(passed=2, skipped=1, errors=2)
    done.stdout.fnmatch_lines(
        ["ERROR *TestUnit::test_gate - memory_mb is * over the limit*", "ERROR *test_late - memory_mb*"]
    )
    run(pytester, LATE.replace("{limit}", "1")).assert_outcomes(passed=2, skipped=1)


def test_ctrl_c_keeps_the_results_so_far(pytester):
    body = """
class Interrupted(nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt
def test_one(ttprof):
    ttprof(model, seq_len=4).test("0").profile(1, 3)
def test_two(ttprof):
    ttprof(model, seq_len=4).test(Interrupted()).input_shape((1, 8))
"""
    done = run_in_new_process(pytester, body, "--ttprof-json", "out.json")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert [result.interrupted for result in load_all(pytester.path / "out.json")] == [False, True]


def test_the_marker_deselects_performance_tests_and_torch_is_not_imported(pytester):
    body = """
import sys
def test_measures(ttprof):
    pass
def test_does_not():
    assert "torch" not in sys.modules and "rich" not in sys.modules
"""
    pytester.makepyfile(body)
    done = pytester.runpytest_subprocess("-m", "not ttprof", "--strict-markers")
    done.assert_outcomes(passed=1, deselected=1)
    assert "= ttprof =" not in done.stdout.str()


def test_github_gets_annotations_and_a_summary(pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    body = """
def test_fails(ttprof):
    ttprof(model, seq_len=4).test(model[0]).profile(1, 3).expect(memory_mb=0)
def test_means_it(ttprof):
    with pytest.raises(AssertionError), TestSuite(model, seq_len=4) as suite:
        suite.test("0").profile(1, 3).expect(memory_mb=0)
    ttprof(model, seq_len=4).test("1").profile(1, 1).expect(latency_ms=1000)
"""
    done = run_in_new_process(pytester, body, "-n", "1")
    line, undecided = line_of(pytester, "memory_mb=0"), line_of(pytester, "latency_ms")
    annotations = [text for text in done.outlines if text.startswith("::")]
    assert annotations[0] == f"::error file=test_gate.py,line={line},title=ttprof FAIL 0::FAIL: {BROKEN}"
    assert annotations[1].startswith(f"::warning file=test_gate.py,line={undecided},title=ttprof INCONCLUSIVE 1::")
    assert len(annotations) == 2, "an expected failure is not annotated"
    assert f"- **FAIL** 0: {BROKEN.replace('_', chr(92) + '_')}" in (pytester.path / "summary.md").read_text(
        encoding="utf-8"
    )


def test_workers_measure_one_at_a_time_and_the_controller_reports(pytester, monkeypatch):
    """Both tests wait for each other before they measure: without the lock, their calls would be mixed in the log."""
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("tmp")))
    body = """
import os
class Logged(nn.Linear):
    def forward(self, x):
        with open("calls.log", "a") as log:
            log.write(f"{os.getpid()}\\n")
        return super().forward(x)
def measure(ttprof, mode):
    with ttprof(nn.Sequential(Logged(8, 8)), seq_len=4) as suite:
        suite.test("0").profile(5, 50)
        open("meeting", mode).close()
def test_a(ttprof):
    measure(ttprof, "w")
def test_b(ttprof):
    measure(ttprof, "r")
"""
    os.mkfifo(pytester.path / "meeting")
    done = run_in_new_process(pytester, body, "-n", "2", "--ttprof-json", "out.json")
    done.assert_outcomes(passed=2)
    calls = Path("calls.log").read_text(encoding="utf-8").split()
    changes = sum(a != b for a, b in pairwise(calls))
    assert len(set(calls)) == 2 and changes == 1
    assert [r.name for r in load_all("out.json")] == ["test_gate.py::test_a", "test_gate.py::test_b"]
    done.stdout.fnmatch_lines(["2 suites, 2 cases: 2 PASS"])


def test_a_wait_is_reported_at_once_and_in_the_summary(pytester, monkeypatch):
    """The inner test holds the lock, and releases it when its suite reports that it is waiting."""
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("tmp")))
    body = """
from filelock import FileLock
from ttprof.system import device_lock
def test_waits(ttprof, monkeypatch):
    held = FileLock(device_lock.lock_path("cpu"))
    held.acquire()
    exclusive = device_lock.exclusive
    monkeypatch.setattr(device_lock, "exclusive", lambda device, on_wait: exclusive(
        device, lambda message: (on_wait(message), held.release())
    ))
    ttprof(model, seq_len=4).test("0").profile(1, 3)
"""
    done = run_in_new_process(pytester, body)
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        [
            "ttprof: waiting for cpu: another suite runs on it",
            "test_gate.py::test_waits was waiting for cpu: another suite runs on it",
        ]
    )


def test_no_failure_is_cut_off_in_a_narrow_terminal(pytester, monkeypatch):
    monkeypatch.delenv("CI")
    monkeypatch.setenv("COLUMNS", "60")
    done = run(
        pytester,
        """
def test_with_a_name_that_fills_the_line_of_the_short_summary(ttprof):
    ttprof(model, seq_len=4).test(model[0], name="linear").profile(1, 3).expect(memory_mb=0)
""",
    )
    name = "test_with_a_name_that_fills_the_line_of_the_short_summary"
    assert f"FAIL test_gate.py::{name}: linear: {BROKEN}" in done.outlines
