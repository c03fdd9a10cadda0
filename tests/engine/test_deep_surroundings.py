"""State that a model changes around a call is taken over however deeply it lies, and whatever holds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from whole_model import Parent, check, notes, run

from ttprof import Status
from ttprof.codes import NoteCode

PASS, FAIL = Status.PASS, Status.FAIL
X = torch.linspace(-1, 1, 24).view(4, 6)


class Options:
    """Holds a value in its ``__dict__``."""

    def __init__(self, factor):
        self.factor = factor


class Slots:
    """Holds a value in a slot."""

    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class Holds(nn.Module):
    """Multiplies by what lies deep in its attributes."""

    def __init__(self):
        super().__init__()
        self.nested = {"layers": [{"factor": 1.0}]}
        self.options, self.slots = Options(1.0), Slots(1.0)
        self.by_name = {"options": Options([1.0])}
        self.array = np.ones(1)
        self.data = [torch.ones(100)]

    def forward(self, x):
        factor = self.nested["layers"][0]["factor"] * self.options.factor * self.slots.factor
        return x * factor * self.by_name["options"].factor[0] * float(self.array[0]) * self.data[0][50]


def in_nested_containers(child):
    child.nested["layers"][0]["factor"] = 3.0


def in_an_object(child):
    child.options.factor = 3.0


def in_a_slot(child):
    child.slots.factor = 3.0


def in_an_object_in_a_dict(child):
    child.by_name["options"].factor[0] = 3.0


def in_an_array(child):
    child.array *= 3.0


def in_one_element_behind_autograd(child):
    child.data[0].data[50] = 3.0


CHANGES = [
    in_nested_containers,
    in_an_object,
    in_a_slot,
    in_an_object_in_a_dict,
    in_an_array,
    in_one_element_behind_autograd,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_lies_deep_is_as_at_the_call_and_restored(change):
    model = Parent(Holds(), lambda child, x: change(child) or child(x))
    case = check(model, X, lambda c: c.compare_with(lambda x: 3 * x), "child")
    assert case.status is PASS, case.errors
    assert NoteCode.CONTEXT_TAKEN_OVER in notes(case)
    assert torch.equal(model.child(X), X)


def test_one_element_of_a_parameter_that_is_written_through_its_data():
    def scale_last(child, x):
        child.weight.data[5, 5] = 7.0
        return child(x)

    model = Parent(nn.Linear(6, 6, bias=False), scale_last)
    with torch.no_grad():
        model.child.weight.copy_(torch.eye(6))
    expected = X * torch.tensor([1.0, 1, 1, 1, 1, 7])
    case = check(model, X, lambda c: c.compare_with(lambda x: expected.to(x)), "child")
    assert case.status is PASS, case.errors
    assert torch.equal(model.child.weight, torch.eye(6))


def number_of(generator):
    """A number that tells the state of a generator."""
    if isinstance(generator, torch.Generator):
        return float(generator.get_state().double().sum() % 1009)
    return float(generator.bit_generator.state["state"]["state"] % 1009)


@pytest.mark.parametrize("make", [lambda: torch.Generator().manual_seed(1), lambda: np.random.default_rng(1)])
def test_a_generator_that_others_have_advanced_is_as_at_the_call(make):
    def draw(generator):
        return torch.rand(3, generator=generator) if isinstance(generator, torch.Generator) else generator.random(3)

    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = make()

        def forward(self, x):
            return x + number_of(self.generator)

    model = Parent(Noise(), lambda child, x: draw(child.generator) is not None and child(x))
    generator = make()
    draw(generator)
    expected = X + number_of(generator)
    case = check(model, X, lambda c: c.compare_with(lambda x: expected.to(x)).tolerance(1e-6), "child")
    assert case.status is PASS, case.errors
    assert number_of(model.child.generator) == number_of(make()) != number_of(generator)


def test_dropout_that_the_forward_leaves_on_is_on_in_the_test():
    def monte_carlo(child, x):
        child[1].train()
        return child(x)

    model = Parent(nn.Sequential(nn.Identity(), nn.Dropout(0.5)), monte_carlo)
    case = check(model, torch.ones(40, 40), lambda c: c.compare_with(lambda x: x), "child")
    assert case.status is FAIL  # half of the elements are 0, the others 2
    (note,) = (n for n in case.trials[0].notes if n.code is NoteCode.CONTEXT_TAKEN_OVER)
    assert note.text == "tested as the model runs it: with its Dropout in train mode"


def test_a_norm_that_the_forward_freezes_is_frozen_in_train_mode():
    def frozen(child, x):
        child[0].eval()
        return child(x)

    model = Parent(nn.Sequential(nn.BatchNorm1d(6)), frozen)
    case = check(model, X, lambda c: c.train().compare_with(lambda x: x).tolerance(1e-4), "child")
    assert case.status is PASS, case.errors  # with statistics of the batch the output would be normalised


def test_inputs_of_train_mode_are_those_of_a_forward_in_train_mode():
    class Tells(nn.Module):
        def forward(self, x):
            return x + (10.0 if self.training else 0.0)

    model = nn.Sequential(Tells(), nn.Identity())
    inside = lambda x: torch.where(x > 5, x, x + 100)  # noqa: E731, equal to x only if it comes from train mode
    (train, evaluated) = run(
        model,
        X,
        lambda s: [
            s.test("1", name="train").train().compare_with(inside).profile(1, 2),
            s.test("1", name="eval").compare_with(inside).profile(1, 2),
        ],
    )
    assert (train.status, evaluated.status) == (PASS, FAIL)


def test_a_model_that_raises_in_train_mode_is_captured_in_eval_mode_and_that_is_said():
    class OnlyEvaluates(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x):
            if self.training:
                raise RuntimeError("no loss to train with")
            return self.inner(x)

    case = check(OnlyEvaluates(), X, lambda c: c.train().tolerance(1e-3), "inner")
    assert case.status is PASS, case.errors
    assert "does not run in train mode" in case.verdicts[0].reason
    assert "no loss to train with" in case.verdicts[0].reason


def hooked(hook):
    def call(child, x):
        handle = child[0].register_forward_hook(hook)
        y = child(x)
        handle.remove()
        return y

    return Parent(nn.Sequential(nn.Linear(6, 6)), call)


def test_hooks_that_only_observe_are_not_reported():
    seen = []
    model = hooked(lambda module, args, output: seen.append(output.shape))
    for name in ("child", "child.0"):
        case = check(model, X, lambda c: c.tolerance(1e-3), name)
        assert case.status is PASS and seen
        assert NoteCode.CONTEXT_DIFFERS not in notes(case)
    assert not model.child[0]._forward_hooks


def test_hooks_that_change_an_output_are_said():
    model = hooked(lambda module, args, output: output * 2)
    for name in ("child", "child.0"):
        case = check(model, X, lambda c: c.tolerance(1e-3), name)
        assert "hooks of the model change what it takes or returns" in case.verdicts[0].reason


def test_a_hook_that_replaces_another_one_is_seen():
    def swap(child, x):
        child._forward_hooks.clear()
        child.register_forward_hook(lambda module, args, output: output + 1)
        return child(x)

    model = Parent(nn.Linear(6, 6), swap)
    model.child.register_forward_hook(lambda module, args, output: None)
    case = check(model, X, lambda c: c, "child")
    assert "hooks of the model" in case.verdicts[0].reason


def test_a_forward_that_the_model_replaces_is_said():
    def patched(child, x):
        child[0].forward = lambda x: 2 * x
        return child(x)

    case = check(Parent(nn.Sequential(nn.Linear(6, 6)), patched), X, lambda c: c, "child")
    assert "replaces its forward, or that of a part of it" in case.verdicts[0].reason


def test_a_lazy_part_elsewhere_in_the_model_hides_nothing():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lazy, self.child = nn.LazyLinear(6), Holds()

        def forward(self, x):
            self.child.options.factor = 3.0
            return self.lazy(self.child(x))

    model = Model()
    case = check(model, X, lambda c: c.compare_with(lambda x: 3 * x), "child")
    assert case.status is PASS, case.errors
    assert model.child.options.factor == 1.0


class CountsForAll(nn.Linear):
    """Counts the calls of all its instances, and keeps a table for all of them."""

    calls = 0
    table: dict = {}  # noqa: RUF012

    def forward(self, x):
        CountsForAll.calls += 1
        self.table[x.shape] = x
        CountsForAll.added = True
        return super().forward(x)


def test_what_a_class_holds_is_restored_and_said():
    case = check(CountsForAll(6, 6), X, lambda c: c.tolerance(1e-3))
    assert case.status is PASS, case.errors
    assert (CountsForAll.calls, CountsForAll.table) == (0, {}) and not hasattr(CountsForAll, "added")
    (note,) = (n for n in case.trials[0].notes if n.code is NoteCode.MODEL_CHANGED)
    assert "CountsForAll.calls" in note.text and "CountsForAll.table" in note.text


class Scale(nn.Module):
    """Multiplies by an attribute."""

    def __init__(self):
        super().__init__()
        self.weight, self.factor, self.rows = nn.Parameter(torch.eye(6)), 1.0, []

    def forward(self, x):
        self.rows.append(x)
        return x @ self.weight * self.factor


def set_in_each_call(child, x):
    child.factor, child.rows = torch.tensor(2.0), [x]
    x = child(x)
    child.factor, child.rows = torch.tensor(3.0), [x]
    return child(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_call_has_its_own_attributes_in_every_dtype(dtype):
    model = Parent(Scale(), set_in_each_call)
    case = check(model, X, lambda c: c.dtype(dtype).every_call().tolerance(2e-2).no_leak().profile(1, 31), "child")
    assert case.status is PASS, case.errors
    assert model.child.factor == 1.0 and model.child.rows == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_reference_of_the_same_class_has_them_too(dtype):
    model, reference = Parent(Scale(), set_in_each_call), Scale()
    for call in (0, 1):
        case = check(
            model,
            X,
            lambda c, k=call: c.call(k).dtype(dtype).compare_with(reference, share_weights=True).tolerance(1e-3),
            "child",
        )
        assert case.status is PASS, case.errors
    assert reference.factor == 1.0 and reference.rows == []


def test_a_module_among_the_arguments_is_as_at_the_call():
    class Uses(nn.Module):
        def forward(self, x, scale):
            return scale(x)

    class Passes(nn.Module):
        def __init__(self):
            super().__init__()
            self.uses, self.scale = Uses(), Scale()

        def forward(self, x):
            self.scale.factor = 3.0
            return self.uses(x, self.scale)

    model = Passes()
    case = check(model, X, lambda c: c.compare_with(lambda x, scale: 3 * x), "uses")
    assert case.status is PASS, case.errors
    assert model.scale.factor == 1.0


def test_an_activation_that_is_an_attribute_too_is_differentiated_and_that_is_said():
    class Residual(nn.Linear):
        def forward(self, x):
            return super().forward(x) + self.residual

    def keep(child, x):
        hidden = x * child.weight.sum()
        child.residual = hidden
        return child(hidden)

    case = check(Parent(Residual(6, 6), keep), X, lambda c: c.backward().tolerance(1e-3), "child")
    assert "gradients of 3 tensors" in " ".join(v.reason for v in case.verdicts)
    assert "its residual shares memory with its inputs in the model" in case.verdicts[0].reason


def test_a_step_in_the_backward_is_undone_between_iterations():
    layer = nn.Linear(6, 6)
    before = layer.weight.detach().clone()

    def step(parameter):
        with torch.no_grad():
            parameter.sub_(parameter.grad)

    layer.weight.register_post_accumulate_grad_hook(step)
    case = check(layer, X, lambda c: c.backward().profile(2, 5))
    assert case.status is PASS, case.errors
    assert torch.equal(layer.weight, before)


class Multiplies(torch.autograd.Function):
    """Multiplies by a complex number, with a wrong gradient if *dropped*: it drops the imaginary part."""

    @staticmethod
    def forward(ctx, x, dropped):
        ctx.dropped = dropped
        return x * (1 + 2j)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.real + 0j if ctx.dropped else gradient
        return gradient * (1 - 2j), None


@pytest.mark.parametrize(("dropped", "status"), [(False, PASS), (True, FAIL)])
def test_gradients_of_complex_outputs_start_from_complex_cotangents(dropped, status):
    class Complex(nn.Module):
        def forward(self, x):
            return Multiplies.apply(x, dropped).conj()

    x = torch.complex(X, X.flip(0))
    case = check(
        Complex(), x, lambda c: c.backward(inputs=True).compare_with(lambda x: (x * (1 + 2j)).conj()).tolerance(1e-5)
    )
    assert case.status is status, case.errors
