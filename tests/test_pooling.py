"""Baselines of several processes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from machines import MACHINE
from results import case, measured, suite, trial

from ttprof import baseline, pooling
from ttprof.baseline import Baseline
from ttprof.errors import ResultFileError
from ttprof.machine import MachineUse
from ttprof.verdict import Status


def of(
    ms: float, ops: float = 3.0, status: Status = Status.PASS, disturbed: int = 0, loop: float | None = None, **fields
) -> Baseline:
    samples = [ms * 1e6 * share + index for index, share in enumerate((0.9, 1.0, 1.1, 1.0) * 5)]
    measurements = [
        measured("latency_ms", ms, samples=samples, timed="wall"),
        measured("op_count", ops, unit="", statistic="max"),
    ]
    one = trial(
        *measurements,
        iterations=20,
        machine=MachineUse(disturbed=list(range(disturbed)), yardstick={"loop": loop or ms}),
    )
    fields = {"environment": MACHINE, **fields}
    return baseline.of(suite(case("ffn", status, one), **fields))


def test_times_are_medians_of_processes_and_counts_the_worst():
    pooled = pooling.pooled([of(3.0, ops=3), of(5.0, ops=4, status=Status.FAIL), of(4.0, ops=3, disturbed=15)])
    (only,) = pooled.trials
    latency, ops = only.measurements
    assert (latency.name, latency.value, latency.values) == ("latency_ms", 4.0, [3.0, 5.0, 4.0])
    assert (ops.value, ops.values) == (4.0, [3.0, 4.0, 3.0])
    assert latency.counts == [20, 20, 20]
    assert np.array_equal(latency.unpacked[::20], [2_700_000, 4_500_000, 3_600_000])
    assert (pooled.processes, only.yardstick, only.status) == (3, {"loop": 4.0}, Status.FAIL)
    assert only.disturbed == pytest.approx(0.25)
    assert pooled.caveat.endswith("other processes had the CPU in or around 25 % of its timed iterations")


def test_times_leave_out_the_processes_of_a_slower_machine():
    runs = [of(3.0, loop=1.0), of(3.1, loop=1.02), of(5.0, ops=4, loop=1.5), of(3.2, loop=1.0), of(4.8, loop=1.4)]
    (only,) = pooling.pooled(runs).trials
    latency, ops = only.measurements
    assert (latency.values, latency.counts, latency.value) == ([3.0, 3.1, 3.2], [20, 20, 20], 3.1)
    assert (ops.values, ops.value) == ([3.0, 3.0, 4.0, 3.0, 3.0], 4.0)  # counts depend on no machine
    assert only.yardstick == {"loop": 1.0} and only.left_out == 2
    assert pooling.speeds_differ(runs) == []


@pytest.mark.parametrize(("loops", "mixed"), [((1.0, 1.5), ["ffn"]), ((1.0, 1.0, 1.5, 1.5), ["ffn"]), ((1.0,), [])])
def test_too_few_processes_of_one_speed_are_all_kept(loops, mixed):
    runs = [of(3.0 + index, loop=loop) for index, loop in enumerate(loops)]
    (only,) = pooling.pooled(runs).trials
    assert only.left_out == 0 and pooling.speeds_differ(runs) == mixed
    assert len(only.measurements[0].values or [3.0]) == len(loops)


def test_a_pooled_baseline_pools_with_another_and_survives_its_file():
    two = pooling.pooled([of(3.0), of(5.0)])
    four = pooling.pooled([two, of(4.0), of(6.0)])
    assert four.trials[0].measurements[0].values == [3.0, 5.0, 4.0, 6.0] and four.processes == 4
    assert baseline.read(four.save("base.json")) == four


def test_one_run_is_itself():
    assert pooling.pooled([of(3.0)]) == of(3.0)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (of(3.0, name="other"), "run 2 can't be pooled with the first: its suite is other, not gate"),
        (
            of(3.0, environment=msgspec.structs.replace(MACHINE, threads=7, git_commit="abc")),
            "its number of threads is 7, not",
        ),
        (msgspec.structs.replace(of(3.0), trials=[]), "run 2 did not measure the trial of ffn"),
    ],
)
def test_runs_that_can_not_be_pooled(second, message):
    with pytest.raises(ResultFileError, match=message):
        pooling.pooled([of(3.0), second])


def test_a_metric_that_one_run_lacks():
    second = of(5.0)
    less = msgspec.structs.replace(second.trials[0], measurements=second.trials[0].measurements[:1])
    with pytest.raises(ResultFileError, match="run 2 did not measure op_count of ffn"):
        pooling.pooled([of(3.0), msgspec.structs.replace(second, trials=[less])])


def test_the_variation_between_and_within_processes():
    (row,) = pooling.variations(pooling.pooled([of(3.0), of(5.0), of(4.0)])).trials
    assert (row.case, row.value) == ("ffn", 4.0)
    assert row.between == pytest.approx(0.25)  # the standard deviation of 3, 4 and 5 is 1
    assert row.within == pytest.approx(0.05 / 1.349, rel=1e-3)  # quartiles 0.975 and 1.025 of the median


def test_the_same_process_is_not_pooled_twice():
    pooled = pooling.pooled([of(3.0), of(5.0)])
    for runs in ([of(3.0), of(5.0), of(3.0)], [pooled, of(5.0)]):
        with pytest.raises(ResultFileError, match=r"run (3 contains .* as run 1|2 contains .* as run 1)"):
            pooling.pooled(runs)


def test_a_metric_that_no_baseline_compares_may_be_missing():
    first, second = of(3.0), of(5.0)
    tail = msgspec.structs.replace(first.trials[0].measurements[0], name="latency_p90_ms")
    trial_ = msgspec.structs.replace(first.trials[0], measurements=[*first.trials[0].measurements, tail])
    pooled = pooling.pooled([msgspec.structs.replace(first, trials=[trial_]), second])
    assert [stored.name for stored in pooled.trials[0].measurements] == ["latency_ms", "op_count"]


def test_a_process_without_samples_leaves_those_of_the_others():
    first, second = of(3.0), of(5.0)
    bare = [msgspec.structs.replace(stored, samples="") for stored in second.trials[0].measurements]
    trial_ = msgspec.structs.replace(second.trials[0], measurements=bare)
    latency = pooling.pooled([first, msgspec.structs.replace(second, trials=[trial_])]).trials[0].measurements[0]
    assert latency.counts == [20, 0] and len(latency.unpacked) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": float("1e999")}, "not a ttprof baseline"),
        ({"values": [3.0]}, "latency_ms has 1 values, but counts of 2"),
        ({"counts": [30, 20]}, "not as many as its counts say"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(change, message, tmp_path):
    pooled = pooling.pooled([of(3.0), of(5.0)])
    (only,) = pooled.trials
    latency = msgspec.structs.replace(only.measurements[0], **change)
    broken = msgspec.structs.replace(only, measurements=[latency])
    path = msgspec.structs.replace(pooled, trials=[broken]).save(tmp_path / "base.json")
    with pytest.raises(ResultFileError, match=message):
        baseline.read(path)


def test_a_measurement_twice_and_no_process_are_refused(tmp_path):
    run = of(3.0)
    (only,) = run.trials
    twice = msgspec.structs.replace(only, measurements=[only.measurements[0]] * 2)
    for broken, message in (
        (msgspec.structs.replace(run, trials=[twice]), "the file contains latency_ms of ffn twice"),
        (msgspec.structs.replace(run, processes=0), "processes must be at least 1, got 0"),
        (
            msgspec.structs.replace(run, trials=[msgspec.structs.replace(only, disturbed=7.0)]),
            "disturbed must be from 0 to 1, got 7.0 of ffn",
        ),
    ):
        with pytest.raises(ResultFileError, match=message):
            baseline.read(broken.save(tmp_path / "base.json"))
