"""A result judged again from its file, unchanged and edited."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from ttprof import Status, TestSuite, at_most, load, within
from ttprof.judge import verify


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A result with limits of every kind and two scalings, read back from its file."""
    folder = tmp_path_factory.mktemp("again")
    model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
    suite = TestSuite(model, inputs=lambda seq_len: torch.randn(1, seq_len, 16), trace_dir=folder, quiet=True)
    limited = suite.test(model, name="limited").profile(2, 12)
    limited.expect(latency_ms=within(500, "100%"), latency_p90_ms=at_most(1e-6), memory_mb=512, kernel_time_ms=3)
    suite.test("0", name="memory").with_seq_lengths([32, 64, 128, 256]).expect_scaling("linear", metric="memory_mb")
    suite.test("1", name="time").with_seq_lengths([32, 64, 128, 256]).expect_scaling("cubic").profile(2, 6)
    return load(suite.run().save(folder / "result.json"))


def test_a_saved_result_judged_again_gives_the_same_verdicts(saved):
    checked = verify.check(saved)
    # three limits and two scalings; kernel_time_ms was not measured, and the rest needs tensors or traces
    assert (checked.differences, checked.judged) == ([], 5)
    assert checked.left == sum(len(case.verdicts) for case in saved) - 5 > 0
    assert saved["limited"].status is Status.ERROR


def edited(saved, case, **changes):
    """The differences after one case of the result was changed."""
    return verify.check(replace(saved, cases=[replace(saved[case], **changes)])).differences


def test_a_changed_status_limit_or_reason_is_a_difference(saved):
    case = saved["limited"]
    (status,) = edited(saved, "limited", status=Status.PASS)
    assert status == "limited: its status is PASS, but its verdicts give ERROR"
    for change in (
        {"status": Status.PASS},
        {"expectation": "x"},
        {"reason": "fine"},
        {"measured": 0.0},
    ):
        verdicts = [replace(v, **change) if v.metric == "latency_p90_ms" else v for v in case.verdicts]
        (difference,) = edited(saved, "limited", verdicts=verdicts)
        assert "now latency_p90_ms <= 1e-06 ms: FAIL: latency_p90_ms is" in difference
    looser = [replace(v, bound=(None, 1e9)) if v.metric == "latency_p90_ms" else v for v in case.verdicts]
    (difference,) = edited(saved, "limited", verdicts=looser)
    assert (
        "latency_p90_ms <= 1e-06 ms: FAIL" in difference
        and "now latency_p90_ms <= 1,000,000,000 ms: PASS" in difference
    )


def test_a_changed_value_and_changed_samples_are_differences(saved):
    (trial,) = saved["limited"].trials

    def measured(**changes):
        measurements = [replace(m, **changes) if m.name == "latency_ms" else m for m in trial.measurements]
        return edited(saved, "limited", trials=[replace(trial, measurements=measurements)])

    (value,) = measured(value=0.5)
    assert re.match(r"limited: latency_ms is 0\.5, but its samples give \d", value)
    assert sum("now latency" in text for text in measured(samples=[9e9] * 12)) == 2


def test_a_changed_fit_or_round_is_a_difference(saved):
    fit = saved["time"].scaling
    cubic = [(np.array(r) * 0 + n**3).tolist() for n, r in zip(fit.sizes, fit.rounds, strict=True)]
    differences = edited(saved, "time", scaling=replace(fit, rounds=cubic))
    assert any("now cpu_time_ms cubic in seq_len: PASS" in text for text in differences)
    assert edited(saved, "time", scaling=replace(fit, exponent=7.0)) == [
        "time: its fit of cpu_time_ms differs from a fit of its samples"
    ]
    left = [v for v in saved["time"].verdicts if "cubic" not in v.expectation]
    assert any(
        "it has no verdict on its scaling; now cpu_time_ms cubic" in text
        for text in edited(saved, "time", verdicts=left)
    )


@pytest.mark.parametrize("rounds", [[], [[]] * 4, [[0.0]] * 4])
def test_damaged_rounds_are_a_difference_rather_than_a_crash(saved, rounds):
    fit = replace(saved["time"].scaling, rounds=rounds)
    assert any("was not measured" in text for text in edited(saved, "time", scaling=fit))
