"""The user's contract: the builder, what leaving the block does, and that nothing is ever ignored."""

from __future__ import annotations

import inspect

import pytest
import torch
from tiny_models import Attention, Block
from torch import nn

import ttprof
from ttprof import Status, SuiteFailed, TestResult, TestSuite, TtprofError, at_most, exactly, test_model, within
from ttprof.codes import NoteCode, VerdictCode
from ttprof.errors import SpecError, UnknownNameError
from ttprof.spec import KernelBudget


def spec(builder):
    (found,) = builder.specs
    return found


def test_every_method_returns_the_builder_and_edits_the_spec(suite, model):
    case = suite.test(model.ffn)
    reference = Attention(32)
    same = (
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
    assert same is case
    found = spec(case)
    assert (found.tolerance.value, found.tolerance.strict) == (1e-3, True)
    assert {limit.metric: limit.bound for limit in found.limits} == {
        "latency_ms": 4.0,
        "kernel_time_ms": 3.0,
        "leak_mb": 0,
        "sync_count": 0,
    }
    assert found.kernel_budgets == (KernelBudget("*gemm*", at_most(1.5), exactly(3)),)
    assert found.deterministic
    assert {s.axis: s.values for s in found.sweeps} == {"seq_len": (8, 16, 24, 32), "batch_size": (1, 2)}
    assert (found.scaling.law.name, found.scaling_axis, found.scaling.metric) == ("linear", "seq_len", "memory_mb")
    assert (found.given.shape, found.reference, found.schedule.iterations) == ((2, 16, 32), reference, 7)
    assert (found.schedule.warmup, found.schedule.recorded, found.schedule.exact) == (3, 7, True)
    assert (found.backward, found.dtype, found.cache) == (True, torch.bfloat16, "cold")
    assert spec(suite.test(model.norm).call(1)).call == 1
    assert (found.allow_nonfinite, found.skip_reason) == (True, "a reason")


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seq_len": "long"}, "seq_len must be an integer"),
        ({"device": "gpu"}, "device='gpu'"),
        ({"device": "meta"}, "can't time 'meta' devices, only cpu and cuda"),
        ({"on_failure": "ignore"}, "on_failure must be"),
        ({"backend": "nsight"}, "unknown backend 'nsight'"),
        ({"dtype": "bf16"}, "dtype must be a floating-point torch.dtype"),
        ({"name": 5}, "name must be a non-empty str, got"),
        ({"trace_dir": 5}, "trace_dir must be a path"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_wrong_options_of_a_suite(model, arguments, message):
    with pytest.raises(SpecError, match=message):
        TestSuite(model, **arguments)


def test_a_suite_takes_a_module():
    with pytest.raises(SpecError, match=r"model must be a torch\.nn\.Module, got str"):
        TestSuite("model")


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
def test_a_name_that_the_model_lacks_is_an_error_at_the_next_call(suite, in_empty_folder, call):
    suite.earlier = suite.test("norm")
    line = inspect.currentframe().f_lineno + 1
    case = suite.test("atention")
    with pytest.raises(UnknownNameError, match="unknown module 'atention'; did you mean 'attention'") as raised:
        call(suite, case)
    assert f"(suite.test at {__file__}:{line})" in str(raised.value)
    with pytest.raises(UnknownNameError):
        case.tolerance(1e-3)
    assert not (in_empty_folder / "traces").exists(), "nothing was measured"


def test_a_name_that_the_model_lacks_is_an_error_on_leaving_the_block(model):
    with pytest.raises(UnknownNameError), TestSuite(model, seq_len=4, quiet=True) as suite:
        suite.test("atention")
    with pytest.raises(UnknownNameError, match="'atention'"):
        test_model(model, atention={}, options={"quiet": True})


@pytest.mark.parametrize("target", [None, ""])
def test_no_target_is_an_error_that_names_if_exists(suite, target):
    case = suite.test(target)
    with pytest.raises(SpecError, match="if_exists"):
        case.tolerance(1e-3)


def test_optional_modules_are_skipped_not_forgotten(suite, model):
    suite.test("sparse_attention").if_exists().tolerance(1e-4).expect(latency_ms=1)
    suite.test(getattr(model, "moe", None), name="moe").if_exists()
    suite.test("ffn").if_exists().profile(1, 2)
    result = suite.run()
    assert [case.status for case in result] == ["SKIP", "SKIP", "PASS"]
    assert result["sparse_attention"].verdicts[0].reason == "the model has no module 'sparse_attention'"


def test_groups_apply_to_each_member(suite):
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


def test_modules_that_the_model_never_calls_are_skipped_in_a_group_and_run_when_named(suite):
    suite.test_all_modules().matching("unused").profile(1, 2)
    suite.test("unused", name="alone").profile(1, 2)
    result = suite.run()
    assert (result["unused"].status, result["alone"].status) == ("SKIP", "PASS")
    assert result["alone"].trials[0].inputs_source == "synthesised"


def test_the_contract_runs(model):
    with TestSuite(model, batch_size=2, seq_len=64, quiet=True, on_failure="report") as suite:
        suite.test(model.attention).tolerance(1e-3).expect(latency_ms=5000.0, memory_mb=512)
        suite.test(model.ffn).with_seq_lengths([64, 128, 256, 512]).expect_scaling("linear", metric="memory_mb")
        suite.test(model.norm).profile(warmup=2, iterations=9)
        suite.test(model.attention).compare_with(Attention(32))
        suite.test(model.attention.key_proj, name="attention.key_proj").tolerance(1e-3)
        suite.test_all_modules().matching("*attention*").tolerance(1e-3)
        with suite.test(model.embedding) as case:
            case.profile(1, 2)
    result = suite.result
    assert [c.status for c in result][:5] == ["PASS", "PASS", "PASS", "FAIL", "PASS"]
    assert len(result) == 11
    norm = result["norm"].trials[0]
    assert (norm.iterations, norm.recorded) == (9, 9)
    assert len(norm.measurements[0].samples) == 9
    assert result["ffn"].scaling.exponent == pytest.approx(1)
    failed = result["attention#2"]
    assert {"speedup", "memory_ratio", "rel_error"} <= failed.metrics.keys()
    assert "against the reference Attention in float64" in failed.errors[0]
    assert all(case.trace_path and case.trace_path.endswith(".pt.trace.json.gz") for case in result)


def test_leaving_the_block_raises_with_the_table_of_failures(model):
    with (
        pytest.raises(SuiteFailed, match="1 of 2 cases failed") as caught,
        TestSuite(model, seq_len=16, quiet=True) as s,
    ):
        s.test(model.norm).expect(memory_mb=0.0001).profile(1, 3)
        s.test(model.ffn).profile(1, 2)
    assert isinstance(caught.value, AssertionError) and isinstance(caught.value, TtprofError)
    assert "norm" in str(caught.value) and "21 times the limit of 0.0001 MB" in str(caught.value)
    assert [case.status for case in caught.value.result] == ["FAIL", "PASS"]


def test_an_exception_inside_the_block_runs_nothing(model, in_empty_folder):
    with pytest.raises(ZeroDivisionError), TestSuite(model, quiet=True) as suite:
        suite.test(model.norm)
        1 / 0  # noqa: B018
    assert suite.result is None
    assert list(in_empty_folder.iterdir()) == []


def test_run_inside_the_block_runs_once_and_the_gate_still_gates(model):
    with pytest.raises(SuiteFailed), TestSuite(model, seq_len=16, quiet=True) as suite:
        suite.test(model.norm).expect(memory_mb=0).profile(1, 3)
        result = suite.run()
        assert not result.passed
    assert suite.result is result


def test_auto_run_off_and_empty_suites(model):
    with TestSuite(model, auto_run=False) as suite:
        suite.test(model.norm)
    assert suite.result is None
    with pytest.raises(SpecError, match="the suite has no tests"), TestSuite(model):
        pass


def test_strict_lets_inconclusive_fail(model):
    def result(strict):
        suite = TestSuite(model, seq_len=16, quiet=True, strict=strict)
        suite.test(model.norm).expect(latency_ms=1000).profile(1, 1)
        return suite.run()

    assert result(False)[0].status is Status.INCONCLUSIVE
    assert result(False).passed and not result(True).passed


def test_one_call_form(model):
    options = {"seq_len": 16, "quiet": True}
    result = test_model(model, {"attention.key_proj": {}}, options=options, ffn={"latency_ms": 1000.0}, norm={})
    assert [c.module_name for c in result] == ["attention.key_proj", "ffn", "norm"]
    assert all("tolerance 0.001" in {v.expectation for v in c.verdicts} for c in result)
    with pytest.raises(SuiteFailed):
        test_model(model, options=options, ffn={"memory_mb": 0})
    with pytest.raises(UnknownNameError):
        test_model(model, fnn={})


def test_the_model_is_left_as_found(model):
    model.train()
    model.ffn[0].weight.grad = torch.ones_like(model.ffn[0].weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = [dict(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(3)
    random = torch.rand(2)
    torch.manual_seed(3)
    suite = TestSuite(model, seq_len=16, quiet=True)
    suite.test(model.ffn).backward().tolerance(1e-3).profile(1, 2)
    suite.test_all_modules().dtype(torch.bfloat16).tolerance(1e-2).profile(1, 2)
    assert suite.run().passed
    assert model.training and all(m.training for m in model.modules())
    assert torch.equal(model.ffn[0].weight.grad, torch.ones_like(model.ffn[0].weight))
    assert [dict(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    assert torch.equal(torch.rand(2), random)
    assert not any("forward" in vars(m) for m in model.modules())


def test_backward_is_recorded_and_takes_gradients(suite, model):
    from ttprof.trace.formats import kineto

    suite.test(model.ffn).backward().profile(1, 3)
    (case,) = suite.run()
    trace = kineto.read(case.trace_path)
    assert any("Backward" in name for name in trace.name_of(trace.ops))


def test_compiled_modules_are_tested_under_the_names_of_what_was_compiled(model):
    compiled = torch.compile(model, backend="eager")
    suite = TestSuite(compiled, seq_len=16, quiet=True)
    suite.test(compiled).tolerance(1e-4).profile(1, 2)
    suite.test("attention.key_proj").tolerance(1e-4).profile(1, 2)
    suite.test(torch.compile(model.ffn, backend="eager")).input_shape((2, 4, 32)).compare_with("ffn").profile(1, 2)
    result = suite.run()
    assert result.passed, [case.errors for case in result]
    assert [case.module_name for case in result] == ["Block", "attention.key_proj", "Sequential"]
    assert result["attention.key_proj"].trials[0].inputs_source == "captured"


def test_inputs_from_shape_factory_and_values(suite, model):
    suite.test(model.ffn, name="shape").input_shape((3, 5, 32)).profile(1, 2)
    suite.test(model.ffn, name="factory").input_factory(lambda batch_size: torch.ones(batch_size, 7, 32)).profile(1, 2)
    suite.test(model.ffn, name="values").inputs(torch.ones(4, 32)).profile(1, 2)
    result = suite.run()
    assert [c.trials[0].inputs for c in result] == ["3x5x32 float32", "2x7x32 float32", "4x32 float32"]
    assert {c.trials[0].inputs_source for c in result} == {"given"}


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("kernel exploded")


class SaysHello(nn.Module):
    def forward(self, x):
        return "hello"


def test_a_bad_case_is_an_error_and_the_others_keep_their_results(suite, model):
    suite.test(Raises(), name="raises").inputs(torch.ones(1))
    suite.test(SaysHello(), name="string").inputs(torch.ones(1))
    suite.test(model.ffn).profile(1, 2)
    result = suite.run()
    assert [c.status for c in result] == ["ERROR", "ERROR", "PASS"]
    assert result["raises"].errors == [result["raises"].verdicts[0].reason]
    assert "raises" in result["raises"].errors[0] and "kernel exploded" in result["raises"].errors[0]
    assert "returned str 'hello', which holds no tensor to test" in result["string"].errors[0]
    assert result["ffn"].metrics["latency_ms"] > 0


def test_limits_that_nothing_measures_are_errors(suite, model):
    suite.test(model.ffn).expect(kernel_time_ms=5, speedup=1, latency_p99_ms=1000).profile(1, 5)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert [v.status for v in case.verdicts if v.metric] == ["ERROR"] * 3
    assert "compare_with" in " ".join(case.errors) and "at least 100 timed iterations" in " ".join(case.errors)


def test_a_high_quantile_brings_the_iterations_that_it_needs(suite, model):
    suite.test(model.norm).expect(latency_p99_ms=10_000)
    (case,) = suite.run()
    assert case.trials[0].iterations >= 100
    assert case.status is Status.PASS


def test_public_names_are_not_collected_by_pytest():
    for name in ("TestSuite", "test_model", "TestResult"):
        assert getattr(ttprof, name).__test__ is False
    assert TestResult is ttprof.CaseResult
    assert set(ttprof.__all__) <= set(dir(ttprof))
    assert ttprof.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ttprof.nothing  # noqa: B018


def test_a_reference_may_take_the_weights_of_the_module(model):
    suite = TestSuite(model, batch_size=2, seq_len=16, quiet=True, seconds_per_case=0.2)
    suite.test("attention").compare_with(Attention(32), share_weights=True).tolerance(1e-4).profile(1, 2)
    assert suite.run().passed
    with pytest.raises(SpecError, match="its weights do not fit the reference"):
        suite.test("attention").compare_with(nn.Linear(32, 32), share_weights=True)
    with pytest.raises(SpecError, match="share_weights=True needs a reference that is a module"):
        suite.test("attention").compare_with(lambda x: x, share_weights=True)


def test_what_only_one_side_runs_is_noted():
    module = nn.Sequential(nn.Linear(8, 8), nn.GELU())
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2)
    suite.test(module).input_shape((4, 8)).compare_with(lambda x: torch.tanh(module[0](x))).profile(1, 2)
    (case,) = suite.run()
    (note,) = [note for note in case.trials[0].notes if note.code is NoteCode.DIFFERS_FROM_REFERENCE]
    assert "ops against the reference: only in the module: aten::gelu" in note.text
    assert "only in the reference: aten::tanh" in note.text


def test_an_error_does_not_begin_with_the_name_of_its_case(model):
    suite = TestSuite(model, inputs=torch.ones(2, 16, dtype=torch.int64), quiet=True, seconds_per_case=0.2)
    suite.test(model.ffn).with_seq_lengths([2, 4, 8]).expect_scaling("linear", metric="memory_mb").profile(1, 2)
    (case,) = suite.run()
    assert case.errors[0].startswith("seq_len has no effect on this module")


def test_the_sizes_and_the_model_of_a_suite_can_be_read(model):
    suite = TestSuite(model, batch_size=2, seq_len=16, auto_run=False, quiet=True)
    assert (suite.model, suite.batch_size, suite.seq_len, suite.auto_run) == (model, 2, 16, False)
    assert suite.device == torch.device("cpu")
    assert suite.test(suite.model.attention).specs[0].name == "attention"
    assert TestSuite(model, quiet=True).seq_len == 2048
    with pytest.raises(AttributeError):
        suite.batch_size = 3


class KeepsEveryTenth(nn.Module):
    def __init__(self, calls: int) -> None:
        super().__init__()
        self.linear, self.calls, self.kept = nn.Linear(8, 8), calls, []

    def forward(self, x):
        self.calls += 1
        if self.calls % 10 == 0:
            self.kept.append(torch.ones(2**18))
        return self.linear(x)


@pytest.mark.parametrize("phase", [0, 3, 9])
def test_a_leak_in_every_tenth_call_fails_and_the_reason_says_over_how_many(phase):
    suite = TestSuite(KeepsEveryTenth(phase), inputs=torch.ones(2, 8), quiet=True, seconds_per_case=0.1)
    suite.test(suite.model).no_leak()
    suite.test("linear").no_leak()
    leaking, clean = suite.run()
    assert (leaking.status, clean.status) == (Status.FAIL, Status.PASS)
    assert leaking.metrics["leak_mb"] == pytest.approx(0.1, rel=0.55)
    assert "leak_mb is 0 MB" in clean.verdicts[-1].reason and "(over 30 iterations)" in clean.verdicts[-1].reason


@pytest.mark.parametrize("stop", [SystemExit(0), SystemExit(3), GeneratorExit()])
def test_a_module_that_exits_is_an_error_of_its_case(stop):
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


def test_a_progress_line_says_how_the_case_ended_with_its_baseline(model, in_empty_folder, capsys):
    def suite(**options):
        made = TestSuite(model, seq_len=16, name="gate", seconds_per_case=0.1, **options)
        made.test("norm").profile(1, 12)
        return made

    quiet = suite(quiet=True)
    quiet.run()
    saved = quiet.save_baseline("base.json")
    text = saved.read_text(encoding="utf-8")
    smaller = text.replace('"name": "memory_mb"', '"name": "memory_mb_of_old"')
    saved.write_text(smaller, encoding="utf-8")
    result = suite(baseline="base.json").run()
    assert result["norm"].status is Status.ERROR, "a metric of the baseline is missing"
    first, line, *_ = capsys.readouterr().out.splitlines()
    assert (first, line.split()) == ("gate: 1 case", ["ERROR", "norm"])
