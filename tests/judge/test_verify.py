"""A result that is judged again from its file, as it was saved and after it was changed."""

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
    found = verify.check(saved)
    # three limits and two scalings; kernel_time_ms was not measured, and the rest needs tensors or traces
    assert (found.differences, found.judged) == ([], 5)
    assert found.left == sum(len(case.verdicts) for case in saved) - 5 > 0
    assert saved["limited"].status is Status.ERROR


def edited(saved, case, **changes):
    """The differences that a result has with one case changed."""
    return verify.check(replace(saved, cases=[replace(saved[case], **changes)])).differences


def test_a_changed_status_limit_or_sentence_is_noticed(saved):
    case = saved["limited"]
    (status,) = edited(saved, "limited", status=Status.PASS)
    assert status == "limited: its status is PASS, and that of its verdicts ERROR"
    for change in (
        {"status": Status.PASS},
        {"expectation": "x"},
        {"reason": "fine"},
        {"measured": 0.0},
    ):
        verdicts = [replace(v, **change) if v.metric == "latency_p90_ms" else v for v in case.verdicts]
        (told,) = edited(saved, "limited", verdicts=verdicts)
        assert "now latency_p90_ms <= 1e-06 ms: FAIL: latency_p90_ms is" in told
    looser = [replace(v, bound=(None, 1e9)) if v.metric == "latency_p90_ms" else v for v in case.verdicts]
    (told,) = edited(saved, "limited", verdicts=looser)
    assert "latency_p90_ms <= 1e-06 ms: FAIL" in told and "now latency_p90_ms <= 1.00e+09 ms: PASS" in told


def test_a_changed_value_and_changed_samples_are_noticed(saved):
    (trial,) = saved["limited"].trials

    def measured(**changes):
        found = [replace(m, **changes) if m.name == "latency_ms" else m for m in trial.measurements]
        return edited(saved, "limited", trials=[replace(trial, measurements=found)])

    (value,) = measured(value=0.5)
    assert re.match(r"limited: latency_ms is 0\.5, and its samples say \d", value)
    assert sum("now latency" in told for told in measured(samples=[9e9] * 12)) == 2


def test_a_changed_fit_or_round_is_noticed(saved):
    fit = saved["time"].scaling
    cubic = [(np.array(r) * 0 + n**3).tolist() for n, r in zip(fit.sizes, fit.rounds, strict=True)]
    told = edited(saved, "time", scaling=replace(fit, rounds=cubic))
    assert any("now cpu_time_ms cubic in seq_len: PASS" in sentence for sentence in told)
    assert edited(saved, "time", scaling=replace(fit, exponent=7.0)) == [
        "time: its fit of cpu_time_ms is not that of its samples"
    ]
    left = [v for v in saved["time"].verdicts if "cubic" not in v.expectation]
    assert any("verdict on its scaling is missing" in s for s in edited(saved, "time", verdicts=left))


@pytest.mark.parametrize("rounds", [[], [[]] * 4, [[0.0]] * 4])
def test_damaged_rounds_are_a_difference_and_no_crash(saved, rounds):
    fit = replace(saved["time"].scaling, rounds=rounds)
    assert any("was not measured" in sentence for sentence in edited(saved, "time", scaling=fit))
