"""A suite with a baseline: the verdicts that its cases get, and the cases that are missing."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from ttprof import TestSuite, baseline
from ttprof.codes import Kind
from ttprof.errors import ResultFileError, SpecError
from ttprof.judge import regression


def suite(model: nn.Module, **options) -> TestSuite:
    registered = TestSuite(model, quiet=True, seconds_per_case=0.2, on_failure="report", **options)
    registered.test(model).input_shape((4, 8)).profile(1, 12, trace_iterations=3)
    return registered


def test_a_missing_case_that_the_baseline_skipped_is_not_added_to_the_result():
    first = suite(nn.Linear(8, 8))
    first.test(nn.Linear(8, 8), name="skipped").skip("not today")
    first.run()
    first.save_baseline("base.json")
    assert [case.module_name for case in suite(nn.Linear(8, 8), baseline="base.json").run()] == ["Linear"]


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
    assert any(reason.startswith("flops +") for reason in worse.errors)
    (changed,) = [row for row in worse.trials[0].changed if row.name == "aten::addmm"]
    assert changed.count == (1, 2) and all("test_baselines.py:" in place for place in changed.places)


def test_a_missing_baseline_is_an_error_at_the_suite():
    with pytest.raises(ResultFileError, match=r"nothing.json: No such file"):
        suite(nn.Linear(8, 8), baseline="nothing.json")


def test_a_baseline_of_another_machine_is_an_error_for_each_case():
    first = suite(nn.Linear(8, 8))
    first.run()
    base = baseline.of(first.result)
    other = msgspec.structs.replace(base, environment=msgspec.structs.replace(base.environment, cpu="another"))
    other.save("base.json")
    (case,) = suite(nn.Linear(8, 8), baseline="base.json").run()
    assert case.status == "ERROR"
    assert case.errors[0].startswith("the runs are from different hardware: CPU was 'another', now ")


def test_a_run_with_errors_can_not_become_a_baseline():
    broken = TestSuite(nn.Linear(8, 8), quiet=True, on_failure="report", seconds_per_case=0.2)
    broken.test(nn.Linear(8, 8), name="bad").input_shape((4, 7)).profile(1, 2)
    broken.run()
    with pytest.raises(SpecError, match="these cases ended as ERROR: bad"):
        broken.save_baseline("base.json")


def test_a_case_of_the_baseline_that_did_not_run_is_added_to_the_result():
    first = suite(nn.Linear(8, 8))
    first.test(first.model, name="second").input_shape((4, 8)).profile(1, 12, trace_iterations=3)
    first.run()
    first.save_baseline("base.json")
    result = suite(nn.Linear(8, 8), baseline="base.json").run()
    assert result["second"].status == "INCONCLUSIVE"
    assert [v.reason for v in result["second"].verdicts] == ["measured in the baseline, but did not run now"]
    assert len(result) == 2 and result["Linear"].verdicts[-1].kind is Kind.BASELINE


@pytest.mark.parametrize("wrong", [123, True, "", [1]])
def test_a_baseline_is_a_path(wrong):
    with pytest.raises(SpecError, match="baseline must be a file path"):
        suite(nn.Linear(8, 8), baseline=wrong)


def test_a_run_compares_each_metric_with_its_baseline_once(monkeypatch):
    first = suite(nn.Linear(8, 8))
    first.test(first.model, name="second").input_shape((4, 8)).profile(1, 12, trace_iterations=3)
    first.run()
    first.save_baseline("base.json")
    compared = []
    compare_metric = regression.compare_metric

    def counting(key, base, new, threshold):
        compared.append((key, base.name))
        return compare_metric(key, base, new, threshold)

    monkeypatch.setattr(regression, "compare_metric", counting)
    suite(nn.Linear(8, 8), baseline="base.json").run()
    assert {key.case for key, _ in compared} == {"Linear"} and len(compared) == len(set(compared)) > 0
