"""What is tested is what the model runs: the inputs of real models, their calls, and modules that can't be tested."""

from __future__ import annotations

import copy
import gzip
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from whole_model import check, metric, notes, run

from ttprof import Status
from ttprof.codes import NoteCode

PASS, FAIL, ERROR = Status.PASS, Status.FAIL, Status.ERROR


class SelfAttention(nn.Module):
    """Query, key and value are one tensor in the model."""

    def __init__(self, pad=None):
        super().__init__()
        self.mha, self.pad = nn.MultiheadAttention(8, 2, batch_first=True), pad

    def forward(self, x):
        return self.mha(x, x, x, key_padding_mask=self.pad, need_weights=False)[0].nan_to_num()


class AsksForIdentity(nn.Module):
    """Gives another result if its two arguments are one tensor, as fast paths do."""

    def forward(self, a, b):
        return a * 2 if a is b else a * 3


class PassesTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = AsksForIdentity()

    def forward(self, x):
        y = x + 1
        return self.inner(y, y)


def test_one_tensor_passed_twice_stays_one_in_every_pass_and_on_both_sides():
    calls = []
    model = PassesTwice()
    model.inner.register_forward_pre_hook(lambda module, args: calls.append(args[0] is args[1]))
    case = check(model, torch.ones(2, 3), lambda c: c.compare_with(lambda a, b: a * 2), model.inner)
    assert case.status is PASS, case.errors
    assert len(calls) > 5 and all(calls)
    assert check(model, torch.ones(2, 3), lambda c: c.compare_with(lambda a, b: a * 3), model.inner).status is FAIL


def test_a_module_that_returns_nan_only_for_shared_query_key_and_value_fails():
    model = SelfAttention(torch.tensor([[True] * 3])).eval()  # every key is masked: the fast path returns NaN
    with torch.no_grad():
        x = torch.ones(1, 3, 8)
        assert model.mha(x, x, x, key_padding_mask=model.pad, need_weights=False)[0].isnan().any()
    assert check(model, x, target=model.mha).status is FAIL


def test_the_fast_path_for_shared_query_key_and_value_is_recorded():
    model = SelfAttention().eval()
    case = check(model, torch.ones(2, 4, 8), target=model.mha)
    trace = gzip.decompress(Path(case.trials[0].trace_path).read_bytes())
    assert b"aten::_native_multi_head_attention" in trace


@dataclass
class Batch:
    x: torch.Tensor
    steps: int = 1


class AddsInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, batch):
        batch.x += 1
        return self.linear(batch.x)


def test_the_users_dataclass_is_not_changed_and_every_call_starts_from_it():
    batch, model = Batch(torch.zeros(2, 4)), AddsInPlace()
    case = check(model, (batch,), lambda c: c.compare_with(copy.deepcopy(model)).tolerance(1e-5))
    assert case.status is PASS, case.errors
    assert batch.x.tolist() == [[0.0] * 4] * 2
    assert NoteCode.INPUTS_CHANGED_IN_PLACE in notes(case)
    assert "x=2x4 float32" in case.trials[0].inputs


class Repeats(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)

    def forward(self, x, steps):
        for _ in range(steps if isinstance(steps, int) else steps.steps):
            x = self.linear(x)
        return x


@pytest.mark.parametrize("wrap", [int, lambda steps: Batch(torch.ones(1), steps)], ids=["number", "dataclass"])
def test_a_sweep_over_a_value_that_is_no_tensor_runs(wrap):
    case = check(
        Repeats(),
        None,
        lambda c: (
            c.input_factory(lambda steps: (torch.ones(2, 4), wrap(steps)))
            .with_sweep(steps=[2, 4, 8, 16])
            .expect_scaling("linear", metric="flops")
        ),
    )
    assert case.status is PASS, case.errors


class InPlaceReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(x - 1)


def test_inputs_that_a_module_changes_in_place_are_restored_before_each_call():
    firsts = []
    model = InPlaceReLU()
    model.act.register_forward_pre_hook(lambda module, args: firsts.append(float(args[0][0, 0])))
    assert check(model, torch.zeros(2, 4), lambda c: c.tolerance(1e-6), model.act).status is PASS
    assert set(firsts) == {-1.0}


class WritesThenReads(nn.Module):
    def forward(self, tail, whole):
        tail.mul_(10)
        return whole.sum(0)


class ReadsThenWrites(nn.Module):
    def forward(self, tail, whole):
        total = whole.sum(0)
        tail.mul_(10)
        return total


class PassesAView(nn.Module):
    """A view and its base: a write to one is a write to the other."""

    def __init__(self):
        super().__init__()
        self.inner = WritesThenReads()

    def forward(self, x):
        y = x.clone()
        return self.inner(y[2:], y)


