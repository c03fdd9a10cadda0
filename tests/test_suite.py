"""Suites: when they run, what leaving the block raises, their options, and the results of their cases."""

from __future__ import annotations

import pytest
import torch
from single_case import run_case
from tiny_models import Attention
from torch import nn

import ttprof
from ttprof import Status, SuiteFailed, TestResult, TestSuite, TtprofError, test_model
from ttprof.codes import NoteCode
from ttprof.errors import SpecError, UnknownNameError
from ttprof.trace.formats import kineto


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seq_len": "long"}, "seq_len must be an integer"),
        ({"device": "gpu"}, "device='gpu'"),
        (
            {"device": "meta"},
            "device='meta': ttprof runs on cpu, cuda, mps, xpu, mtia and the",
        ),
        ({"device": "mps:1" if torch.backends.mps.is_available() else "mps"}, "device='mps.*torch finds"),
        ({"device": "cpu:1"}, "device='cpu:1': torch finds 1 CPU device, counted from 0"),
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


def test_missing_optional_modules_are_skipped_and_reported(suite, model):
    suite.test("sparse_attention").if_exists().tolerance(1e-4).expect(latency_ms=1)
    suite.test(getattr(model, "moe", None), name="moe").if_exists()
    suite.test("ffn").if_exists().profile(1, 2)
    result = suite.run()
    assert [case.status for case in result] == ["SKIP", "SKIP", "PASS"]
    assert result["sparse_attention"].verdicts[0].reason == "the model has no module 'sparse_attention'"


def test_a_module_that_the_model_never_calls_is_skipped_in_a_group_and_run_by_name(suite):
    suite.test_all_modules().matching("unused").profile(1, 2)
    suite.test("unused", name="alone").profile(1, 2)
    result = suite.run()
    assert (result["unused"].status, result["alone"].status) == ("SKIP", "PASS")
    assert result["alone"].trials[0].inputs_source == "synthesised"


def test_a_suite_with_every_kind_of_expectation(model):
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


def test_run_inside_the_block_runs_once_and_leaving_it_still_raises(model):
    with pytest.raises(SuiteFailed), TestSuite(model, seq_len=16, quiet=True) as suite:
        suite.test(model.norm).expect(memory_mb=0).profile(1, 3)
        result = suite.run()
        assert not result.passed
    assert suite.result is result


def test_auto_run_off_runs_nothing_and_an_empty_suite_is_an_error(model):
    with TestSuite(model, auto_run=False) as suite:
        suite.test(model.norm)
    assert suite.result is None
    with pytest.raises(SpecError, match="the suite has no tests"), TestSuite(model):
        pass


def test_strict_treats_inconclusive_as_failure(model):
    def result(strict):
        suite = TestSuite(model, seq_len=16, quiet=True, strict=strict)
        suite.test(model.norm).expect(latency_ms=1000).profile(1, 1)
        return suite.run()

    assert result(False)[0].status is Status.INCONCLUSIVE
    assert result(False).passed and not result(True).passed


def test_test_model_runs_a_suite_in_one_call(model):
    options = {"seq_len": 16, "quiet": True}
    result = test_model(model, {"attention.key_proj": {}}, options=options, ffn={"latency_ms": 1000.0}, norm={})
    assert [c.module_name for c in result] == ["attention.key_proj", "ffn", "norm"]
    assert all("tolerance 0.001" in {v.expectation for v in c.verdicts} for c in result)
    with pytest.raises(SuiteFailed):
        test_model(model, options=options, ffn={"memory_mb": 0})
    with pytest.raises(UnknownNameError):
        test_model(model, fnn={})


def test_backward_is_recorded_and_takes_gradients(suite, model):
    suite.test(model.ffn).backward().profile(1, 3)
    (case,) = suite.run()
    trace = kineto.read(case.trace_path)
    assert any("Backward" in name for name in trace.name_of(trace.ops))


def test_compiled_modules_keep_the_names_of_the_original_modules(model):
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


def test_a_limit_on_a_high_quantile_raises_the_number_of_iterations(suite, model):
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


def test_ops_that_only_one_side_runs_are_noted():
    module = nn.Sequential(nn.Linear(8, 8), nn.GELU())
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2)
    suite.test(module).input_shape((4, 8)).compare_with(lambda x: torch.tanh(module[0](x))).profile(1, 2)
    (case,) = suite.run()
    (note,) = [note for note in case.trials[0].notes if note.code is NoteCode.DIFFERS_FROM_REFERENCE]
    assert "ops against the reference: only in the module: aten::gelu" in note.text
    assert "only in the reference: aten::tanh" in note.text


