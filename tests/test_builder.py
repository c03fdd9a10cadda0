"""The builder: every method edits the spec and returns the builder, and a wrong argument raises at its line."""

from __future__ import annotations

import inspect

import pytest
import torch
from tiny_models import Attention, Block
from torch import nn

from ttprof import TestSuite, at_most, exactly, test_model, within
from ttprof.errors import SpecError, UnknownNameError
from ttprof.spec import KernelBudget


def spec(builder):
    (only,) = builder.specs
    return only


def test_every_method_returns_the_builder_and_edits_the_spec(suite, model):
    case = suite.test(model.ffn)
    reference = Attention(32)
    returned = (
        case.tolerance(1e-3, strict=True)
        .expect(latency_ms=5, cuda_time_ms=3)
        .expect(latency_ms=4)
        .with_seq_lengths(range(8, 40, 8))
        .with_batch_sizes([1, 2])
        .expect_scaling("linear", over="seq_len", metric="memory_mb")
        .input_shape((2, 16, 32))
        .compare_with(reference)
        .profile(warmup=3, iterations=7)
        .backward()
        .dtype(torch.bfloat16)
        .cache("cold")
        .expect_kernel("*gemm*", time_ms=1.5, count=exactly(3))
        .no_leak()
        .no_sync()
        .deterministic()
        .if_exists()
        .allow_nonfinite()
        .skip("a reason")
    )
    assert returned is case
    edited = spec(case)
    assert (edited.tolerance.value, edited.tolerance.strict) == (1e-3, True)
    assert {limit.metric: limit.bound for limit in edited.limits} == {
        "latency_ms": 4.0,
        "kernel_time_ms": 3.0,
        "leak_mb": 0,
        "sync_count": 0,
    }
    assert edited.kernel_budgets == (KernelBudget("*gemm*", at_most(1.5), exactly(3)),)
    assert edited.deterministic
    assert {s.axis: s.values for s in edited.sweeps} == {"seq_len": (8, 16, 24, 32), "batch_size": (1, 2)}
    assert (edited.scaling.law.name, edited.scaling_axis, edited.scaling.metric) == ("linear", "seq_len", "memory_mb")
    assert (edited.given.shape, edited.reference, edited.schedule.iterations) == ((2, 16, 32), reference, 7)
    assert (edited.schedule.warmup, edited.schedule.recorded, edited.schedule.exact) == (3, 7, True)
    assert (edited.backward, edited.dtype, edited.cache) == (True, torch.bfloat16, "cold")
    assert spec(suite.test(model.norm).call(1)).call == 1
    assert (edited.allow_nonfinite, edited.skip_reason) == (True, "a reason")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda c: c.expect(latncy_ms=5), "unknown metric 'latncy_ms'; did you mean 'latency_ms'"),
        (lambda c: c.expect(latency_ms=-1), "latency_ms must be a finite number of at least 0, got -1"),
        (lambda c: c.expect(latency_ms="5"), "latency_ms must be a number, got '5'"),
        (lambda c: c.expect(), "expect\\(\\) needs at least one limit"),
        (lambda c: c.tolerance(float("nan")), "tolerance must be a finite number"),
        (lambda c: c.expect_scaling("quadritic"), "did you mean 'quadratic'"),
        (lambda c: c.expect_scaling("linear", over="width"), "expect_scaling\\(over='width'\\)"),
        (lambda c: c.expect_scaling("linear", metric="speed"), "unknown metric 'speed'"),
        (lambda c: c.with_seq_lengths([]), "the list is empty"),
        (lambda c: c.with_seq_lengths(512), "needs a list of integers, got 512"),
        (lambda c: c.with_batch_sizes([1, -2]), "batch_size must be at least 1"),
        (lambda c: c.with_seq_lengths([1, 2]).expect_scaling("linear"), "at least 3 sizes"),
        (lambda c: c.expect_scaling("linear").with_seq_lengths([1, 2]), "at least 3 sizes"),
        (lambda c: c.input_shape(5), "input_shape must be a tuple"),
        (lambda c: c.input_shape((2, "1 x")), "input_shape must be an integer"),
        (lambda c: c.inputs(), "inputs\\(\\) needs the arguments"),
        (lambda c: c.inputs(torch.ones(1)).with_seq_lengths([1, 2]), "can't follow a sweep"),
        (lambda c: c.input_factory(3), "input_factory needs a function"),
        (lambda c: c.compare_with(3), "compare_with needs a module"),
        (lambda c: c.compare_with("atention"), "unknown module 'atention'; did you mean 'attention'"),
        (lambda c: c.profile(warmup=-1), "warmup must be at least 0"),
        (lambda c: c.profile(iterations=0), "iterations must be at least 1"),
        (lambda c: c.dtype("bfloat16"), "dtype must be a floating-point torch.dtype"),
        (lambda c: c.dtype(torch.int8), "dtype must be a floating-point torch.dtype"),
        (lambda c: c.call(-1), "call must be at least 0"),
        (lambda c: c.inputs(torch.ones(1)).call(1), "selects captured inputs, but its inputs are given"),
        (
            lambda c: c.with_seq_lengths([1, 2]).with_batch_sizes([1, 2]).expect_scaling("linear"),
            "several sizes are swept; choose one",
        ),
        (lambda c: c.profile(iterations=5, trace_iterations=6), "trace_iterations=6 is more than"),
        (lambda c: c.compare_with(nn.Linear), "or a function, got <class"),
        (lambda c: c.expect_scaling("linear", metric=5), "unknown metric '5'"),
        (lambda c: c.cache("lukewarm"), "cache must be 'warm' or 'cold'"),
        (lambda c: c.skip(""), "skip needs a reason"),
        (lambda c: c.expect(latency_ms=exactly(5)), "latency_ms varies from run to run"),
        (lambda c: c.expect(memory_mb=within(5, "2")), 'a margin such as "2%"'),
        (lambda c: c.expect_kernel("*gemm*"), "needs a budget"),
        (lambda c: c.expect_kernel("", count=1), "expect_kernel needs a glob"),
        (lambda c: c.expect_kernel("*", time_ms=exactly(1)), "time_ms varies"),
        (lambda c: c.expect_kernel("*", time_ms="fast"), "time_ms must be a number"),
    ],
)
def test_wrong_arguments_raise_at_their_line_and_change_nothing(suite, model, wrong, message):
    case = suite.test(model.ffn)
    with pytest.raises(SpecError, match=message):
        wrong(case)
    assert spec(case).limits == ()


