"""A model is left as it was found: modes by its own means, parameters, buffers, gradients and attributes."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque

import pytest
import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan.model_state import WriteWatch, check_initialised, evaluating, preserved, preserved_but_memory


class Merging(nn.Linear):
    """Merges an update into its weight in eval mode, as the layers of loralib do."""

    def __init__(self) -> None:
        super().__init__(2, 2, bias=False)
        self.update = torch.eye(2)
        self.merged = False

    def train(self, mode: bool = True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += self.update * (-1 if mode else 1)
            self.merged = not mode
        return self


@pytest.mark.parametrize("training", [True, False])
def test_a_mode_is_restored_by_the_modules_own_train(training):
    model = nn.Sequential(Merging(), nn.Dropout())
    nn.init.zeros_(model[0].weight)
    model.train(training)
    with evaluating(model):
        assert not model.training and not model[1].training
        assert model[0].merged and torch.equal(model[0].weight, torch.eye(2))
    assert (model.training, model[0].training, model[1].training) == (training,) * 3
    assert model[0].merged is not training
    assert torch.equal(model[0].weight, torch.zeros(2, 2) if training else torch.eye(2))


def test_a_train_that_does_more_than_the_snapshot_shows_is_called():
    calls = []

    class Tells(nn.Dropout):
        def train(self, mode=True):
            calls.append(mode)
            return super().train(mode)

    with evaluating(nn.Sequential(Tells())):
        assert calls == [False]
    assert calls == [False, True]


def test_modes_that_differ_within_a_model_are_restored_one_by_one():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model.eval()
    model[1][0].train()
    with preserved(model):
        model.train()
    assert [m.training for m in model.modules()] == [False, False, False, True, False]


class Writer(nn.Module):
    """Runs *act* on itself in its forward."""

    def __init__(self, act) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.table, self.log, self.history, self.named = None, [1], deque([1]), {"a": torch.zeros(2)}
        self.nested = {"k": ([], torch.zeros(2))}
        self.act = act

    def forward(self, x):
        self.act(self)
        return x


def write_data(m):
    m.linear.weight.data.add_(1)


def write_in_no_grad(m):
    with torch.no_grad():
        m.linear.weight[0].mul_(3)


def write_out(m):
    with torch.no_grad():
        torch.add(m.linear.weight, 1, out=m.linear.weight.data)


def write_many(m):
    with torch.no_grad():
        torch._foreach_add_([m.linear.weight, m.linear.bias], 1.0)


@pytest.mark.parametrize(
    ("act", "changed"),
    [
        (lambda m: None, []),
        (write_data, ["linear.weight"]),
        (write_in_no_grad, ["linear.weight"]),
        (write_out, ["linear.weight"]),
        (write_many, ["linear.weight", "linear.bias"]),
        (lambda m: m.linear.weight.data.add_(0), []),
        (lambda m: setattr(m, "table", torch.ones(2)), ["table"]),
        (lambda m: setattr(m, "new", 5), ["new"]),
        (lambda m: delattr(m, "table"), ["table"]),
        (lambda m: m.log.append(2), ["log"]),
        (lambda m: m.history.append(2), ["history"]),
        (lambda m: m.named.update(b=1), ["named"]),
        (lambda m: m.named["a"].add_(1), ["a tensor attribute"]),
        (lambda m: setattr(m.linear, "last", 1), ["linear.last"]),
        (lambda m: m.mean.add_(1), []),
        (lambda m: setattr(m, "mean", torch.ones(2)), []),
        (lambda m: m.register_buffer("late", torch.ones(2)), []),
        (lambda m: m.linear.register_forward_hook(print), ["linear._forward_hooks"]),
        (lambda m: setattr(m.linear, "weight", nn.Parameter(torch.ones(2, 2))), ["linear.weight"]),
        (lambda m: m.add_module("extra", nn.ReLU()), ["extra"]),
        (lambda m: m.nested["k"][0].append(5), ["nested"]),
        (lambda m: m.nested["k"][1].add_(5), ["a tensor attribute"]),
        (lambda m: m.linear.weight.sum().backward(), []),
        (lambda m: m.train(), []),
    ],
    ids=[
        *("nothing", "data", "view", "out", "foreach", "zero", "attribute", "new", "deleted", "list", "deque", "dict"),
        *("tensor", "child", "buffer", "replaced", "late", "hook", "parameter", "module", "nested", "deep tensor"),
        *("gradient", "mode"),
    ],
)
def test_whatever_a_forward_changes_is_restored_and_listed(act, changed):
    model = Writer(act).eval()
    before, state, names = copy.deepcopy(vars(model)), _tensors(model), set(vars(model))
    values = {name: t.clone() for name, t in state.items()}
    with preserved(model) as saved:
        model(torch.ones(2))
    assert saved.changed == changed
    assert set(vars(model)) == names and not model.training
    after = _tensors(model)
    assert after.keys() == state.keys() and all(after[name] is state[name] for name in state)
    assert all(torch.equal(values[name], after[name]) for name in values)
    assert (model.table, model.log, model.history) == (before["table"], [1], deque([1]))
    assert model.nested["k"][0] == [] and torch.equal(model.nested["k"][1], torch.zeros(2))
    assert model.named.keys() == {"a"} and torch.equal(model.named["a"], torch.zeros(2))
    assert vars(model.linear).keys() == vars(before["_modules"]["linear"]).keys()
    assert not model.linear._forward_hooks and all(p.grad is None for p in model.parameters())


def _tensors(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def test_an_existing_gradient_is_restored():
    model = nn.Linear(2, 2)
    model.weight.grad = gradient = torch.ones(2, 2)
    with preserved(model):
        model.weight.grad = None
        model(torch.ones(2)).sum().backward()
    assert model.weight.grad is gradient and torch.equal(gradient, torch.ones(2, 2)) and model.bias.grad is None


def test_a_model_is_restored_if_its_forward_raises():
    def act(m):
        m.linear.weight.data.zero_()
        raise RuntimeError("stop")

    model = Writer(act)
    before = model.linear.weight.clone()
    with pytest.raises(RuntimeError, match="stop"), preserved(model):
        model(torch.ones(2))
    assert torch.equal(model.linear.weight, before)


def test_a_renormalising_embedding_keeps_its_weight():
    model = nn.Embedding(3, 4, max_norm=1.0)
    nn.init.ones_(model.weight)  # the norm of each row is 2
    with preserved(model) as saved:
        model(torch.tensor([1]))
        assert model.weight[1].tolist() == pytest.approx([0.5] * 4)
    assert saved.changed == ["weight"] and torch.equal(model.weight, torch.ones(3, 4))


def test_nan_in_a_buffer_is_not_a_change():
    model = Writer(lambda m: None)
    model.mean.fill_(torch.nan)
    buffer = model.mean
    with preserved(model) as saved:
        model(torch.ones(2))
        assert saved.buffers_now()[1] == set()
    assert model.mean is buffer


def test_buffers_after_a_forward_and_which_of_them_changed():
    model = nn.BatchNorm1d(2, momentum=0.5).train()
    with preserved(model) as saved:
        model(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # means 2 and 3
        now, changed = saved.buffers_now()
    assert now["running_mean"].tolist() == [1.0, 1.5] and changed == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert model.running_mean.tolist() == [0.0, 0.0] and int(model.num_batches_tracked) == 0


def test_only_written_parameters_are_saved():
    first, second = torch.zeros(4), torch.zeros(4)
    with WriteWatch([first, second]) as watch:
        first[2:].add_(1)
        second + 1
    assert len(watch.saved) == 1
    watch.restore()
    assert first.tolist() == [0.0] * 4


def test_tied_parameters_are_restored_once_and_stay_tied():
    model = nn.ModuleDict(OrderedDict(a=nn.Linear(2, 2), b=nn.Linear(2, 2)))
    model["b"].weight = model["a"].weight
    before = model["a"].weight.clone()
    with preserved(model) as saved:
        model["b"].weight.data.zero_()
    assert saved.changed == ["a.weight"] and model["a"].weight is model["b"].weight
    assert torch.equal(model["a"].weight, before)


def test_a_scripted_module_is_preserved():
    model = nn.Sequential(torch.jit.script(nn.BatchNorm1d(2))).train()
    with preserved(model):
        model(torch.ones(3, 2))
    assert int(model[0].num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3)), r"1 \(LazyLinear\) has uninitialised parameters: run the"),
        (nn.Sequential(nn.LazyBatchNorm1d(affine=False)), r"0 \(LazyBatchNorm1d\) has uninitialised"),
        (nn.Linear(2, 2, device="meta"), r"^Linear has parameters on the meta device, without data: load"),
        (nn.BatchNorm1d(2, affine=False, device="meta"), "on the meta device"),
    ],
    ids=["lazy parameter", "lazy buffer", "meta parameter", "meta buffer"],
)
def test_parameters_without_data_are_an_error_that_names_their_module(module, message):
    with pytest.raises(InputsError, match=message):
        check_initialised(module)
    check_initialised(nn.Linear(2, 2))


def test_between_runs_that_must_agree_memory_stays_and_tensors_are_restored():
    """What a module remembers in attributes would hide that its output depends on earlier calls."""

    def act(m):
        m.table, m.new = 5, 6
        m.log.append(2)
        m.mean.add_(1)
        m.linear.weight.data.zero_()

    model = Writer(act)
    before = model.linear.weight.clone()
    with preserved(model):
        with preserved_but_memory(model):
            model(torch.ones(2))
        assert (model.table, model.new, model.log) == (5, 6, [1, 2])
        assert model.mean.tolist() == [0.0, 0.0] and torch.equal(model.linear.weight, before)
    assert model.table is None and model.log == [1] and not hasattr(model, "new")
