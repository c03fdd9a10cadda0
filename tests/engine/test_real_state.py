"""Caches, buffers, modes, attributes and random numbers of real models: compared, restored, the same on both sides."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from single_case import run_case
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode
from whole_model import check, metric, notes, verdict

from ttprof import Status, TestSuite
from ttprof.codes import NoteCode

PASS, FAIL, ERROR = Status.PASS, Status.FAIL, Status.ERROR


class Cache:
    """Grows by concatenation, as the caches of Hugging Face do."""

    def __init__(self, length):
        self.keys = torch.linspace(-1, 1, length * 4).view(length, 4)

    def update(self, row):
        self.keys = torch.cat([self.keys, row.to(self.keys.dtype)])
        return self.keys


class Decoder(nn.Module):
    """One step of attention over a cache."""

    def __init__(self, keep=True):
        super().__init__()
        self.project, self.keep = nn.Linear(4, 4), keep

    def forward(self, x, past):
        row = self.project(x)
        keys = past.update(row) if self.keep else torch.cat([past.keys, row])
        return (row @ keys.T).softmax(-1) @ keys


def test_a_cache_is_copied_before_each_call_and_cast_for_the_reference():
    model, cache = Decoder(), Cache(5)
    case = check(
        model,
        (torch.ones(1, 4), cache),
        lambda c: c.compare_with(copy.deepcopy(model)).tolerance(1e-4).expect(flops=10_000),
    )
    assert case.status is PASS, case.errors
    assert cache.keys.shape == (5, 4) and cache.keys.dtype is torch.float32
    assert metric(case, "flops") == 2 * 4 * 4 + 2 * 4 * 6 + 2 * 6 * 4  # with six keys, as in the first call


def test_the_length_of_a_cache_can_be_swept():
    case = check(
        Decoder(),
        None,
        lambda c: (
            c.input_factory(lambda seq_len: (torch.ones(1, 4), Cache(seq_len)))
            .with_seq_lengths([8, 16, 32, 64])
            .expect_scaling("linear", metric="flops")
        ),
    )
    assert case.status is PASS, case.errors


def test_a_module_that_drops_its_cache_fails_against_a_reference_that_keeps_it():
    right, wrong = Decoder(), Decoder(keep=False)
    wrong.load_state_dict(right.state_dict())
    inputs = (torch.ones(1, 4), Cache(5))
    case = check(wrong, inputs, lambda c: c.compare_with(right).tolerance(1e-4))
    assert case.status is FAIL
    assert "input[1].keys has shape (5, 4), the reference has (6, 4)" in " ".join(case.errors)


class WrongNorm(nn.BatchNorm1d):
    """The output of a batch norm, and a running variance without Bessel's correction."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        variance = x.var(0, correction=0)
        y = F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(x.mean(0).to(self.running_mean), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        return y


def test_buffers_that_a_forward_updates_are_compared():
    x = torch.tensor([[1.0], [3.0]])
    wrong = check(WrongNorm(1), x, lambda c: c.train().compare_with(nn.BatchNorm1d(1)).tolerance(1e-3))
    assert wrong.status is FAIL
    assert "worst: buffer running_var[0] is 1, the reference has 1.1" in " ".join(wrong.errors)
    right = check(nn.BatchNorm1d(1), x, lambda c: c.train().compare_with(nn.BatchNorm1d(1)).tolerance(1e-3))
    assert right.status is PASS, right.errors


def test_a_buffer_that_only_the_reference_updates_fails():
    class Forgets(nn.BatchNorm1d):
        def forward(self, x):
            return F.batch_norm(x, None, None, self.weight, self.bias, self.training, 0.0, self.eps)

    case = check(Forgets(2), torch.randn(8, 2), lambda c: c.train().compare_with(nn.BatchNorm1d(2)).tolerance(1e-3))
    assert case.status is FAIL and "buffer num_batches_tracked" in " ".join(case.errors)


class Merging(nn.Linear):
    """Merges an update into its weight in eval mode, by its own train()."""

    def __init__(self):
        super().__init__(4, 4)
        self.low, self.merged = nn.Parameter(torch.ones(4, 4)), False
        self.weight.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += self.low.data * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x):
        return super().forward(x) + (0 if self.merged else x @ self.low)


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.last, self.seen = nn.Linear(4, 4), None, []

    def forward(self, x):
        self.last = self.linear(x).softmax(-1)
        self.seen.append(1)
        return self.last @ x.transpose(-1, -2)


