from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from ttprof import Status, TestSuite, at_most, load, within
from ttprof.judge import again


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
    assert again.differences(saved) == []
    found = {case.module_name: [v.expectation for v, _ in again.judged(case)] for case in saved}
    assert len(found["limited"]) == 3  # kernel_time_ms was not measured: there is nothing to judge
    assert found["memory"] == ["memory_mb linear in seq_len"]
    assert found["time"] == ["cpu_time_ms cubic in seq_len"]
    assert saved["limited"].status is Status.ERROR


def test_a_changed_verdict_a_changed_sample_and_a_lost_one_are_noticed(saved):
    replace = msgspec.structs.replace
    case = saved["limited"]
    passes = [replace(v, status=Status.PASS) if v.metric == "latency_p90_ms" else v for v in case.verdicts]
    ((name, before, now),) = again.differences(replace(saved, cases=[replace(case, verdicts=passes)]))
    assert (name, before.status, now.status) == ("limited", Status.PASS, Status.FAIL)

    (trial,) = case.trials
    slower = [replace(m, samples=[9e9] * 12) if m.name == "latency_ms" else m for m in trial.measurements]
    changed = replace(case, trials=[replace(trial, measurements=slower)])
    found = again.differences(replace(saved, cases=[changed]))
    assert {before.metric for _, before, _ in found} == {"latency_ms", "latency_p90_ms"}

    lost = replace(case, trials=[replace(trial, measurements=[])])
    assert [now for _, _, now in again.differences(replace(saved, cases=[lost]))] == [None] * 3


def test_a_changed_round_turns_a_scaling(saved):
    replace = msgspec.structs.replace
    case = saved["time"]
    cubic = [(np.array(r) * 0 + n**3).tolist() for n, r in zip(case.scaling.sizes, case.scaling.rounds, strict=True)]
    changed = replace(case, scaling=replace(case.scaling, rounds=cubic))
    ((_, before, now),) = again.differences(replace(saved, cases=[changed]))
    assert before.status is not Status.PASS and now.status is Status.PASS
