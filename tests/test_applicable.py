"""``on``: tests and limits that are only for some types of device, and SKIP with the reason elsewhere."""

from __future__ import annotations

import pytest
import torch
from single_case import run_registered
from torch import nn

from ttprof import TestSuite, test_model
from ttprof.applicable import applicable
from ttprof.builder import CaseBuilder
from ttprof.codes import Kind, VerdictCode
from ttprof.errors import SpecError, UnknownNameError
from ttprof.judge.verify import check

ELSEWHERE = "only on cuda; this run is on cpu"


def planned(case: CaseBuilder, device: str):
    (spec,) = case.specs
    return applicable(spec, device)


def bounds(spec) -> dict[str, float]:
    return {limit.metric: limit.bound for limit in spec.limits}


def test_a_case_for_another_device_is_skipped_and_never_runs(model):
    case = run_registered(model, lambda suite: suite.test("ffn").on("cuda").expect(kernel_time_ms=1).no_sync())
    assert case.status == "SKIP"
    assert [(v.code, v.reason) for v in case.verdicts] == [(VerdictCode.OTHER_DEVICE, ELSEWHERE)]
    assert case.trials == []


def test_a_case_for_this_device_runs(model):
    case = run_registered(model, lambda suite: suite.test("ffn").on("cuda", "cpu").expect(latency_ms=1000))
    assert case.status == "PASS"


def test_limits_for_another_device_are_skipped_and_the_others_judged(model):
    def register(suite):
        case = suite.test("ffn").expect(latency_ms=1000).expect(on="cuda", kernel_time_ms=1).no_sync(on=("cuda", "xpu"))
        case.expect_kernel("*gemm*", count=1, on="cuda")

    case = run_registered(model, register)
    skipped = [v for v in case.verdicts if v.code is VerdictCode.OTHER_DEVICE]
    assert [(v.kind, v.status, v.metric, v.reason) for v in skipped] == [
        (Kind.LIMIT, "SKIP", "kernel_time_ms", f"kernel_time_ms <= 1 ms: {ELSEWHERE}"),
        (Kind.LIMIT, "SKIP", "sync_count", "sync_count <= 0: only on cuda and xpu; this run is on cpu"),
        (Kind.KERNELS, "SKIP", None, f"kernels *gemm*: {ELSEWHERE}"),
    ]
    assert [v.status for v in case.verdicts if v.metric == "latency_ms"] == ["PASS"]
    assert case.status == "PASS"


def test_a_case_with_only_skipped_limits_runs_and_has_its_numerics(model):
    broken = nn.Sequential(nn.Linear(4, 4))
    broken[0].weight.data.fill_(float("nan"))
    suite = TestSuite(broken, inputs=torch.ones(2, 4), quiet=True, seconds_per_case=0.2)
    suite.test("0").expect(on="cuda", kernel_time_ms=1)
    (case,) = suite.run()
    assert case.status == "FAIL"
    assert VerdictCode.NONFINITE in {v.code for v in case.verdicts}
    assert case.metrics["latency_ms"] > 0


def test_without_on_a_limit_that_a_cpu_does_not_measure_stays_an_error(model):
    assert run_registered(model, lambda suite: suite.test("ffn").no_sync()).status == "ERROR"


def test_on_its_device_a_limit_holds_and_replaces_the_general_one(suite):
    case = suite.test("ffn").expect(latency_ms=50, memory_mb=9).expect(on="cuda", latency_ms=5)
    assert bounds(planned(case, "cuda")) == {"latency_ms": 5, "memory_mb": 9}
    assert bounds(planned(case, "cpu")) == {"latency_ms": 50, "memory_mb": 9}
    assert planned(case, "cuda").left_out == ()


def test_a_kernel_budget_holds_on_its_devices(suite):
    case = suite.test("ffn").expect_kernel("*gemm*", count=1, on=("cuda", "xpu"))
    assert [len(planned(case, device).kernel_budgets) for device in ("cuda", "xpu", "mps", "cpu")] == [1, 1, 0, 0]


def test_groups_optional_modules_and_the_order_of_skips(model):
    suite = TestSuite(model, batch_size=2, seq_len=16, quiet=True, seconds_per_case=0.2)
    suite.test_all_modules().matching("ffn*").on("cuda").no_sync()
    suite.test("moe").if_exists().on("cuda")
    suite.test("ffn", name="by hand").skip("a reason").on("cuda")
    result = suite.run()
    codes = {case.module_name: case.verdicts[0].code for case in result}
    assert {codes.pop("moe"), codes.pop("by hand")} == {VerdictCode.MODULE_MISSING, VerdictCode.SKIPPED}
    assert len(codes) > 1 and set(codes.values()) == {VerdictCode.OTHER_DEVICE}
    assert result.passed


def test_prefill_and_decode_are_for_the_same_devices(suite):
    case = suite.test("ffn").on("cuda").prefill(8)
    assert case.specs[0].on == ("cuda",)
    assert case.decode().specs[0].on == ("cuda",)


def test_the_one_call_form_takes_on_beside_the_limits(model):
    options = {"batch_size": 2, "seq_len": 16, "quiet": True, "seconds_per_case": 0.2}
    result = test_model(model, ffn={"on": "cuda", "kernel_time_ms": 1.0}, options=options)
    assert [v.status for v in result["ffn"].verdicts if v.metric == "kernel_time_ms"] == ["SKIP"]


def test_a_saved_result_verifies_though_a_skipped_metric_was_measured(model):
    suite = TestSuite(model, batch_size=2, seq_len=16, quiet=True, seconds_per_case=0.2)
    suite.test("ffn").expect(on="cuda", latency_ms=1e-9)
    assert check(suite.run()).differences == []


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda c: c.on(), SpecError, r"on\(\) needs a type of device, for example on\('cuda'\)"),
        (lambda c: c.on("cudda"), UnknownNameError, "unknown type of device 'cudda'; did you mean 'cuda'"),
        (lambda c: c.on("cuda:0"), SpecError, r"without an index: on\('cuda'\), not 'cuda:0'"),
        (lambda c: c.on("rocm"), SpecError, "a ROCm device is 'cuda'"),
        (lambda c: c.on(5), SpecError, "on needs a type of device such as 'cuda'"),
        (lambda c: c.expect(on="gpu", latency_ms=5), UnknownNameError, "unknown type of device 'gpu'"),
        (lambda c: c.expect(on=torch.device("cuda"), latency_ms=5), SpecError, "on needs a type of device"),
        (lambda c: c.expect(on="cuda"), SpecError, r"expect\(\) needs at least one limit"),
        (lambda c: c.no_sync(on="xpuu"), UnknownNameError, "did you mean .*'xpu'"),
        (lambda c: c.expect_kernel("*", count=1, on="cuda:1"), SpecError, "without an index"),
    ],
)
def test_a_wrong_type_of_device_raises_at_its_line(suite, wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(suite.test("ffn"))


def test_types_of_packages_that_this_machine_lacks_are_known(suite):
    assert suite.test("ffn").on("npu", "cuda", "npu").specs[0].on == ("npu", "cuda")
