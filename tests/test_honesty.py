"""What fresh eyes found: things that must not pass, and things that must not fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_models import Block
from torch import nn

from ttprof import Status, SuiteFailed, TestSuite, load
from ttprof.errors import SpecError, UnknownNameError


def spec(builder):
    (found,) = builder.specs
    return found


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("kernel exploded")


def test_tests_registered_after_a_run_are_run_on_leaving(model):
    with pytest.raises(SuiteFailed), TestSuite(model, seq_len=16, quiet=True) as suite:
        suite.test(model.ffn).profile(1, 2)
        assert suite.run().passed
        suite.test(model.norm).expect(memory_mb=0).profile(1, 3)
    assert [case.status for case in suite.result] == ["PASS", "FAIL"]


def test_groups_select_by_path_whatever_else_is_registered(suite):
    suite.test("attention.key_proj").tolerance(1e-3)
    group = suite.test_all_modules().matching("attention.*_proj", exclude="attention.key_proj")
    assert [s.path for s in group.specs] == ["attention.query_proj", "attention.value_proj", "attention.out_proj"]


def test_a_misspelt_name_beside_an_optional_one_is_still_an_error(suite):
    with pytest.raises(UnknownNameError):
        [suite.test("atention"), suite.test("moe").if_exists()]


def test_given_inputs_that_do_not_fit_the_model_are_an_error_not_a_guess(model):
    suite = TestSuite(model, inputs=torch.full((1, 4), 10**6), quiet=True)
    suite.test(model.ffn).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "the model does not run with TestSuite(inputs=...)" in case.errors[0]


def test_guessed_inputs_of_a_model_that_does_not_run_are_noted():
    model = nn.Sequential(nn.Linear(8, 8), Raises(), nn.Linear(8, 4))
    suite = TestSuite(model, seq_len=4, quiet=True)
    suite.test("2").profile(1, 2)
    (case,) = suite.run()
    assert "the inputs are a guess, because the model itself does not run" in case.trials[0].notes[0].text
    assert "kernel exploded" in case.trials[0].notes[0].text


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


class Odd(nn.Module):
    """Returns whatever it is told to."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@dataclass
class Output:
    hidden: torch.Tensor
    count: int = 3


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda x: Output(x), "PASS"),
        (lambda x: Output(x * math.nan), "FAIL"),
        (lambda x: (x, math.nan), "FAIL"),
        (lambda x: (x, np.array([1.0, np.inf])), "FAIL"),
        (lambda x: x.to(torch.float8_e4m3fn), "PASS"),
        (lambda x: x.to_sparse(), "PASS"),
        (lambda x: torch.nested.nested_tensor([x, x * 2], layout=torch.jagged), "PASS"),
        (lambda x: {"ids": x > 0, "none": None}, "PASS"),
        (lambda x: float(x.sum()), "PASS"),
        (lambda x: [], "ERROR"),
    ],
    ids=["dataclass", "nan in it", "nan float", "inf array", "float8", "sparse", "nested", "bools", "float", "empty"],
)
def test_outputs_of_every_kind(suite, make, status):
    suite.test(Odd(make)).inputs(torch.ones(2, 3)).profile(1, 2)
    (case,) = suite.run()
    assert case.status == status, case.verdicts


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (lambda x: x, lambda x: x, "PASS"),
        (lambda x: torch.zeros(3, dtype=torch.int64), lambda x: torch.full((3,), 0.9), "FAIL"),
        (lambda x: x > 0, lambda x: 2.0 * (x > 0), "FAIL"),
        (lambda x: x, lambda x: torch.complex(x, x), "FAIL"),
        (lambda x: x[:0], lambda x: x[:0], "ERROR"),
        (lambda x: -x, lambda x: x + torch.randn_like(x), "FAIL"),
        (lambda x: x * 0, lambda x: (x + 1e9) - 1e9, "ERROR"),
        (lambda x: x, lambda x: (x + 1e9) - 1e9, "PASS"),
    ],
    ids=[
        "same",
        "int",
        "bool",
        "complex",
        "nothing",
        "random",
        "imprecise reference",
        "right beside an imprecise reference",
    ],
)
def test_comparisons_that_prove_nothing_do_not_pass(suite, ours, theirs, status):
    suite.test(Odd(ours)).inputs(torch.rand(3)).compare_with(Odd(theirs)).profile(1, 2)
    (case,) = suite.run()
    if status == "FAIL":
        assert case.status in ("FAIL", "ERROR")
    else:
        assert case.status == status, case.verdicts