def test_the_options_of_a_suite_are_read_only_attributes(model):
    suite = TestSuite(model, batch_size=2, seq_len=16, auto_run=False, quiet=True)
    assert (suite.model, suite.batch_size, suite.seq_len, suite.auto_run) == (model, 2, 16, False)
    assert suite.device == torch.device("cpu")
    assert suite.test(suite.model.attention).specs[0].name == "attention"
    assert TestSuite(model, quiet=True).seq_len == 2048
    with pytest.raises(AttributeError):
        suite.batch_size = 3


class LeaksEveryTenthCall(nn.Module):
    def __init__(self, calls: int) -> None:
        super().__init__()
        self.linear, self.calls, self.leaked = nn.Linear(8, 8), calls, []

    def forward(self, x):
        self.calls += 1
        if self.calls % 10 == 0:
            self.leaked.append(torch.ones(2**18))
        return self.linear(x)


@pytest.mark.parametrize("phase", [0, 3, 9])
def test_a_leak_in_every_tenth_call_fails_and_the_reason_counts_the_iterations(phase):
    suite = TestSuite(LeaksEveryTenthCall(phase), inputs=torch.ones(2, 8), quiet=True, seconds_per_case=0.1)
    suite.test(suite.model).no_leak()
    suite.test("linear").no_leak()
    leaking, clean = suite.run()
    assert (leaking.status, clean.status) == (Status.FAIL, Status.PASS)
    assert leaking.metrics["leak_mb"] == pytest.approx(0.1, rel=0.55)
    assert "leak_mb is 0 MB" in clean.verdicts[-1].reason and "(over 30 iterations)" in clean.verdicts[-1].reason


def test_a_progress_line_shows_the_status_after_the_comparison_with_the_baseline(model, in_empty_folder, capsys):
    def suite(**options):
        gate = TestSuite(model, seq_len=16, name="gate", seconds_per_case=0.1, **options)
        gate.test("norm").profile(1, 12)
        return gate

    quiet = suite(quiet=True)
    quiet.run()
    saved = quiet.save_baseline("base.json")
    text = saved.read_text(encoding="utf-8")
    renamed = text.replace('"name": "memory_mb"', '"name": "renamed_memory_mb"')
    saved.write_text(renamed, encoding="utf-8")
    result = suite(baseline="base.json").run()
    assert result["norm"].status is Status.ERROR, "a metric of the baseline is missing"
    first, line, *_ = capsys.readouterr().out.splitlines()
    assert (first, line.split()) == ("gate: 1 case", ["ERROR", "norm"])


def test_tests_registered_after_a_run_run_on_leaving(model):
    with pytest.raises(SuiteFailed), TestSuite(model, seq_len=16, quiet=True) as suite:
        suite.test(model.ffn).profile(1, 2)
        assert suite.run().passed
        suite.test(model.norm).expect(memory_mb=0).profile(1, 3)
    assert [case.status for case in suite.result] == ["PASS", "FAIL"]


def test_runs_never_share_a_folder_and_names_never_leave_it(model, in_empty_folder):
    def run_dir(name):
        suite = TestSuite(model, seq_len=4, quiet=True, name=name)
        suite.test(model.norm, name="../../x\0" + "y" * 300).profile(1, 2)
        result = suite.run()
        assert result.passed, result[0].errors
        return result.run_dir

    folders = {run_dir("gate") for _ in range(3)} | {run_dir("../esc/ape\n")}
    assert len(folders) == 4
    assert {p.name for p in in_empty_folder.iterdir()} == {"traces"}
    assert len(list((in_empty_folder / "traces").glob("*/result.json"))) == 4


def test_a_trace_dir_that_is_a_file_is_an_error(model, in_empty_folder):
    (in_empty_folder / "file").touch()
    suite = TestSuite(model, trace_dir="file", quiet=True)
    suite.test(model.norm)
    with pytest.raises(SpecError, match="trace_dir='file'"):
        suite.run()


def test_submodules_of_a_compiled_model_are_tested_by_name(model):
    compiled = torch.compile(model, backend="eager")
    compiled(torch.zeros(1, 4, dtype=torch.int64))
    suite = TestSuite(compiled, seq_len=8, quiet=True)
    suite.test_all_modules().matching("attention*").tolerance(1e-4).profile(1, 2)
    result = suite.run()
    assert {case.status for case in result} == {Status.PASS}
    assert {case.trials[0].inputs_source for case in result} == {"captured"}


def test_a_trial_reports_how_it_was_timed():
    module = nn.Linear(8, 8)
    (fixed,) = run_case(module, lambda case: case.compare_with(lambda x: module(x))).trials
    assert (fixed.interleaved, fixed.stopped) == (2, "the iterations are fixed by .profile")
    suite = TestSuite(module, quiet=True, seconds_per_case=5)
    suite.test(module).input_shape((2, 8))
    ((free,),) = (case.trials for case in suite.run())
    assert (free.interleaved, free.stopped, free.iterations) == (1, "every verdict is decided", 30)