def test_targets_by_instance_and_by_name(suite, model):
    assert spec(suite.test(model.attention)).name == "attention"
    assert spec(suite.test("attention.key_proj")).module is model.attention.key_proj
    assert spec(suite.test(model.attention.key_proj, name="keys")).name == "keys"
    assert spec(suite.test(nn.Linear(2, 2))).name == "Linear"
    assert spec(suite.test(model)).name == "Block"
    assert spec(suite.test(model.attention)).name == "attention#2"


def test_wrong_targets_raise_at_once(suite):
    with pytest.raises(SpecError, match="must be a module or a dotted name, got 5"):
        suite.test(5)
    with pytest.raises(SpecError, match="name must be a non-empty str, got 5"):
        suite.test("ffn", name=5)


NEXT_CALLS = {
    "a builder method": lambda suite, case: case.tolerance(1e-3),
    "a method of an earlier test": lambda suite, case: suite.earlier.backward(),
    "the next test": lambda suite, case: suite.test("ffn"),
    "an optional test": lambda suite, case: suite.test("moe").if_exists(),
    "a group": lambda suite, case: suite.test_all_modules(),
    "run": lambda suite, case: suite.run(),
    "if_exists of another test": lambda suite, case: suite.test("ffn").if_exists().tolerance(1e-3),
}


@pytest.mark.parametrize("call", NEXT_CALLS.values(), ids=NEXT_CALLS)
def test_an_unknown_name_is_an_error_at_the_next_call(suite, in_empty_folder, call):
    suite.earlier = suite.test("norm")
    line = inspect.currentframe().f_lineno + 1
    case = suite.test("atention")
    with pytest.raises(UnknownNameError, match="unknown module 'atention'; did you mean 'attention'") as raised:
        call(suite, case)
    assert f"(suite.test at {__file__}:{line})" in str(raised.value)
    with pytest.raises(UnknownNameError):
        case.tolerance(1e-3)
    assert not (in_empty_folder / "traces").exists(), "nothing was measured"


