"""Regressions between two runs, made of samples whose shift one knows."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from machines import MACHINE
from torch import nn

from ttprof import TestSuite, baseline
from ttprof.baseline import Baseline, Stored, StoredTrial
from ttprof.cli.compare import command
from ttprof.errors import ResultFileError, SpecError
from ttprof.judge import regression
from ttprof.result import Environment
from ttprof.trial_key import Point
from ttprof.verdict import Status


def noisy(ms: float, seed: int, count: int = 60) -> np.ndarray:
    """Samples around *ms* with a tail to the right, in ns."""
    rng = np.random.default_rng(seed)
    return (1e6 * ms * (1 + 0.02 * rng.standard_normal(count) + 0.05 * rng.exponential(size=count))).astype(np.int64)


def timed(name: str, samples: np.ndarray) -> Stored:
    packed = baseline._packed(samples)
    value = float(np.median(samples)) / 1e6
    return Stored(name=name, unit="ms", better="lower", statistic="median", value=value, samples=packed)


def counted(name: str, value: float, better: str = "lower") -> Stored:
    return Stored(name=name, unit="", better=better, statistic="max", value=value)


def run(*measured: Stored, case: str = "ffn", environment: Environment = MACHINE) -> Baseline:
    trial = StoredTrial(case=case, point=Point(), status=Status.PASS, measurements=list(measured))
    return Baseline(name="run", started="2026-11-24", environment=environment, trials=[trial])


def changes(base: Baseline, new: Baseline, **options) -> dict[str, tuple[str, str]]:
    rows = regression.compare(base, new, **options).rows
    return {row.metric: (row.change, str(row.status)) for row in rows}


@pytest.mark.parametrize(
    ("factor", "change", "status"),
    [(1.0, "same", "PASS"), (1.03, "same", "PASS"), (1.2, "regression", "FAIL"), (0.8, "win", "PASS")],
)
def test_a_shift_of_a_time_beyond_the_threshold(factor, change, status):
    old, new = (run(timed("cpu_time_ms", noisy(ms, seed))) for ms, seed in ((1.0, 1), (factor, 2)))
    assert changes(old, new) == {"cpu_time_ms": (change, status)}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, "SKIP", ("new", "SKIP", "the baseline does not have it")),
        (None, "PASS", ("new", "SKIP", "the baseline does not have it")),
        ("SKIP", "SKIP", ("same", "SKIP", "neither run measured it (SKIP, and now SKIP)")),
        ("SKIP", "PASS", ("new", "SKIP", "the baseline did not measure it (SKIP)")),
        ("ERROR", "SKIP", ("same", "SKIP", "neither run measured it (ERROR, and now SKIP)")),
        ("PASS", "SKIP", ("removed", "INCONCLUSIVE", "it is in the baseline, and did not run")),
        ("PASS", None, ("removed", "INCONCLUSIVE", "it is in the baseline, and did not run")),
        ("SKIP", None, ("removed", "SKIP", "the baseline did not measure it either (SKIP)")),
    ],
)
def test_what_one_run_has_or_measured_and_the_other_not(before, now, told):
    runs = []
    for status in (before, now):
        kept = [counted("flops", 1)] if status == "PASS" else []
        trial = [StoredTrial(case="other", point=Point(), status=Status(status), measurements=kept)] if status else []
        same = run(counted("kernel_count", 3))
        runs.append(msgspec.structs.replace(same, trials=[*same.trials, *trial]))
    rows = {row.case: (row.change, str(row.status), row.reason) for row in regression.compare(*runs).rows}
    assert rows["other"] == told


def test_a_case_that_the_baseline_skipped_and_the_run_has_not_is_not_added_to_its_result():
    first = suite(nn.Linear(8, 8))
    first.test(nn.Linear(8, 8), name="skipped").skip("not today")
    first.run()
    first.save_baseline("base.json")
    assert [case.module_name for case in suite(nn.Linear(8, 8), baseline="base.json").run()] == ["Linear"]


@pytest.mark.parametrize(("swept_first", "change"), [(True, "removed"), (False, "new")])
def test_a_sweep_that_is_skipped_in_one_run_is_told_of_once_for_each_of_its_sizes(swept_first, change):
    same = run(counted("kernel_count", 3)).trials
    swept = StoredTrial(case="swept", point=Point(n=8), status=Status.PASS, measurements=[counted("flops", 1)])
    skipped = StoredTrial(case="swept", point=Point(), status=Status.SKIP, measurements=[])
    runs = [msgspec.structs.replace(run(), trials=[*same, trial]) for trial in (swept, skipped)]
    found = regression.compare(*(runs if swept_first else runs[::-1]))
    assert [(row.change, row.point) for row in found.rows if row.case == "swept"] == [(change, {"n": 8})]


def test_the_threshold_is_the_users():
    old, new = (run(timed("cpu_time_ms", noisy(ms, seed))) for ms, seed in ((1.0, 1), (1.2, 2)))
    assert changes(old, new, threshold=0.5) == {"cpu_time_ms": ("same", "PASS")}


def test_a_tail_alone_is_no_regression():
    samples = noisy(1.0, 1)
    tail = np.where(np.arange(60) % 3 == 0, 3 * samples, samples)
    assert changes(run(timed("cpu_time_ms", samples)), run(timed("cpu_time_ms", tail))) == {
        "cpu_time_ms": ("same", "PASS")
    }


def test_equal_runs_are_never_a_regression():
    for seed in range(50):
        old, new = (run(timed("cpu_time_ms", noisy(1.0, s))) for s in (seed, 1000 + seed))
        assert changes(old, new) == {"cpu_time_ms": ("same", "PASS")}


def test_too_few_samples_decide_nothing():
    few = run(timed("cpu_time_ms", noisy(1.0, 1, 9)))
    assert changes(few, run(timed("cpu_time_ms", noisy(2.0, 1)))) == {"cpu_time_ms": ("undecided", "INCONCLUSIVE")}


@pytest.mark.parametrize(
    ("better", "new", "change"),
    [("lower", 13, "regression"), ("lower", 11, "win"), ("lower", 12, "same"), ("higher", 11, "regression")],
)
def test_what_is_counted_compares_exactly(better, new, change):
    found = changes(run(counted("kernel_count", 12, better)), run(counted("kernel_count", new, better)))
    assert found["kernel_count"][0] == change


def test_a_wall_time_without_its_cpu_time_blames_the_machine():
    old = run(timed("latency_ms", noisy(1.0, 1)), timed("cpu_time_ms", noisy(1.0, 2)))
    busy = run(timed("latency_ms", noisy(1.5, 3)), timed("cpu_time_ms", noisy(1.0, 4)))
    slow = run(timed("latency_ms", noisy(1.5, 3)), timed("cpu_time_ms", noisy(1.5, 4)))
    assert changes(old, busy)["latency_ms"] == ("undecided", "INCONCLUSIVE")
    assert changes(old, slow)["latency_ms"] == ("regression", "FAIL")


@pytest.mark.parametrize(
    ("base", "new", "decided"),
    [
        ({}, {"load_average": 3.1}, False),
        ({"load_average": None}, {"load_average": 3.1}, False),
        ({}, {"load_average": 3.0}, True),
        ({}, {"load_average": None}, True),
        ({"load_average": 3.1}, {"load_average": 9.0}, True),
        ({"threads": 1}, {"load_average": 9.0, "threads": 1}, True),
        ({"device": "cuda"}, {"load_average": 9.0, "device": "cuda"}, True),
    ],
)
def test_no_time_of_several_threads_regresses_on_a_loaded_machine_and_what_is_counted_does(base, new, decided):
    runs = []
    for ms, environment in ((1.0, base), (4.0, new)):
        measured = timed("latency_ms", noisy(ms, 1)), timed("cpu_time_ms", noisy(ms, 2)), counted("flops", ms)
        runs.append(run(*measured, environment=msgspec.structs.replace(MACHINE, **environment)))
    of_times = ("regression", "FAIL") if decided else ("undecided", "INCONCLUSIVE")
    expected = {"latency_ms": of_times, "cpu_time_ms": of_times, "flops": ("regression", "FAIL")}
    assert changes(*runs) == expected


def test_the_sentence_names_the_load():
    busy = msgspec.structs.replace(MACHINE, load_average=7.25)
    found = regression.compare(
        run(timed("cpu_time_ms", noisy(1.0, 1))), run(timed("cpu_time_ms", noisy(4.0, 2)), environment=busy)
    )
    assert found.rows[0].reason.endswith(
        "; the load average was 7.2 on 2 CPUs, and 0.5 in the baseline: its 2 threads waited for them"
    )
    assert not found.passes(strict=True) and found.passes()


def test_a_metric_that_is_not_measured_any_more_is_an_error():
    found = regression.compare(run(counted("kernel_count", 12)), run())
    assert [(row.change, row.status) for row in found.rows] == [("not measured", Status.ERROR)]
    assert not found.passes()


def test_new_and_removed_cases_are_listed_and_nothing_in_common_is_an_error():
    found = regression.compare(run(counted("flops", 1), case="old"), run(counted("flops", 1), case="new"))
    changes_of = {row.case: row.change for row in found.rows}
    assert changes_of == {"(all)": "not measured", "old": "removed", "new": "new"}
    assert not found.passes()
    together = regression.compare(run(counted("flops", 1)), run(counted("flops", 1)))
    assert together.passes()


def test_what_is_judged_in_each_run_is_not_compared():
    kept = counted("flops", 1)
    assert changes(run(kept, counted("rel_error", 1e-7)), run(kept, counted("rel_error", 9e-7))) == {
        "flops": ("same", "PASS")
    }


def test_unlike_hardware_is_refused_unless_forced():
    other = msgspec.structs.replace(MACHINE, cpu="y", versions={"torch": "2.14.0"})
    with pytest.raises(regression.UnlikeHardware, match="CPU was 'c' and is 'y'"):
        regression.compare(run(), run(environment=other))
    found = regression.compare(run(), run(environment=other), force=True)
    assert found.forced == ["CPU was 'c' and is 'y'"]
    assert found.software == ["torch 2.13.0 → 2.14.0"]


def test_a_file_is_small_sorted_and_read_back(tmp_path):
    kept = run(timed("cpu_time_ms", noisy(1.0, 1, 1000)), counted("flops", 7))
    path = kept.save(tmp_path / "deep" / "base.json")
    assert baseline.read(path) == kept
    assert path.stat().st_size < 6000
    assert (baseline.read(path).trials[0].measurements[0].unpacked == noisy(1.0, 1, 1000)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{}", "not a ttprof result"),
        ('{"ttprof_baseline": 1}', "not a ttprof baseline"),
        ("nonsense", "not a ttprof baseline"),
        ('{"ttprof_baseline": 99}', "reads up to 1"),
        (b'{"name": "\xff"}'.decode("latin-1"), "not a ttprof"),
    ],
)
def test_files_that_are_no_baseline(tmp_path, content, message):
    path = tmp_path / "base.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ResultFileError, match=message):
        baseline.read(path)


def test_a_folder_without_a_result_says_what_is_missing_in_it(tmp_path):
    with pytest.raises(ResultFileError, match=f"{tmp_path}: this folder has no result.json"):
        baseline.read(tmp_path)


def test_damaged_samples_are_an_error():
    with pytest.raises(ResultFileError, match="damaged"):
        _ = Stored(name="x", unit="ms", better="lower", statistic="median", value=1.0, samples="????").unpacked


def suite(model: nn.Module, **options) -> TestSuite:
    made = TestSuite(model, quiet=True, seconds_per_case=0.2, on_failure="report", **options)
    made.test(model).input_shape((4, 8)).profile(1, 12, trace_iterations=3)
    return made


def test_a_suite_with_a_baseline_fails_on_what_is_worse():
    torch.manual_seed(0)
    first = suite(nn.Linear(8, 8))
    with pytest.raises(SpecError, match="no run to save yet"):
        first.save_baseline("base.json")
    first.run()
    first.save_baseline("base.json")
    (same,) = suite(nn.Linear(8, 8), baseline="base.json").run()
    assert any(verdict.expectation == "baseline" for verdict in same.verdicts)
    renamed = suite(nn.Sequential(nn.Linear(8, 8)), baseline="base.json").run()
    assert {case.module_name: str(case.status) for case in renamed}["(all)"] == "ERROR"


class Grown(nn.Module):
    """A linear layer that may compute more than it returns."""

    def __init__(self, extra: bool) -> None:
        super().__init__()
        self.linear, self.extra = nn.Linear(8, 8), extra

    def forward(self, x):
        return self.linear(self.linear(x)) if self.extra else self.linear(x)


def test_more_flops_and_memory_than_in_the_baseline_fail():
    first = suite(Grown(False))
    first.run()
    first.save_baseline("base.json")
    (worse,) = suite(Grown(True), baseline="base.json").run()
    assert worse.status == "FAIL"
    assert any("flops is 1024 FLOP" in reason or "flops is" in reason for reason in worse.errors)


def test_a_missing_baseline_is_an_error_at_the_suite():
    with pytest.raises(ResultFileError, match=r"nothing.json: No such file"):
        suite(nn.Linear(8, 8), baseline="nothing.json")


def test_a_baseline_of_another_machine_is_an_error_for_each_case():
    first = suite(nn.Linear(8, 8))
    first.run()
    kept = baseline.of(first.result)
    other = msgspec.structs.replace(kept, environment=msgspec.structs.replace(kept.environment, cpu="another"))
    other.save("base.json")
    (found,) = suite(nn.Linear(8, 8), baseline="base.json").run()
    assert found.status == "ERROR"
    assert "CPU was 'another'" in found.errors[0]


def test_the_command_shows_what_regressed_and_exits_with_1():
    run(timed("cpu_time_ms", noisy(1.0, 1)), counted("flops", 7)).save("a.json")
    run(timed("cpu_time_ms", noisy(1.3, 2)), counted("flops", 7)).save("b.json")
    done = CliRunner().invoke(command, ["a.json", "b.json"])
    assert done.exit_code == 1
    assert "regression" in done.stdout
    assert "1 regression, 1 same (threshold for times: 5 %)" in done.stdout
    assert CliRunner().invoke(command, ["a.json", "b.json", "--threshold", "50%"]).exit_code == 0
    assert CliRunner().invoke(command, ["a.json", "b.json", "--threshold", "lots"]).exit_code == 2
    found = json.loads(CliRunner().invoke(command, ["a.json", "b.json", "--json"]).stdout)
    assert found["rows"][0]["change"] == "regression"


def test_updating_a_baseline_shows_the_evidence():
    run(counted("flops", 7.0)).save("base.json")
    run(counted("flops", 9.0)).save("new.json")
    command_line = [sys.executable, "-m", "ttprof", "baseline", "update", "base.json", "new.json"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True)
    assert "flops is 9, 7 in the baseline: +28.6 %" in done.stdout
    assert baseline.read("base.json") == baseline.read("new.json")


def test_a_swept_case_that_broke_is_not_measured_rather_than_removed():
    base = run(counted("flops", 1))
    swept = msgspec.structs.replace(base.trials[0], point=Point(seq_len=64))
    base = msgspec.structs.replace(base, trials=[swept, *run(counted("flops", 1), case="other").trials])
    broken = StoredTrial(case="ffn", point=Point(), status=Status.ERROR, measurements=[])
    new = msgspec.structs.replace(base, trials=[broken, base.trials[1]])
    found = regression.compare(base, new)
    assert (found.rows[0].case, found.rows[0].change) == ("ffn", "not measured")
    assert not found.passes()


def test_other_inputs_decide_nothing():
    base, new = (
        msgspec.structs.replace(
            run(counted("flops", flops)),
            trials=[msgspec.structs.replace(run(counted("flops", flops)).trials[0], inputs=inputs)],
        )
        for flops, inputs in ((1, "4x8 float32"), (2, "1x8 float32"))
    )
    rows = regression.compare(base, new).rows
    assert any(row.change == "undecided" and "4x8 float32 and are 1x8 float32" in row.reason for row in rows)
    assert not regression.compare(base, new).passes(strict=True)


def test_a_metric_stored_in_another_way_is_an_error():
    other = msgspec.structs.replace(counted("flops", 1000), unit="KFLOP")
    assert changes(run(other), run(counted("flops", 1))) == {"flops": ("not measured", "ERROR")}


def test_the_same_trial_twice_is_an_error(tmp_path):
    kept = run(counted("flops", 1))
    path = msgspec.structs.replace(kept, trials=kept.trials * 2).save(tmp_path / "base.json")
    with pytest.raises(ResultFileError, match="the same trial twice: ffn"):
        baseline.read(path)


def test_a_run_with_errors_is_no_baseline():
    broken = TestSuite(nn.Linear(8, 8), quiet=True, on_failure="report", seconds_per_case=0.2)
    broken.test(nn.Linear(8, 8), name="bad").input_shape((4, 7)).profile(1, 2)
    broken.run()
    with pytest.raises(SpecError, match="these cases ended as ERROR: bad"):
        broken.save_baseline("base.json")


def test_a_case_of_the_baseline_that_did_not_run_is_seen():
    first = suite(nn.Linear(8, 8))
    first.test(first.model, name="second").input_shape((4, 8)).profile(1, 12, trace_iterations=3)
    first.run()
    first.save_baseline("base.json")
    result = suite(nn.Linear(8, 8), baseline="base.json").run()
    assert result["second"].status == "INCONCLUSIVE"
    assert "did not run" in result["second"].verdicts[0].reason


@pytest.mark.parametrize("wrong", [123, True, "", [1]])
def test_a_baseline_is_a_path(wrong):
    with pytest.raises(SpecError, match="baseline must be a file path"):
        suite(nn.Linear(8, 8), baseline=wrong)


@pytest.mark.parametrize(
    ("base_status", "new_status", "change"), [("PASS", "SKIP", "removed"), ("ERROR", "PASS", "new")]
)
def test_a_skipped_case_did_not_run_and_one_that_never_was_measured_is_new(base_status, new_status, change):
    other = run(counted("flops", 1), case="other").trials
    runs = []
    for status in (base_status, new_status):
        kept = [] if status in ("SKIP", "ERROR") else [counted("flops", 1)]
        trial = StoredTrial(case="ffn", point=Point(), status=Status(status), measurements=kept)
        runs.append(msgspec.structs.replace(run(), trials=[trial, *other]))
    assert {row.case: row.change for row in regression.compare(*runs).rows} == {"ffn": change, "other": "same"}