def everything(model):
    """All that a test could leave changed, by name."""
    state = {f"value {name}": t.detach().clone() for name, t in model.state_dict().items()}
    for name, module in model.named_modules():
        state[f"{name}.training"] = module.training
        own = {k: v for k, v in vars(module).items() if not k.startswith("_")}
        state |= {f"{name}.{key}": copy.copy(value) for key, value in own.items() if not isinstance(value, nn.Module)}
        state[f"{name} hooks"] = [len(v) for k, v in vars(module).items() if k.endswith("_hooks")]
    state |= {f"grad {name}": p.grad for name, p in model.named_parameters()}
    state["torch"], state["python"] = torch.get_rng_state(), random.getstate()
    state["numpy"] = np.random.get_state()[1].copy()
    settings = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    state["settings"] = (*settings, torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"))
    return state


def same(a, b):
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return bool((torch.as_tensor(a) == torch.as_tensor(b)).all())
    return a == b


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nn.Sequential(Merging(), nn.Linear(4, 2)), torch.ones(3, 4)),
        (nn.Sequential(nn.Embedding(5, 4, max_norm=0.5), nn.Linear(4, 2)), torch.tensor([[0, 1]])),
        (nn.Sequential(Remembers()), torch.ones(3, 4)),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)), torch.randn(3, 4)),
        (nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), torch.ones(3, 4)),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), torch.ones(3, 4)),
    ],
    ids=["LoRA", "max_norm", "attributes", "buffers", "spectral_norm", "weight_norm"],
)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_model_and_the_process_are_left_as_found(model, inputs, training):
    model = copy.deepcopy(model).train(training)
    torch.manual_seed(0)
    before = everything(model)
    suite = TestSuite(model, inputs=inputs, quiet=True, on_failure="report", seconds_per_case=0.05)
    suite.test_all_modules().tolerance(1e-3).profile(1, 2)
    suite.test(model, name="trained").train().backward().profile(1, 2)
    cases = list(suite.run())
    assert all(case.status is not ERROR for case in cases), [case.errors for case in cases]
    after = everything(model)
    assert after.keys() == before.keys()
    assert [name for name in before if not same(before[name], after[name])] == []
    copy.deepcopy(model)
    model.train()(inputs).sum().backward()


def test_a_forward_that_changes_parameters_or_attributes_is_said_so():
    case = check(nn.Embedding(5, 4, max_norm=0.5), torch.tensor([0, 1]))
    (note,) = [n for n in case.trials[0].notes if n.code is NoteCode.MODEL_CHANGED]
    assert note.text == "its forward changes weight of the module: restored afterwards"
    assert NoteCode.MODEL_CHANGED in notes(check(Remembers(), torch.ones(3, 4)))
    assert NoteCode.MODEL_CHANGED not in notes(check(nn.Linear(4, 4), torch.ones(3, 4)))


class Sampling(nn.Module):
    """The bottleneck of a VAE, which draws in eval mode too."""

    def __init__(self, draw):
        super().__init__()
        self.mean, self.draw = nn.Linear(8, 8), draw

    def forward(self, x):
        mean = self.mean(x)
        return mean + self.draw(mean)