def test_an_all_nan_output_compares_nothing_even_where_it_is_allowed(suite):
    case = suite.test(Odd(lambda x: x * math.nan)).inputs(torch.rand(3)).allow_nonfinite().tolerance(1e-3)
    case.profile(1, 2)
    (found,) = suite.run()
    assert found.status is Status.ERROR
    assert "contains no values to compare" in " ".join(found.errors)


class Counter(nn.Module):
    """Changes a buffer in each forward, and goes bad after some of them."""

    def __init__(self, good_for=10**9):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.good_for, self.count = good_for, 0

    def forward(self, x):
        self.calls.add_(1)
        self.count += 1
        return x * self.calls * (math.nan if self.count > self.good_for else 1)


def test_state_in_buffers_starts_alike_on_both_sides(suite):
    suite.test(Counter()).inputs(torch.rand(3)).tolerance(1e-5).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors


def test_an_output_that_goes_bad_later_is_a_failure(suite):
    suite.test(Counter(good_for=5)).inputs(torch.rand(3)).profile(2, 8)
    (case,) = suite.run()
    assert case.status is Status.FAIL
    assert "after the timed iterations, output has 3 NaN" in case.errors[0]


def test_backward_through_in_place_modules(suite):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(inplace=True))
    suite.test(net).inputs(torch.randn(2, 4)).backward().tolerance(1e-4).profile(1, 2)
    suite.test(nn.ReLU(inplace=True)).inputs(torch.randn(2, 4)).backward().profile(1, 2)
    first, second = suite.run()
    assert (first.status, second.status) == ("PASS", "PASS"), (first.errors, second.errors)
    assert "gradients" in [verdict.expectation for verdict in first.verdicts]


class Doubling(nn.Module):
    """Right, but it changes its input in place."""

    def forward(self, x):
        return x.mul_(2)


def test_every_iteration_of_an_in_place_module_sees_the_inputs_that_were_captured(suite):
    seen = []

    class Watching(Doubling):
        def forward(self, x):
            seen.append(float(x[0]))
            return super().forward(x)

    suite.test(Watching()).inputs(torch.ones(3)).tolerance(1e-5).profile(2, 5)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors
    assert set(seen) == {1.0}
    assert "changes its inputs in place" in case.trials[0].notes[0].text


