"""The outcome of a forward: its output, and the inputs and buffers that it changes; and calls that start alike."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from ttprof.errors import InputsError, ModuleRaised
from ttprof.plan.inputs import Inputs
from ttprof.run.casts import in_dtype
from ttprof.run.gradients import Backward
from ttprof.run.outputs import default_reference, forward_once, given_reference
from ttprof.run.workload import Changes, changed_values, changes_of, forward_call, training_call


@dataclass
class Batch:
    x: torch.Tensor


class Cache:
    """A key-value cache like those of Hugging Face: it replaces its tensors by longer ones."""

    def __init__(self) -> None:
        self.keys = torch.zeros(1, 2)

    def update(self, row):
        self.keys = torch.cat([self.keys, row])
        return self.keys


class Act(nn.Module):
    """Runs *act* on its arguments."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    def forward(self, *args, **kwargs):
        return self.act(*args, **kwargs)


def outcome_of(act, *args, **kwargs):
    return forward_once(Act(act), Inputs("given", args, kwargs), "x")


def test_a_tensor_in_a_dataclass_is_changed_in_the_copy_only():
    batch = Batch(torch.zeros(2))
    outcome = outcome_of(lambda b: b.x.add_(1) * 2, batch)
    assert outcome.changed_inputs == {"input[0].x"}
    assert outcome.state_of("input[0].x").tolist() == [1.0, 1.0] and batch.x.tolist() == [0.0, 0.0]