def test_views_of_one_tensor_share_its_memory_in_the_test_too():
    model, x = PassesAView(), torch.ones(3, 2)
    right = check(model, x, lambda c: c.compare_with(lambda tail, whole: tail.mul_(10)[0] + 2), model.inner)
    assert right.status is PASS, right.errors  # 1 + 1 + 10
    assert check(model, x, lambda c: c.compare_with(ReadsThenWrites()), model.inner).status is FAIL


def test_a_strided_input_keeps_its_strides():
    class Transposes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(x.t())

    strides = set()
    model = Transposes()
    model.inner.register_forward_pre_hook(lambda module, args: strides.add(args[0].stride()))
    assert check(model, torch.ones(2, 3), lambda c: c.tolerance(1e-6), model.inner).status is PASS
    assert strides == {(1, 3)}


def test_inputs_that_cannot_be_copied_are_an_error_that_names_them():
    class Sink:
        def __deepcopy__(self, memo):
            raise TypeError("one sink only")

    class Takes(nn.Module):
        def forward(self, x, sink):
            return x * 2

    case = check(Takes(), (torch.ones(2), Sink()))
    assert case.status is ERROR
    assert (
        "the inputs can't be copied" in case.errors[0] and "a Sink, raised TypeError: one sink only" in case.errors[0]
    )


class Tokens(nn.Module):
    """Positions end at *limit*."""

    def __init__(self, limit=32):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 8), nn.Embedding(limit, 8)
        self.head = nn.Linear(8, 50)

    def forward(self, input_ids):
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1]))
        return self.head(x)


def test_an_explicit_length_is_tested_or_an_error_with_the_real_exception():
    case = check(Tokens(), None, target="head", seq_len=32, batch_size=3)
    assert case.status is PASS and case.trials[0].inputs == "3x32x8 float32"
    for target in ("head", None):  # the model itself, too
        longer = check(Tokens(), None, target=target, seq_len=64, batch_size=3)
        assert longer.status is ERROR and "index out of range" in longer.errors[0]


def test_a_default_length_may_be_shortened_with_a_note():
    case = check(Tokens(), None, target="head")
    assert case.status is PASS and case.trials[0].inputs == "1x32x8 float32"
    assert NoteCode.SEQ_LEN_SHORTENED in notes(case)


def test_a_guess_is_said_in_the_line_of_the_verdict():
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 2)})
    model.forward = lambda x: model["used"](x)
    (case,) = run(model, torch.ones(2, 4), lambda s: s.test("unused", name="x").profile(1, 2))
    assert case.trials[0].inputs_source == "synthesised" and NoteCode.INPUTS_GUESSED in notes(case)
    assert case.verdicts[0].reason.endswith("; the inputs are a guess")


def test_nested_tensors_run_in_all_passes():
    x = torch.nested.nested_tensor([torch.ones(5, 8), torch.ones(3, 8)], layout=torch.jagged)
    model = nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4))
    cases = run(model, (x,), lambda s: s.test_all_modules().tolerance(1e-4).profile(1, 2))
    assert [case.status for case in cases] == [PASS, PASS], [case.errors for case in cases]
    assert metric(cases[0], "flops") == 2 * 8 * 8 * 4


@pytest.mark.parametrize(("factor", "held"), [(0, "NaN"), (1, "Inf")])
def test_an_input_that_is_not_finite_already_is_not_the_modules_fault(factor, held):
    class Spoils(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x / 0 * factor).nan_to_num()

    case = check(Spoils(), torch.ones(1, 2), target="linear")
    assert case.status is FAIL and f"; its input already holds {held}" in case.errors[0]


class Steps(nn.Module):
    """Calls its inner module with three sizes, one of them twice; the last call overflows."""

    def __init__(self, last=1.0):
        super().__init__()
        self.inner, self.last = nn.Softplus(), last

    def forward(self, x):
        sums = [self.inner(x[:n]).sum() for n in (1, 2, 1)]
        return sum(sums) + self.inner(x * self.last).nan_to_num(0, 0, 0).sum()


def test_a_module_that_is_called_several_times_says_so():
    case = check(Steps(), torch.ones(3, 2), target="inner")
    (note,) = [n for n in case.trials[0].notes if n.code is NoteCode.SEVERAL_CALLS]
    assert note.text == "called 4 times in one forward of the model; this is call 0"
    assert NoteCode.SEVERAL_CALLS not in notes(check(Tokens(), None, target="head", seq_len=8))


def test_every_call_tests_each_distinct_signature():
    case = check(Steps(torch.inf), torch.ones(3, 2), lambda c: c.every_call(), "inner")
    assert [dict(trial.point) for trial in case.trials] == [{"call": 0}, {"call": 1}, {"call": 3}]
    assert [trial.inputs for trial in case.trials] == ["1x2 float32", "2x2 float32", "3x2 float32"]
    assert case.status is FAIL and "call=3" in case.errors[0]
    assert check(Steps(torch.inf), torch.ones(3, 2), target="inner").status is PASS


