"""Regressions between two runs whose samples differ by a known shift."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from machines import MACHINE

from ttprof import baseline
from ttprof.baseline import Baseline, Stored, StoredTrial
from ttprof.cli.compare import command
from ttprof.codes import VerdictCode
from ttprof.errors import ResultFileError
from ttprof.judge import environments, regression
from ttprof.result import Environment
from ttprof.trial_key import Point
from ttprof.verdict import Status


def noisy(ms: float, seed: int, count: int = 60) -> np.ndarray:
    """Samples around *ms* with a tail to the right, in ns."""
    rng = np.random.default_rng(seed)
    return (1e6 * ms * (1 + 0.02 * rng.standard_normal(count) + 0.05 * rng.exponential(size=count))).astype(np.int64)


def timed(name: str, samples: np.ndarray) -> Stored:
    packed = baseline.pack(samples)
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
    ("before", "now", "expected"),
    [
        (None, "SKIP", ("new", "SKIP", "not in the baseline")),
        (None, "PASS", ("new", "SKIP", "not in the baseline")),
        ("SKIP", "SKIP", ("same", "SKIP", "measured in neither run (SKIP in the baseline, SKIP now)")),
        ("SKIP", "PASS", ("new", "SKIP", "not measured in the baseline (SKIP)")),
        ("ERROR", "SKIP", ("same", "SKIP", "measured in neither run (ERROR in the baseline, SKIP now)")),
        ("PASS", "SKIP", ("removed", "INCONCLUSIVE", "measured in the baseline, but did not run now")),
        ("PASS", None, ("removed", "INCONCLUSIVE", "measured in the baseline, but did not run now")),
        ("SKIP", None, ("removed", "SKIP", "measured in neither run (SKIP in the baseline)")),
    ],
)
def test_a_case_that_only_one_run_has_or_measured(before, now, expected):
    runs = []
    for status in (before, now):
        measured = [counted("flops", 1)] if status == "PASS" else []
        key = {"case": "other", "point": Point()}
        trial = [StoredTrial(**key, status=Status(status), measurements=measured)] if status else []
        same = run(counted("kernel_count", 3))
        runs.append(msgspec.structs.replace(same, trials=[*same.trials, *trial]))
    rows = {row.case: (row.change, str(row.status), row.reason) for row in regression.compare(*runs).rows}
    assert rows["other"] == expected


@pytest.mark.parametrize(("swept_first", "change"), [(True, "removed"), (False, "new")])
def test_a_sweep_that_one_run_skips_has_one_row_per_size(swept_first, change):
    same = run(counted("kernel_count", 3)).trials
    swept = StoredTrial(case="swept", point=Point(n=8), status=Status.PASS, measurements=[counted("flops", 1)])
    skipped = StoredTrial(case="swept", point=Point(), status=Status.SKIP, measurements=[])
    runs = [msgspec.structs.replace(run(), trials=[*same, trial]) for trial in (swept, skipped)]
    rows = regression.compare(*(runs if swept_first else runs[::-1])).rows
    assert [(row.change, row.point) for row in rows if row.case == "swept"] == [(change, {"n": 8})]


def test_the_threshold_is_the_users():
    old, new = (run(timed("cpu_time_ms", noisy(ms, seed))) for ms, seed in ((1.0, 1), (1.2, 2)))
    assert changes(old, new, threshold=0.5) == {"cpu_time_ms": ("same", "PASS")}


def test_a_tail_alone_is_not_a_regression():
    samples = noisy(1.0, 1)
    tail = np.where(np.arange(60) % 3 == 0, 3 * samples, samples)
    assert changes(run(timed("cpu_time_ms", samples)), run(timed("cpu_time_ms", tail))) == {
        "cpu_time_ms": ("same", "PASS")
    }


def test_equal_runs_are_never_a_regression():
    for seed in range(50):
        old, new = (run(timed("cpu_time_ms", noisy(1.0, s))) for s in (seed, 1000 + seed))
        assert changes(old, new) == {"cpu_time_ms": ("same", "PASS")}


ZEROS = np.array([0, 0, -5, *noisy(1.0, 1, 57)])


@pytest.mark.parametrize(
    ("base", "new", "reason"),
    [
        (
            noisy(1.0, 1, 9),
            noisy(1.05, 1),
            "cpu_time_ms has 9 samples in the baseline and 60 now, at least 10 each are needed",
        ),
        (
            noisy(1.0, 1),
            ZEROS,
            "cpu_time_ms has samples that are not above 0 (0 in the baseline, 3 now), so it has no ratio",
        ),
        (
            ZEROS,
            noisy(1.0, 1),
            "cpu_time_ms has samples that are not above 0 (3 in the baseline, 0 now), so it has no ratio",
        ),
        (np.zeros(60, dtype=np.int64), noisy(1.0, 1), "cpu_time_ms is 0 in the baseline, so it has no ratio"),
    ],
)
def test_samples_that_can_not_be_tested_decide_nothing_and_the_reason_says_why(base, new, reason):
    (row,) = regression.compare(*(run(timed("cpu_time_ms", samples)) for samples in (base, new))).rows
    assert (row.change, row.status, row.code) == ("undecided", "INCONCLUSIVE", VerdictCode.TOO_FEW_SAMPLES)
    assert row.reason == reason


@pytest.mark.parametrize(
    ("factor", "count", "change"),
    [
        (3.0, 5, "regression"),
        (3.0, 2, "regression"),
        (3.0, 1, "undecided"),
        (1.1, 5, "undecided"),
        (0.3, 5, "undecided"),
    ],
)
def test_a_module_so_slow_that_it_has_few_samples_still_regresses_if_all_of_them_are_worse(factor, count, change):
    (row,) = regression.compare(
        *(run(timed("cpu_time_ms", s)) for s in (noisy(1.0, 1, 30), noisy(factor, 2, count)))
    ).rows
    assert row.change == change
    assert change == "undecided" or (row.p_value or 1) < 0.01


@pytest.mark.parametrize(
    ("better", "new", "change"),
    [("lower", 13, "regression"), ("lower", 11, "win"), ("lower", 12, "same"), ("higher", 11, "regression")],
)
def test_counted_metrics_compare_exactly(better, new, change):
    compared = changes(run(counted("kernel_count", 12, better)), run(counted("kernel_count", new, better)))
    assert compared["kernel_count"][0] == change


def test_a_wall_time_alone_is_undecided():
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
def test_on_an_overloaded_machine_counts_regress_but_times_of_several_threads_do_not(base, new, decided):
    runs = []
    for ms, environment in ((1.0, base), (4.0, new)):
        measured = timed("latency_ms", noisy(ms, 1)), timed("cpu_time_ms", noisy(ms, 2)), counted("flops", ms)
        runs.append(run(*measured, environment=msgspec.structs.replace(MACHINE, **environment)))
    of_times = ("regression", "FAIL") if decided else ("undecided", "INCONCLUSIVE")
    expected = {"latency_ms": of_times, "cpu_time_ms": of_times, "flops": ("regression", "FAIL")}
    assert changes(*runs) == expected


def test_the_reason_names_the_load_and_its_limit():
    busy = msgspec.structs.replace(MACHINE, load_average=7.25)
    comparison = regression.compare(
        run(timed("cpu_time_ms", noisy(1.0, 1))), run(timed("cpu_time_ms", noisy(4.0, 2)), environment=busy)
    )
    assert comparison.rows[0].reason.endswith(
        "; the load average was 7.2 (0.5 in the baseline), limit 3 on 2 CPUs, so its 2 threads competed for CPUs"
    )
    assert not comparison.passes(strict=True) and comparison.passes()


def test_a_metric_that_is_no_longer_measured_is_an_error():
    comparison = regression.compare(run(counted("kernel_count", 12)), run())
    assert [(row.change, row.status) for row in comparison.rows] == [("not measured", Status.ERROR)]
    assert not comparison.passes()


def test_new_and_removed_cases_are_listed_and_nothing_in_common_is_an_error():
    comparison = regression.compare(run(counted("flops", 1), case="old"), run(counted("flops", 1), case="new"))
    changes_of = {row.case: row.change for row in comparison.rows}
    assert changes_of == {"(all)": "not measured", "old": "removed", "new": "new"}
    assert comparison.rows[0].reason == "the two runs have no metric in common"
    assert not comparison.passes()
    assert regression.compare(run(counted("flops", 1)), run(counted("flops", 1))).passes()


def test_metrics_with_a_tolerance_in_each_run_are_not_compared():
    flops = counted("flops", 1)
    assert changes(run(flops, counted("rel_error", 1e-7)), run(flops, counted("rel_error", 9e-7))) == {
        "flops": ("same", "PASS")
    }


def test_different_hardware_is_refused_unless_forced():
    other = msgspec.structs.replace(MACHINE, cpu="y", versions={"torch": "2.14.0"})
    with pytest.raises(
        environments.UnlikeHardware,
        match=r"different hardware: CPU was 'c', now 'y' \(pass --force to compare them anyway\)",
    ):
        regression.compare(run(), run(environment=other))
    comparison = regression.compare(run(), run(environment=other), force=True)
    assert comparison.forced == ["CPU was 'c', now 'y'"]
    assert comparison.software == ["torch 2.13.0 → 2.14.0"]


def test_a_file_is_small_sorted_and_read_back(tmp_path):
    saved = run(timed("cpu_time_ms", noisy(1.0, 1, 1000)), counted("flops", 7))
    path = saved.save(tmp_path / "deep" / "base.json")
    assert baseline.read(path) == saved
    assert path.stat().st_size < 6000
    assert (baseline.read(path).trials[0].measurements[0].unpacked == noisy(1.0, 1, 1000)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{}", "not a ttprof result"),
        ('{"ttprof_baseline": 1}', "not a ttprof baseline"),
        ("nonsense", "not a ttprof baseline"),
        ('{"ttprof_baseline": 99}', r"written by a newer ttprof \(format 99, this one reads up to 1\): update ttprof"),
        ('{"ttprof_baseline": 0}', "base.json: not a ttprof file: the format is 1 or more, got 0"),
        (b'{"name": "\xff"}'.decode("latin-1"), "not a ttprof"),
    ],
)
def test_files_that_are_not_baselines(tmp_path, content, message):
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


def test_the_command_shows_regressions_and_exits_with_1():
    run(timed("cpu_time_ms", noisy(1.0, 1)), counted("flops", 7)).save("a.json")
    run(timed("cpu_time_ms", noisy(1.3, 2)), counted("flops", 7)).save("b.json")
    done = CliRunner().invoke(command, ["a.json", "b.json"])
    assert done.exit_code == 1
    assert "regression" in done.stdout
    assert "1 regression, 1 same (threshold for times: 5 %)" in done.stdout
    assert CliRunner().invoke(command, ["a.json", "b.json", "--threshold", "50%"]).exit_code == 0
    assert CliRunner().invoke(command, ["a.json", "b.json", "--threshold", "lots"]).exit_code == 2
    comparison = json.loads(CliRunner().invoke(command, ["a.json", "b.json", "--json"]).stdout)
    assert comparison["rows"][0]["change"] == "regression"
    assert comparison["threshold"] == 0.05


def test_updating_a_baseline_shows_the_evidence():
    run(counted("flops", 7.0)).save("base.json")
    run(counted("flops", 9.0)).save("new.json")
    command_line = [sys.executable, "-m", "ttprof", "baseline", "update", "base.json", "new.json"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True)
    assert "flops 7 → 9" in done.stdout
    assert baseline.read("base.json") == baseline.read("new.json")


def test_a_swept_case_that_broke_is_not_measured_rather_than_removed():
    base = run(counted("flops", 1))
    swept = msgspec.structs.replace(base.trials[0], point=Point(seq_len=64))
    base = msgspec.structs.replace(base, trials=[swept, *run(counted("flops", 1), case="other").trials])
    broken = StoredTrial(case="ffn", point=Point(), status=Status.ERROR, measurements=[])
    new = msgspec.structs.replace(base, trials=[broken, base.trials[1]])
    comparison = regression.compare(base, new)
    assert (comparison.rows[0].case, comparison.rows[0].change) == ("ffn", "not measured")
    assert not comparison.passes()


def test_different_inputs_decide_nothing():
    base, new = (
        msgspec.structs.replace(
            run(counted("flops", flops)),
            trials=[msgspec.structs.replace(run(counted("flops", flops)).trials[0], inputs=inputs)],
        )
        for flops, inputs in ((1, "4x8 float32"), (2, "1x8 float32"))
    )
    rows = regression.compare(base, new).rows
    assert any(
        row.change == "undecided" and "its inputs were 4x8 float32, now 1x8 float32: update" in row.reason
        for row in rows
    )
    assert not regression.compare(base, new).passes(strict=True)


def test_a_metric_that_the_baseline_defines_differently_is_an_error():
    other = msgspec.structs.replace(counted("flops", 1000), unit="KFLOP", statistic="median")
    (row, _) = regression.compare(
        run(other, counted("memory_mb", 1)), run(counted("flops", 1), counted("memory_mb", 1))
    ).rows
    assert (row.metric, row.change, row.status) == ("flops", "not measured", "ERROR")
    definition = "unit was 'KFLOP', now '', statistic was 'median', now 'max'"
    assert row.reason == f"flops is defined differently in the baseline ({definition}): update the baseline"


def test_the_same_trial_twice_is_an_error(tmp_path):
    base = run(counted("flops", 1))
    path = msgspec.structs.replace(base, trials=base.trials * 2).save(tmp_path / "base.json")
    with pytest.raises(ResultFileError, match="the same trial twice: ffn"):
        baseline.read(path)


@pytest.mark.parametrize(
    ("base_status", "new_status", "change"), [("PASS", "SKIP", "removed"), ("ERROR", "PASS", "new")]
)
def test_a_skipped_case_did_not_run_and_one_without_measurements_in_the_baseline_is_new(
    base_status, new_status, change
):
    other = run(counted("flops", 1), case="other").trials
    runs = []
    for status in (base_status, new_status):
        measured = [] if status in ("SKIP", "ERROR") else [counted("flops", 1)]
        trial = StoredTrial(case="ffn", point=Point(), status=Status(status), measurements=measured)
        runs.append(msgspec.structs.replace(run(), trials=[trial, *other]))
    assert {row.case: row.change for row in regression.compare(*runs).rows} == {"ffn": change, "other": "same"}