def test_a_cache_that_grows_is_a_changed_input():
    cache = Cache()
    outcome = outcome_of(lambda x, past: past.update(x).sum(0), torch.ones(1, 2), past=cache)
    assert outcome.changed_inputs == {"input.past.keys"}
    assert outcome.inputs["input.past.keys"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert cache.keys.shape == (1, 2)


def test_an_entry_that_a_forward_adds_is_a_changed_input():
    outcome = outcome_of(lambda x, past: past.append(x) or x * 2, torch.ones(2), [])
    assert outcome.changed_inputs == {"input[1][0]"}


def test_an_operation_in_place_that_returns_its_input_is_an_output():
    assert outcome_of(lambda x: x.mul_(2), torch.ones(2)).changed_inputs == set()
    assert outcome_of(lambda x: x.mul_(2).view(1, 2), torch.ones(2)).changed_inputs == set()
    assert outcome_of(lambda x: x.mul_(2) * 1, torch.ones(2)).changed_inputs == {"input[0]"}


def test_arrays_numbers_and_generators_are_compared_too():
    generator = torch.Generator().manual_seed(1)

    def act(x, array, options, g):
        array += 1
        options["step"] = 2
        return x + torch.rand(2, generator=g)

    inputs = Inputs("given", (torch.ones(2), np.zeros(2), {"step": 1}, generator))
    used = inputs.cloned()
    act(*used.args)
    assert changed_values(inputs, used) == ["[1]", "[2]['step']", "[3]"]
    assert changed_values(inputs, inputs.cloned()) == []


def test_nan_is_equal_to_nan():
    inputs = Inputs("given", (torch.tensor([torch.nan, 1.0]), float("nan"), np.array([np.nan])))
    assert changed_values(inputs, inputs.cloned()) == []
    assert changes_of(Act(lambda *args: args[0] + 1), inputs) == Changes()


def test_buffers_after_the_forward_are_part_of_the_outcome():
    norm = nn.BatchNorm1d(1, momentum=0.5, affine=False).train()
    outcome = forward_once(norm, Inputs("given", (torch.tensor([[1.0], [3.0]]),)), "x")  # mean 2, unbiased variance 2
    assert outcome.buffers["buffer running_mean"].tolist() == [1.0]
    assert outcome.buffers["buffer running_var"].tolist() == [1.5]
    assert outcome.changed_buffers == {f"buffer {n}" for n in ("running_mean", "running_var", "num_batches_tracked")}
    assert norm.running_mean.tolist() == [0.0] and norm.running_var.tolist() == [1.0]


def test_what_a_forward_changes_in_the_model_is_said_and_restored():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.last = nn.Linear(2, 2), None

        def forward(self, x):
            self.linear.weight.data.mul_(2)
            self.last = self.linear(x)
            return self.last

    model = Remembers()
    before = model.linear.weight.clone()
    outcome = forward_once(model, Inputs("given", (torch.ones(2),)), "x")
    assert set(outcome.model_changes) == {"last", "linear.weight"}
    assert model.last is None and torch.equal(model.linear.weight, before)


def test_a_module_that_remembers_its_last_output_can_be_cast():
    """copy.deepcopy refuses tensors with a gradient history."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    model = Attention()
    model.last = model.linear(torch.ones(2))
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    assert in_dtype(model, torch.float64).linear.weight.dtype is torch.float64


def test_a_cast_copies_tied_parameters_once_and_keeps_the_original():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    wide = in_dtype(model, torch.float64)
    assert wide[0].weight is wide[1].weight and wide[0].weight.dtype is torch.float64
    assert model[0].weight.dtype is torch.float32 and in_dtype(model, torch.float32) is model


def test_a_reference_gets_the_cache_in_its_own_dtype():
    cache = Cache()
    act = Act(lambda x, past: past.update(x) @ x[0])
    for reference in (
        default_reference(act, Inputs("given", (torch.ones(1, 2), cache)), torch.float32),
        given_reference(act, "the rival", Inputs("given", (torch.ones(1, 2), cache)), torch.float32),
    ):
        assert reference.outcome.output.tolist() == [0.0, 2.0]
        assert reference.outcome.inputs["input[1].keys"].dtype is torch.float64
    assert cache.keys.dtype is torch.float32 and len(cache.keys) == 1


def calls(make_call, act, *args, resets):
    values = []
    call = make_call(
        Act(lambda *a: values.append(a[0].detach().clone()) or act(*a)), Inputs("given", args), Changes(inputs=resets)
    )
    for _ in range(3):
        call.reset()
        call()
    return values


def test_every_call_starts_from_the_same_inputs_if_they_are_reset():
    x = torch.zeros(1)
    assert torch.stack(calls(forward_call, lambda x: x.add_(1), x, resets=True)).flatten().tolist() == [0, 0, 0]
    assert torch.stack(calls(forward_call, lambda x: x.add_(1), x, resets=False)).flatten().tolist() == [0, 1, 2]
    assert x.tolist() == [0.0]


def test_training_calls_start_from_the_same_inputs_too():
    x = torch.ones(2, requires_grad=True)
    values = calls(training_call, lambda x: x.mul_(3), x, resets=True)
    assert torch.stack(values).tolist() == [[1.0, 1.0]] * 3
    assert x.grad is None


def test_every_backward_of_overlapping_inputs_gets_views_of_its_own():
    x = torch.ones(4, requires_grad=True)
    assert len(calls(training_call, lambda a, b: a.sum() + b.sum(), x[:3], x[1:], resets=False)) == 3


def test_a_cache_does_not_grow_from_call_to_call():
    cache, lengths = Cache(), []
    call = forward_call(
        Act(lambda x, past: lengths.append(len(past.update(x))) or x),
        Inputs("given", (torch.ones(1, 2), cache)),
        Changes(inputs=True),
    )
    for _ in range(3):
        call.reset()
        call()
    assert lengths == [2, 2, 2] and len(cache.keys) == 1


def gradients(module, *args, require=None):
    return Backward(Inputs("given", args), require, seed=0).of(module, "x")


def test_an_input_that_is_passed_twice_has_one_gradient_the_sum_over_its_uses():
    x = torch.ones(3, requires_grad=True)
    same = gradients(lambda a, b: a + 2 * b, x, x)
    apart = gradients(lambda a, b: a + 2 * b, x, x.detach().clone().requires_grad_())
    assert same.keys() == {"input 0"} and apart.keys() == {"input 0", "input 1"}
    torch.testing.assert_close(same["input 0"], apart["input 0"] + apart["input 1"])


def test_data_needs_no_gradient_unless_the_user_wants_one():
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    assert gradients(layer, x).keys() == {"parameter weight", "parameter bias"}
    assert gradients(layer, x, require=True).keys() == {"parameter weight", "parameter bias", "input 0"}
    hidden = x.clone().requires_grad_()
    assert "input 0" in gradients(layer, hidden) and "input 0" not in gradients(layer, hidden, require=False)


def test_a_forward_that_makes_its_input_require_a_gradient_runs():
    """As the feature encoder of Wav2Vec2 does in train mode: it fails on an input that is not a leaf."""

    class Encoder(nn.Linear):
        def forward(self, x):
            hidden = x[:, None]
            hidden.requires_grad = True
            return super().forward(hidden)

    assert gradients(Encoder(2, 2), torch.ones(1, 2)).keys() == {"parameter weight", "parameter bias"}


@pytest.mark.parametrize(
    "act", [lambda x: x.detach() * 2, lambda x: torch.ones(2, requires_grad=True) * 3], ids=["detached", "elsewhere"]
)
def test_if_nothing_gets_a_gradient_it_is_an_error(act):
    with pytest.raises(ModuleRaised, match="gradient"):
        gradients(Act(act), torch.ones(2, requires_grad=True))


def test_a_training_call_without_a_gradient_says_what_to_do():
    call = training_call(nn.ReLU(), Inputs("given", (torch.ones(2),)))
    with pytest.raises(InputsError, match=r"use backward\(inputs=True\)"):
        call()
    training_call(nn.ReLU(), Inputs("given", (torch.ones(2),)), require=True)()