def test_a_module_that_is_run_by_its_forward_is_captured():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            return self.linear.forward(x)

    cases = run(Direct(), torch.ones(3, 4), lambda s: s.test_all_modules().profile(1, 2))
    (case,) = [case for case in cases if case.module_name == "linear"]
    assert case.status is PASS and case.trials[0].inputs == "3x4 float32"
    assert NoteCode.FORWARD_CALLED_DIRECTLY in notes(case)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda: nn.LazyLinear(4), "uninitialised parameters: run the model once"),
        (lambda: nn.LazyBatchNorm1d(), "uninitialised parameters: run the model once"),
        (lambda: nn.Linear(4, 4, device="meta"), "on the meta device, without data"),
    ],
    ids=["lazy parameter", "lazy buffer", "meta"],
)
def test_a_module_without_data_is_an_error_of_its_own_cases_only(broken, reason):
    fine = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), broken())
    cases = run(
        model, torch.ones(8, 4), lambda s: (s.test("1", name="x"), s.test(fine, name="fine").input_shape((2, 4)))
    )
    assert cases[0].status is ERROR and reason in cases[0].errors[0]
    assert len(cases) == 2 and cases[1].module_name == "fine"


def test_modules_before_a_lazy_one_are_tested_and_it_stays_lazy():
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3), nn.ReLU())
    cases = run(model, torch.ones(8, 4), lambda s: s.test_all_modules().profile(1, 2))
    assert [case.status for case in cases] == [PASS, ERROR, PASS], [case.errors for case in cases]
    assert nn.parameter.is_lazy(model[1].weight)


def test_a_frozen_scripted_module_runs_beside_others():
    frozen = torch.jit.freeze(torch.jit.script(nn.Linear(4, 4).eval()))
    model = nn.Sequential(nn.Linear(4, 4), frozen)
    cases = run(model, torch.ones(2, 4), lambda s: s.test_all_modules().profile(1, 2))
    assert cases[0].status is PASS
    assert all(case.status in (PASS, ERROR) for case in cases)
    assert model[1] is frozen


def test_an_output_of_a_registered_type_without_keys_is_opened():
    class Out(dict):
        """As diffusers.utils.BaseOutput is registered."""

    torch.utils._pytree.register_pytree_node(
        Out, lambda o: (list(o.values()), list(o)), lambda v, k: Out(zip(k, v, strict=True))
    )

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return Out(sample=self.linear(x))

    assert check(Model(), torch.randn(2, 4), lambda c: c.tolerance(1e-4).backward()).status is PASS


class CallsTwiceIfLong(nn.Module):
    """Calls ``part`` on its rows, and once more on their products if there are many."""

    def __init__(self):
        super().__init__()
        self.part = nn.Linear(4, 4)

    def forward(self, x):
        y = self.part(x)
        return y.sum() + self.part(x.repeat(1, x.shape[1], 1)).sum() if x.shape[1] > 4 else y.sum()


def test_every_call_sees_calls_that_only_some_sizes_make():
    model = CallsTwiceIfLong()
    change = lambda c: c.every_call().with_seq_lengths([4, 8])  # noqa: E731
    case = check(model, lambda seq_len: torch.ones(1, seq_len, 4), change, model.part)
    points = [{"seq_len": 4, "call": 0}, {"seq_len": 8, "call": 0}, {"seq_len": 8, "call": 1}]
    assert [dict(trial.point) for trial in case.trials] == points
    assert case.trials[-1].inputs == "1x64x4 float32"


def test_a_scaling_of_several_kinds_of_call_is_an_error():
    model = CallsTwiceIfLong()
    change = lambda c: c.every_call().with_seq_lengths([8, 16, 32]).expect_scaling("linear", metric="flops")  # noqa: E731
    case = check(model, lambda seq_len: torch.ones(1, seq_len, 4), change, model.part)
    assert case.status is Status.ERROR
    assert case.errors == ["the model calls it in several ways, and a scaling is of one: choose it by .call(k)"]


def test_a_scaling_says_at_which_size_of_the_other_axis_it_was_judged():
    def change(case):
        sweeps = case.with_batch_sizes([1, 3]).with_seq_lengths([8, 16, 32])
        return sweeps.expect_scaling("linear", over="seq_len", metric="flops")

    inputs = lambda batch_size, seq_len: torch.ones(batch_size, seq_len, 4)  # noqa: E731
    case = check(nn.Linear(4, 4), inputs, change)
    assert case.status is Status.PASS, case.errors
    (reason,) = (v.reason for v in case.verdicts if v.kind == "scaling")
    assert reason.endswith("; judged only at batch_size=3")