DRAWS = {
    "randn_like": torch.randn_like,
    "normal": lambda t: torch.normal(torch.zeros_like(t), torch.ones_like(t)),
    "numpy": lambda t: torch.from_numpy(np.random.rand(*t.shape)).to(t),
    "random": lambda t: t * random.random(),
    "dropout": lambda t: F.dropout(t, 0.5, training=True),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_both_sides_draw_the_same_whenever_a_forward_draws(name, training):
    model, x = Sampling(DRAWS[name]), torch.randn(8, 8)
    mode = (lambda c: c.train()) if training else (lambda c: c)
    own = check(model, x, lambda c: mode(c).tolerance(1e-4).backward().deterministic())
    assert own.status is PASS, own.errors
    assert check(model, x, lambda c: mode(c).compare_with(copy.deepcopy(model)).tolerance(1e-4)).status is PASS
    other = Sampling(lambda t: 1.1 * DRAWS[name](t))
    other.load_state_dict(model.state_dict())
    assert check(other, x, lambda c: mode(c).compare_with(model).tolerance(1e-4)).status is FAIL


def test_nothing_watches_the_operators_of_measured_calls():
    """A dispatch mode would slow every operator; only forwards that are not measured may run under one."""
    modes = []

    class Seeing(nn.Module):
        def forward(self, x):
            modes.append(_get_current_dispatch_mode())
            return x + 1

    case = run_case(Seeing(), lambda case: case.tolerance(1e-3).profile(3, 40))
    assert case.status is Status.PASS, case.errors
    assert sum(mode is None for mode in modes) >= 3 + 40 + 3 + 40
    assert not any("Dispatch" in name for name, _ in case.trials[0].top_ops)


def test_a_parameter_that_only_measured_calls_write_again_is_restored():
    embedding = nn.Embedding(50, 16, max_norm=1.0)
    before = embedding.weight.detach().clone()
    run_case(embedding, lambda case: case.inputs(torch.arange(50)).profile(1, 5))
    assert torch.equal(embedding.weight, before)


class WritesByNumPy(nn.Linear):
    """Changes a weight where no operator of torch sees it."""

    def forward(self, x):
        self.weight.detach().numpy()[0, 0] += 1
        return super().forward(x)


def test_a_parameter_that_numpy_writes_to_is_an_error_that_names_it():
    case = check(WritesByNumPy(4, 4), torch.ones(2, 4), lambda c: c)
    assert case.status is ERROR
    assert case.errors[0].startswith("its forward writes to weight without torch, as NumPy does through .numpy()")


class GradientThatRemembers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, module):
        ctx.module = module
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.module.calls += 1
        return gradient * ctx.module.calls, None


class CountsBackwards(nn.Module):
    def __init__(self, remember):
        super().__init__()
        self.calls, self.remember, self.weight = 0, remember, nn.Parameter(torch.ones(4))

    def forward(self, x):
        return GradientThatRemembers.apply(x * self.weight, self) if self.remember else x * self.weight


@pytest.mark.parametrize(("remember", "status"), [(True, FAIL), (False, PASS)])
def test_gradients_that_remember_earlier_backwards_are_not_deterministic(remember, status):
    case = check(CountsBackwards(remember), torch.ones(2, 4), lambda c: c.backward().deterministic())
    assert verdict(case, "deterministic").status is status


def test_a_compiled_part_of_a_model_is_one_case():
    model = nn.Sequential(torch.compile(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), backend="eager"), nn.Linear(4, 2))
    suite = TestSuite(model, quiet=True)
    suite.test_all_modules()
    assert [case.name for case in suite._registry.cases] == ["0", "0.0", "0.1", "1"]


class ReplacesData(nn.Linear):
    """Replaces the memory of its weight in each call, with the same values in the end."""

    def forward(self, x):
        self.weight.data = self.weight.data.clone()
        return super().forward(x)


def test_a_weight_whose_data_is_replaced_is_restored():
    layer = ReplacesData(4, 4)
    before = layer.weight.detach().clone()
    case = check(layer, torch.ones(2, 4), lambda c: c)
    assert case.status is PASS, case.errors
    assert torch.equal(layer.weight, before)


def test_a_model_with_a_compiled_part_stays_compiled():
    runs = []

    def backend(graph, example_inputs):
        return lambda *args: runs.append(1) or graph(*args)

    class Part(nn.Module):
        def forward(self, x):
            return x + 1

    model = nn.Sequential(nn.Linear(4, 4), torch.compile(Part(), backend=backend))
    case = check(model, torch.ones(2, 4), lambda c: c.tolerance(1e-3).compare_with(copy.deepcopy(model)))
    assert case.status is PASS, case.errors
    assert len(runs) > 3  # the timed calls ran the compiled code
    count = len(runs)
    model(torch.ones(2, 4))
    assert len(runs) == count + 1
