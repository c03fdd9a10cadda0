"""One forward of the model captures the inputs of all wanted calls, as the model passes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import infer
from ttprof.plan.capture import EVAL, Captured, ForwardMode, capture
from ttprof.plan.infer import ModelInputs, of_target
from ttprof.plan.inputs import Inputs, Size

SIZE = Size(2, 4)


FORWARDS: list[int] = []


class Counting(nn.Module):
    """Counts its forwards in a list that is not restored."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)

    def forward(self, x):
        FORWARDS.append(1)
        return self.act(self.second(self.act(self.first(x)) + 1))


@pytest.fixture
def forwards():
    FORWARDS.clear()
    return FORWARDS


def captured(model: nn.Module, wanted: dict[nn.Module, set[int]], *args, **options) -> Captured:
    return capture(model, Inputs("given", args or (torch.ones(2, 4),)), wanted, budget=2**20, **options)


def test_one_forward_captures_all_wanted_calls(forwards):
    model = Counting()
    nn.init.eye_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    result = captured(model, {model.first: {0}, model.act: {0, 1}, model.second: {0}})
    assert len(forwards) == 1 and result.error is None and not result.direct
    assert result.calls == {model.first: 1, model.act: 2, model.second: 1}
    assert result.inputs.keys() == {(model.first, 0), (model.act, 0), (model.act, 1), (model.second, 0)}
    assert torch.equal(result.inputs[model.second, 0].inputs_on_device().args[0], torch.full((2, 4), 2.0))


def test_a_suite_runs_the_model_once_for_all_modules_and_both_passes(forwards):
    model = Counting()
    wanted = {(SIZE, EVAL): {model.first: {0}, model.act: {0}, model.second: {0}}}
    source = ModelInputs(model, torch.device("cpu"), torch.ones(2, 4), wanted)
    for _ in range(2):
        for module in (model.first, model.act, model.second):
            assert of_target(module, source, SIZE).source == "captured"
    assert len(forwards) == 1


def test_beyond_the_budget_modules_are_captured_one_by_one(forwards, monkeypatch):
    monkeypatch.setattr(infer, "BUDGET_BYTES", 40)  # the inputs of one module take 2 * 4 * 4 = 32 bytes
    model = Counting()
    wanted = {(SIZE, EVAL): {model.first: {0}, model.act: {0}, model.second: {0}}}
    source = ModelInputs(model, torch.device("cpu"), torch.ones(2, 4), wanted)
    inputs = [of_target(module, source, SIZE) for module in (model.first, model.act, model.second)]
    assert [i.source for i in inputs] == ["captured"] * 3 and [i.shapes() for i in inputs] == [[(2, 4)]] * 3
    assert 1 < len(forwards) <= 3


def test_the_wanted_module_is_captured_whatever_its_size():
    model = Counting()
    result = capture(model, Inputs("given", (torch.ones(2, 4),)), {model.first: {0}, model.act: {0}}, model.act)
    assert list(result.inputs) == [(model.act, 0)] and result.calls[model.first] == 1


def test_inputs_are_what_they_were_when_the_call_began():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.act(x - 1)
            return y.add_(100)

    model = InPlace()
    x = torch.zeros(2, 4)
    (kept,) = captured(model, {model.act: {0}}, x).inputs.values()
    assert kept.inputs_on_device().args[0].tolist() == [[-1.0] * 4] * 2
    assert x.tolist() == [[0.0] * 4] * 2


def test_each_use_of_a_capture_gets_a_fresh_copy():
    model = Counting()
    (kept,) = captured(model, {model.first: {0}}).inputs.values()
    kept.inputs_on_device().args[0].zero_()
    assert kept.inputs_on_device().args[0].tolist() == [[1.0] * 4] * 2


def test_query_key_and_value_are_captured_as_one_tensor():
    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, x):
            return self.mha(x, x, value=x, need_weights=False)[0]

    model = SelfAttention()
    source = ModelInputs(model, torch.device("cpu"), torch.ones(1, 3, 4))
    inputs = of_target(model.mha, source, SIZE)
    assert inputs.args[0] is inputs.args[1] is inputs.kwargs["value"]
    again = inputs.cloned()
    assert again.args[0] is again.args[1] is again.kwargs["value"]


