"""A module is tested under the autocast and with the attributes under which its model calls it."""

from __future__ import annotations

import pathlib

import torch
from torch import nn
from whole_model import check, notes, run

from ttprof import Status
from ttprof.codes import NoteCode

PASS, FAIL = Status.PASS, Status.FAIL
X = torch.linspace(-1, 1, 24).view(4, 6)


class Scale(nn.Module):
    """Multiplies by an attribute."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Parent(nn.Module):
    """Calls ``child`` as *call* says."""

    def __init__(self, child, call):
        super().__init__()
        self.child, self.call = child, call

    def forward(self, x):
        return self.call(self.child, x)


def in_model(model):
    """What ``model.child`` returns within a forward of the model."""
    outputs = []
    handle = model.child.register_forward_hook(lambda module, args, output: outputs.append(output.detach().clone()))
    with torch.no_grad():
        model(X)
    handle.remove()
    return outputs[0]


def agrees_with_the_model(model, change=lambda case: case):
    """The case of ``model.child``, compared with what it returned within the model."""
    expected = in_model(model)
    return check(model, X, lambda c: change(c).compare_with(lambda x: expected.to(x)).tolerance(1e-6), model.child)


def set_factor(child, x):
    child.factor = 3.0
    return child(x)


def test_an_attribute_that_the_model_sets_is_set_in_the_test_and_restored():
    model = Parent(Scale(), set_factor)
    case = check(model, X, lambda c: c.compare_with(lambda x: 3 * x).tolerance(1e-6), model.child)
    assert case.status is PASS, case.errors
    (note,) = (n for n in case.trials[0].notes if n.code is NoteCode.CONTEXT_TAKEN_OVER)
    assert note.text == "tested as the model runs it: with its factor as the model sets it before the call"
    assert model.child.factor == 1.0


def test_a_tensor_that_the_model_sets_in_place_of_a_parameter():
    def hyper(child, x):
        if "weight" in child._parameters:
            del child.weight
        child.weight = x.mean() * torch.ones(6, 6) + torch.eye(6)
        return child(x)

    model = Parent(nn.Linear(6, 6), hyper)
    weight = model.child.weight
    expected = X @ (X.mean() * torch.ones(6, 6) + torch.eye(6)).T + model.child.bias.detach()
    case = check(model, X, lambda c: c.compare_with(lambda x: expected.to(x)).tolerance(1e-5), model.child)
    assert case.status is PASS, case.errors
    assert model.child.weight is weight


def test_an_attribute_in_a_part_of_the_module_and_in_another_dtype():
    def set_inner(child, x):
        child[0].factor = torch.full((6,), 3.0)
        return child(x)

    model = Parent(nn.Sequential(Scale(), nn.ReLU()), set_inner)
    model.child[0].factor = 1.0
    expected = (3 * X).relu()
    case = check(
        model,
        X,
        lambda c: c.dtype(torch.float64).compare_with(lambda x: expected.to(x)).tolerance(1e-6),
        model.child,
    )
    assert case.status is PASS, case.errors


def test_each_point_of_a_sweep_has_its_own_attributes():
    def set_mask(child, x):
        child.factor = torch.arange(x.shape[1], dtype=x.dtype)
        return child(x)

    model = Parent(Scale(), set_mask)
    case = check(
        model,
        lambda seq_len: torch.ones(2, seq_len),
        lambda c: (
            c.with_seq_lengths([3, 6, 12]).tolerance(1e-6).compare_with(lambda x: x * torch.arange(x.shape[1]).to(x))
        ),
        model.child,
    )
    assert case.status is PASS, case.errors
    assert [NoteCode.CONTEXT_TAKEN_OVER in {n.code for n in t.notes} for t in case.trials] == [True] * 3


def under_autocast(child, x):
    with torch.autocast("cpu", torch.bfloat16):
        return child(x)


def test_a_module_that_the_model_runs_under_autocast_is_tested_under_it():
    torch.manual_seed(0)
    model = Parent(nn.Linear(6, 6), under_autocast)
    expected = in_model(model)
    assert expected.dtype is torch.bfloat16
    case = agrees_with_the_model(model)
    assert case.status is PASS, case.errors
    assert case.metrics["rel_error"] == 0
    (note,) = (n for n in case.trials[0].notes if n.code is NoteCode.CONTEXT_TAKEN_OVER)
    assert note.text == "tested as the model runs it: under autocast to bfloat16"


def test_the_tolerance_of_a_module_under_autocast_has_the_floor_of_its_dtype():
    torch.manual_seed(0)
    case = check(Parent(nn.Linear(6, 6), under_autocast), X, lambda c: c.tolerance(1e-6), "child")
    assert case.status is PASS, case.errors
    assert 1e-4 < case.metrics["rel_error"] < 2e-2


def test_autocast_of_the_case_wins_over_that_of_the_model():
    model = Parent(nn.Linear(6, 6), under_autocast)
    case = check(model, X, lambda c: c.autocast(torch.float16).tolerance(1e-2), "child")
    assert case.metrics["rel_error"] < 1e-3  # 2e-3 and more in bfloat16


def test_no_grad_is_said_in_the_line_of_the_verdict():
    def frozen(child, x):
        with torch.no_grad():
            y = child(x)
        return y.requires_grad_()

    case = check(Parent(nn.Linear(6, 6), frozen), X, lambda c: c.backward().tolerance(1e-3), "child")
    assert NoteCode.CONTEXT_DIFFERS in notes(case)
    assert "the model runs it under no_grad" in case.verdicts[0].reason


def test_an_attribute_that_can_not_be_copied_is_said_in_the_line_of_the_verdict():
    def set_stream(child, x):
        child.lines = pathlib.Path(__file__).open(encoding="utf-8")  # noqa: SIM115
        with child.lines:
            return child(x)

    case = check(Parent(Scale(), set_stream), X, lambda c: c.tolerance(1e-3), "child")
    assert NoteCode.CONTEXT_DIFFERS in notes(case)
    assert "the model sets its lines before the call, and that can't be copied" in case.verdicts[0].reason


def test_what_a_module_changes_by_itself_is_not_taken_over():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x + 1

    case = check(Parent(Own(), lambda child, x: child(child(x))), X, lambda c: c.call(1), "child")
    assert NoteCode.CONTEXT_TAKEN_OVER not in notes(case)


def test_timed_and_recorded_calls_have_the_attributes():
    seen = []

    class Watching(Scale):
        def forward(self, x):
            seen.append(self.factor)
            return super().forward(x)

    model = Parent(Watching(), set_factor)
    (case,) = run(model, X, lambda s: s.test(model.child, name="x").profile(2, 5))
    assert case.status is PASS
    assert len(seen) > 12 and set(seen) == {3.0}