class Rotary(nn.Module):
    """Rotary positions as the original Llama has them, in a complex buffer."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(8, 8)
        angles = torch.outer(torch.arange(16.0), torch.tensor([1.0, 0.1, 0.01, 0.001]))
        self.register_buffer("turns", torch.polar(torch.ones(16, 4), angles))

    def forward(self, x):
        pairs = torch.view_as_complex(self.proj(x).float().unflatten(-1, (4, 2)))
        return torch.view_as_real(pairs * self.turns).flatten(-2).to(x.dtype)


class Unrotated(Rotary):
    def forward(self, x):
        return self.proj(x)


def test_complex_buffers_keep_their_imaginary_part_in_every_dtype(suite):
    suite.test(Rotary(), name="float32").inputs(torch.randn(2, 16, 8)).tolerance(1e-5).profile(1, 2)
    suite.test(Rotary(), name="bfloat16").inputs(torch.randn(2, 16, 8)).dtype(torch.bfloat16).tolerance(1e-2).profile(
        1, 2
    )
    wrong = Unrotated()
    right = Rotary()
    right.load_state_dict(wrong.state_dict())
    case = suite.test(wrong, name="wrong").inputs(torch.randn(2, 16, 8)).dtype(torch.bfloat16).compare_with(right)
    case.profile(1, 2)
    assert [c.status for c in suite.run()] == ["PASS", "PASS", "FAIL"]


def test_the_floor_of_a_dtype_holds_for_modules_without_parameters_too():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Softmax(-1)).bfloat16()
    suite = TestSuite(model, seq_len=64, quiet=True)
    suite.test_all_modules().tolerance(1e-3).profile(1, 2)
    suite.test("1", name="by hand").compare_with(lambda x: x * 0.5 * (1 + torch.erf(x * 0.5**0.5))).profile(1, 2)
    suite.test("1", name="strict").tolerance(1e-4, strict=True).profile(1, 2)
    assert [case.status for case in suite.run()] == ["PASS", "PASS", "PASS", "PASS", "FAIL"]


def test_buffers_start_alike_in_the_reference_at_every_point():
    class Count(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.proj(x) * self.calls

    ours, theirs = Count(), Count()
    theirs.load_state_dict(ours.state_dict())
    suite = TestSuite(ours, seq_len=8, quiet=True)
    suite.test(ours).with_seq_lengths([8, 16, 32]).compare_with(theirs).profile(1, 2)
    suite.test(ours.proj).profile(1, 2)
    suite.test(ours, name="again").compare_with(theirs).profile(1, 2)
    result = suite.run()
    assert result.passed, [case.errors for case in result]
    assert ours.calls == theirs.calls == 0


def test_sparse_buffers_are_left_as_found():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("adjacency", torch.eye(8).to_sparse())
            self.proj = nn.Linear(8, 8)

        def forward(self, x):
            return torch.sparse.mm(self.adjacency, self.proj(x))

    model = Graph()
    suite = TestSuite(model, inputs=torch.randn(8, 8), quiet=True)
    suite.test("proj").tolerance(1e-4).profile(1, 2)
    suite.test(model).profile(1, 2)
    assert suite.run().passed
    assert torch.equal(model.adjacency.to_dense(), torch.eye(8))


def test_a_compiled_model_shows_its_submodules(model):
    compiled = torch.compile(model, backend="eager")
    compiled(torch.zeros(1, 4, dtype=torch.int64))
    suite = TestSuite(compiled, seq_len=8, quiet=True)
    suite.test_all_modules().matching("attention*").tolerance(1e-4).profile(1, 2)
    result = suite.run()
    assert {case.status for case in result} == {Status.PASS}
    assert {case.trials[0].inputs_source for case in result} == {"captured"}


def test_a_float64_module_does_not_pass_against_itself():
    suite = TestSuite(Block().double(), seq_len=8, quiet=True)
    suite.test("ffn").tolerance(1e-3).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("calls", "statuses"), [(3, ["ERROR"] * 3), (60, ["PASS", "ERROR", "ERROR"])], ids=["pass 1", "pass 2"]
)
def test_an_interrupt_keeps_what_was_measured(suite, model, in_empty_folder, calls, statuses):
    """Ctrl-C in the second of three cases, while it is timed or while it is recorded."""

    class Interrupted(nn.Module):
        count = 0

        def forward(self, x):
            self.count += 1
            if self.count > calls:
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


def test_an_error_inside_ttprof_itself_ends_one_case_only(suite, model, monkeypatch):
    from ttprof.judge import limits

    judge = limits.judge
    monkeypatch.setattr(limits, "judge", lambda limit, o: 1 / 0 if limit.bound == 7 else judge(limit, o))
    suite.test(model.ffn).expect(memory_mb=7).profile(1, 3)
    suite.test(model.norm).expect(memory_mb=8).profile(1, 3)
    first, second = suite.run()
    assert (first.status, second.status) == ("ERROR", "PASS")
    assert "ffn raised ZeroDivisionError" in first.errors[0]


@pytest.mark.parametrize("seq_len", [1, 2, 3])
def test_a_default_sweep_that_is_too_short_is_an_error(model, seq_len):
    suite = TestSuite(model, seq_len=seq_len, quiet=True)
    suite.test(model.ffn).expect_scaling("linear")
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "at least 3 sizes of seq_len over a range of 4x" in case.errors[0]


def test_the_axis_of_a_scaling_is_the_one_that_is_swept_in_any_order(suite, model):
    first = suite.test(model.ffn).expect_scaling("linear").with_batch_sizes([1, 2, 4])
    second = suite.test(model.ffn).with_batch_sizes([1, 2, 4]).expect_scaling("linear")
    assert spec(first).scaling_axis == spec(second).scaling_axis == "batch_size"