def test_an_unknown_name_is_an_error_on_leaving_the_block(model):
    with pytest.raises(UnknownNameError), TestSuite(model, seq_len=4, quiet=True) as suite:
        suite.test("atention")
    with pytest.raises(UnknownNameError, match="'atention'"):
        test_model(model, atention={}, options={"quiet": True})


@pytest.mark.parametrize("target", [None, ""])
def test_an_empty_target_is_an_error_that_suggests_if_exists(suite, target):
    case = suite.test(target)
    with pytest.raises(SpecError, match="if_exists"):
        case.tolerance(1e-3)


def test_methods_of_a_group_apply_to_every_member(suite):
    group = suite.test_all_modules().matching("*attention*", exclude="*key*").tolerance(1e-3)
    assert [s.name for s in group.specs] == [
        "attention",
        "attention.query_proj",
        "attention.value_proj",
        "attention.out_proj",
    ]
    assert {s.tolerance.value for s in group.specs} == {1e-3}
    compiled = Block()
    compiled.ffn = torch.compile(compiled.ffn, backend="eager")
    compiled.empty = nn.Sequential()
    assert "ffn" not in [s.path for s in TestSuite(compiled).test_all_modules(leaves_only=True).specs]
    leaves = TestSuite(Block()).test_all_modules(leaves_only=True)
    assert "attention" not in [s.name for s in leaves.specs] and "attention.key_proj" in [s.name for s in leaves.specs]


def test_a_glob_that_matches_nothing_is_an_error(suite):
    with pytest.raises(SpecError, match="'\\*atention\\*' matches no module; did you mean 'attention'"):
        suite.test_all_modules().matching("*atention*")
    with pytest.raises(SpecError, match="no submodule"):
        TestSuite(nn.Linear(2, 2)).test_all_modules()


def test_groups_select_by_path_even_if_a_name_is_registered_already(suite):
    suite.test("attention.key_proj").tolerance(1e-3)
    group = suite.test_all_modules().matching("attention.*_proj", exclude="attention.key_proj")
    assert [s.path for s in group.specs] == ["attention.query_proj", "attention.value_proj", "attention.out_proj"]


def test_a_scaling_is_over_the_swept_axis_in_either_order_of_calls(suite, model):
    first = suite.test(model.ffn).expect_scaling("linear").with_batch_sizes([1, 2, 4])
    second = suite.test(model.ffn).with_batch_sizes([1, 2, 4]).expect_scaling("linear")
    assert spec(first).scaling_axis == spec(second).scaling_axis == "batch_size"


def test_a_limit_that_nothing_can_reach_is_refused(suite, model):
    with pytest.raises(SpecError, match=r"sol is at most 1, so nothing reaches 60; use a fraction such as 0\.6"):
        suite.test(model.attention).expect(sol=60)


def test_thresholds_of_a_case_and_of_single_metrics(suite, model):
    case = suite.test(model.ffn).regression("10%", memory_mb="2%").regression(latency_ms=0.2)
    thresholds = spec(case).thresholds
    assert (thresholds.times, thresholds.metrics) == (0.1, {"memory_mb": 0.02, "latency_ms": 0.2})
    assert thresholds.of("cpu_time_ms", "median", 0.05) == 0.1
    assert thresholds.of("latency_ms", "median", 0.05) == 0.2
    assert thresholds.of("memory_mb", "max", 0.05) == 0.02 and thresholds.of("op_count", "max", 0.05) == 0.0
    assert spec(suite.test(model.norm)).thresholds.of("latency_ms", "median", 0.07) == 0.07


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"regression\(\) needs a threshold"),
        ({"threshold": "lots"}, r"regression\(threshold=...\): 'lots' is not a fraction or percentage"),
        ({"threshold": 0}, r"must be a fraction above 0, such as 0.1 for 10 %, got 0"),
        ({"latency_ms": float("inf")}, "latency_ms"),
        ({"latency_m": "10%"}, "latency_ms"),
        ({"rel_error": 0.1}, r"baselines don't compare rel_error, which is judged in each run"),
    ],
)
def test_thresholds_that_are_none(suite, model, arguments, message):
    with pytest.raises(SpecError, match=message):
        suite.test(model.ffn).regression(**arguments)
