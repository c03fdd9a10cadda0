"""A case that raises, exits or is interrupted ends as ERROR, and the other cases keep their results."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny_models import Raises
from torch import nn

from ttprof import Status, TestSuite, load
from ttprof.codes import VerdictCode
from ttprof.judge import looks


class ReturnsString(nn.Module):
    def forward(self, x):
        return "hello"


def test_a_case_that_raises_is_an_error_and_the_others_keep_their_results(suite, model):
    suite.test(Raises(), name="raises").inputs(torch.ones(1))
    suite.test(ReturnsString(), name="string").inputs(torch.ones(1))
    suite.test(model.ffn).profile(1, 2)
    result = suite.run()
    assert [c.status for c in result] == ["ERROR", "ERROR", "PASS"]
    assert result["raises"].errors == [result["raises"].verdicts[0].reason]
    assert "raises" in result["raises"].errors[0] and "kernel exploded" in result["raises"].errors[0]
    assert "returned str 'hello', which contains no tensor to test" in result["string"].errors[0]
    assert result["ffn"].metrics["latency_ms"] > 0


def test_limits_on_unmeasured_metrics_are_errors(suite, model):
    suite.test(model.ffn).expect(kernel_time_ms=5, speedup=1, latency_p99_ms=1000).profile(1, 5)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert [v.status for v in case.verdicts if v.metric] == ["ERROR"] * 3
    assert "compare_with" in " ".join(case.errors) and "at least 100 timed iterations" in " ".join(case.errors)


def test_an_error_does_not_begin_with_the_name_of_its_case(model):
    suite = TestSuite(model, inputs=torch.ones(2, 16, dtype=torch.int64), quiet=True, seconds_per_case=0.2)
    suite.test(model.ffn).with_seq_lengths([2, 4, 8]).expect_scaling("linear", metric="memory_mb").profile(1, 2)
    (case,) = suite.run()
    assert case.errors[0].startswith("seq_len has no effect on this module")


@pytest.mark.parametrize("stop", [SystemExit(0), SystemExit(3), GeneratorExit()])
def test_a_module_that_exits_the_process_is_an_error_of_its_case(stop):
    class Exits(nn.Module):
        def forward(self, x):
            raise stop

    model = nn.Sequential(nn.Linear(8, 8), Exits())
    suite = TestSuite(model, quiet=True, seconds_per_case=0.1)
    suite.test("0").inputs(torch.ones(2, 8)).profile(1, 2)
    suite.test("1").inputs(torch.ones(2, 8)).profile(1, 2)
    linear, exits = suite.run()
    assert (linear.status, exits.status) == (Status.PASS, Status.ERROR)
    assert exits.verdicts[-1].code is VerdictCode.RAISED
    assert f"1 raised {type(stop).__name__}" in exits.errors[0]


@pytest.mark.parametrize(
    ("calls", "statuses"), [(3, ["ERROR"] * 3), (80, ["PASS", "ERROR", "ERROR"])], ids=["pass 1", "pass 2"]
)
def test_an_interrupt_keeps_the_measurements_so_far(suite, model, in_empty_folder, calls, statuses):
    """Ctrl-C in the second of three cases, in its timing or its recording."""

    count = itertools.count(1)

    class Interrupted(nn.Module):
        def forward(self, x):
            if next(count) > calls:
                raise KeyboardInterrupt
            return x * x.sigmoid().exp().mean()

    suite.test(model.ffn).profile(1, 3)
    suite.test(Interrupted()).inputs(torch.ones(200, 200)).profile(0, 50, trace_iterations=40)
    suite.test(model.norm).profile(1, 3)
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    (path,) = (in_empty_folder / "traces").glob("*/result.json")
    result = load(path)
    assert result.interrupted and [case.status for case in result] == statuses
    assert result[0].metrics["latency_ms"] > 0
    assert "was interrupted" in result[1].errors[0] and "the run was interrupted" in result[2].errors[0]


def test_an_error_in_ttprof_itself_ends_only_that_case(suite, model, monkeypatch):

    judge = looks.judge
    monkeypatch.setattr(looks, "judge", lambda limit, o: 1 / 0 if limit.bound == 7 else judge(limit, o))
    suite.test(model.ffn).expect(memory_mb=7).profile(1, 3)
    suite.test(model.norm).expect(memory_mb=8).profile(1, 3)
    first, second = suite.run()
    assert (first.status, second.status) == ("ERROR", "PASS")
    assert "judging ffn raised ZeroDivisionError" in first.errors[0]