def test_a_forward_that_is_run_directly_is_captured_and_noted():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            return self.linear.forward(x)

    model = Direct()
    inputs = of_target(model.linear, ModelInputs(model, torch.device("cpu"), torch.ones(2, 4)), SIZE)
    assert inputs.source == "captured" and inputs.shapes() == [(2, 4)]
    assert [note.code for note in inputs.notes] == ["forward-called-directly"]
    assert "forward" not in vars(model.linear)


def test_calls_by_both_ways_are_counted_once_each():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear.forward(self.linear(x))

    model = Both()
    result = captured(model, {model.linear: {0, 1}})
    assert result.calls == {model.linear: 2} and result.direct == {(model.linear, 1)}


def test_a_pre_hook_of_the_users_that_changes_the_arguments_does_so_once():
    """The hook belongs to the module, so it changes the captured inputs again in the test: they are those before it."""
    model = Counting()
    model.first.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    (kept,) = captured(model, {model.first: {0}}).inputs.values()
    assert kept.inputs_on_device().args[0].tolist() == [[1.0] * 4] * 2
    assert len(model.first._forward_pre_hooks) == 1


def test_what_a_forward_calls_before_it_raises_is_kept():
    class Breaks(Counting):
        def forward(self, x):
            raise RuntimeError(f"no head for {self.first(x).shape[1]} columns")

    model = Breaks()
    result = captured(model, {model.first: {0}, model.second: {0}})
    assert (model.first, 0) in result.inputs and "no head for 4 columns" in str(result.error)
    source = ModelInputs(model, torch.device("cpu"), torch.ones(2, 4))
    assert of_target(model.first, source, SIZE).source == "captured"
    with pytest.raises(InputsError, match=r"does not run with TestSuite\(inputs=\.\.\.\).*no head for 4 columns"):
        of_target(model.second, source, SIZE)


def test_with_gradients_inputs_require_them_as_in_training():
    model = Counting()
    result = captured(model, {model.first: {0}, model.second: {0}}, mode=ForwardMode(grad=True))
    assert not result.inputs[model.first, 0].inputs_on_device().args[0].requires_grad
    assert result.inputs[model.second, 0].inputs_on_device().args[0].requires_grad
    model.first.requires_grad_(False)
    frozen = captured(model, {model.second: {0}}, mode=ForwardMode(grad=True))
    assert not frozen.inputs[model.second, 0].inputs_on_device().args[0].requires_grad


def test_a_lazy_module_is_captured_and_stays_lazy():
    model = nn.Sequential(nn.Linear(4, 3), nn.LazyLinear(2), nn.ReLU())
    result = captured(model, {model[0]: {0}, model[2]: {0}})
    assert result.error is None
    assert result.inputs[model[2], 0].inputs_on_device().shapes() == [(2, 2)]
    assert nn.parameter.is_lazy(model[1].weight) and type(model[1]) is nn.LazyLinear


def test_a_scripted_module_is_captured_and_put_back():
    scripted = torch.jit.script(nn.Linear(4, 3))
    model = nn.Sequential(nn.ReLU(), scripted)
    (kept,) = captured(model, {scripted: {0}}).inputs.values()
    assert kept.inputs_on_device().shapes() == [(2, 4)] and model[1] is scripted


class Scale(nn.Module):
    def forward(self, x, factor=1):
        return x * factor


class Steps(nn.Module):
    """Calls its inner module with other values, sizes and strides."""

    def __init__(self):
        super().__init__()
        self.inner = Scale()

    def forward(self, x):
        y = self.inner(self.inner(x)).sum() + self.inner(x, 1).sum() + self.inner(x, 2).sum()
        return y + self.inner(x[:1]).sum() + self.inner(x.t()).sum()


def test_calls_with_other_arguments_have_another_signature():
    model = Steps()
    first, second, *others = captured(model, {model.inner: set()}, torch.ones(2, 2)).signatures[model.inner]
    assert first == second and len({first, *others}) == 1 + len(others) == 5


def test_no_hook_and_no_mode_is_left_behind():
    model = Counting().train()
    captured(model, {module: {0} for module in model.modules()})
    assert all(m.training and not m._forward_pre_hooks and "forward" not in vars(m) for m in model.modules())
