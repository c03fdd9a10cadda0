"""A module is tested under the autocast and with the attributes under which its model calls it."""

from __future__ import annotations

import pathlib
import threading

import pytest
import torch
from torch import nn
from whole_model import Parent, check, notes, run

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
    assert note.text == "tested as the model runs it: with its factor as at that call"
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
    assert "the model calls it under no_grad" in case.verdicts[0].reason


def test_an_attribute_that_can_not_be_copied_is_said_in_the_line_of_the_verdict():
    def set_stream(child, x):
        child.lines = pathlib.Path(__file__).open(encoding="utf-8")  # noqa: SIM115
        with child.lines:
            return child(x)

    case = check(Parent(Scale(), set_stream), X, lambda c: c.tolerance(1e-3), "child")
    assert NoteCode.CONTEXT_DIFFERS in notes(case)
    assert "at this call in the model its lines differs, and can't be copied" in case.verdicts[0].reason


def test_a_later_call_starts_from_what_the_earlier_ones_left():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            self.seen += 1
            return x + 10 * self.calls + self.seen

    model = Parent(Counts(), lambda child, x: child(child(x)))
    case = check(model, X, lambda c: c.call(1).compare_with(lambda x: x + 20 + 2), "child")
    assert case.status is PASS, case.errors
    assert (model.child.calls, float(model.child.seen)) == (0, 0)


def test_an_attribute_that_is_set_between_two_calls():
    def set_between(child, x):
        child.factor = 2.0
        x = child(x)
        child.factor = 3.0
        return child(x)

    model = Parent(Scale(), set_between)
    for call, factor in ((0, 2.0), (1, 3.0)):
        case = check(model, X, lambda c, k=call, f=factor: c.call(k).compare_with(lambda x: x * f), "child")
        assert case.status is PASS, case.errors


def test_the_parts_of_a_module_that_is_tested_too():
    def set_leaf(child, x):
        child[0].factor = 7.0
        return child(x)

    model = Parent(nn.Sequential(Scale()), set_leaf)
    register = lambda s: [  # noqa: E731
        s.test(name).profile(1, 2).compare_with(lambda x: 7 * x) for name in ("child", "child.0")
    ]
    for case in run(model, X, register):
        assert case.status is PASS, case.errors


def in_place(kind):
    def change(child, x):
        if kind == "a list":
            child.factors.append(3.0)
        elif kind == "a dict":
            child.options["factor"] = 3.0
        elif kind == "a tensor":
            child.tensor.fill_(3.0)
        elif kind == "a buffer":
            child.buffer.fill_(3.0)
        elif kind == "a parameter":
            with torch.no_grad():
                child.parameter.fill_(3.0)
        elif kind == "the data of a parameter":
            child.parameter.data.mul_(3.0)
        elif kind == "a hidden attribute":
            child._hidden = 3.0
        else:
            child.part = Scale(3.0)
        return child(x)

    return change


class Holds(nn.Module):
    """Multiplies by whatever of its state differs from 1."""

    def __init__(self):
        super().__init__()
        self.factors, self.options, self.tensor, self._hidden = [1.0], {"factor": 1.0}, torch.ones(()), 1.0
        self.register_buffer("buffer", torch.ones(()))
        self.parameter, self.part = nn.Parameter(torch.ones(())), Scale()

    def forward(self, x):
        x = x * self.factors[-1] * self.options["factor"] * self.tensor * self.buffer
        return self.part(x * self.parameter * self._hidden)


KINDS = ["a list", "a dict", "a tensor", "a buffer", "a parameter", "the data of a parameter", "a hidden attribute"]


@pytest.mark.parametrize("kind", [*KINDS, "a submodule"])
def test_what_the_model_changes_in_place_is_as_at_the_call(kind):
    model = Parent(Holds(), in_place(kind))
    case = check(model, X, lambda c: c.compare_with(lambda x: 3 * x), "child")
    assert case.status is PASS, case.errors
    with torch.no_grad():
        assert torch.equal(model.child(X), X)


def test_memory_that_is_shared_in_another_dtype_is_said():
    def set_bits(child, x):
        hidden = x * 2
        child.bits = hidden.view(torch.int32)
        return child(hidden)

    case = check(Parent(Scale(), set_bits), X, lambda c: c, "child")
    assert "its bits shares memory with its inputs in the model, and not in the test" in case.verdicts[0].reason


def test_hooks_that_the_model_registers_are_said():
    def hooked(child, x):
        handle = child.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        y = child(x)
        handle.remove()
        return y

    case = check(Parent(Scale(), hooked), X, lambda c: c, "child")
    assert "the model has registered or removed hooks on it at this call" in case.verdicts[0].reason


def test_each_call_runs_under_its_own_autocast():
    def second_under_autocast(child, x):
        y = child(x)
        with torch.autocast("cpu", torch.bfloat16):
            return child(y)

    torch.manual_seed(0)
    model = Parent(nn.Linear(6, 6), second_under_autocast)
    case = check(model, X, lambda c: c.every_call().tolerance(1e-6), "child")
    first, second = (trial.metrics["rel_error"] for trial in case.trials)
    assert first < 1e-6 < 1e-4 < second
    assert [NoteCode.CONTEXT_TAKEN_OVER in {n.code for n in t.notes} for t in case.trials] == [False, True]


def test_a_module_that_counts_its_calls_under_autocast():
    class Counting(nn.Linear):
        def forward(self, x):
            self.count = getattr(self, "count", 0) + 1
            return super().forward(x) * self.count

    torch.manual_seed(0)
    case = check(Parent(Counting(6, 6), under_autocast), X, lambda c: c.tolerance(2e-2), "child")
    assert case.status is PASS, case.errors
    assert NoteCode.MODEL_CHANGED in notes(case)


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


class Appends(nn.Module):
    """Grows what its parent has given it."""

    def forward(self, x):
        self.rows.append(x)
        self.total += 1
        return torch.cat(self.rows) * self.total


def test_each_call_starts_from_what_the_model_has_set():
    lengths = []

    class Watched(Appends):
        def forward(self, x):
            lengths.append((len(self.rows), float(self.total)))
            return super().forward(x)

    def set_rows(child, x):
        child.rows, child.total = [x + 1], torch.ones(())
        return child(x)

    model = Parent(Watched(), set_rows)
    expected = torch.cat([X + 1, X]) * 2
    for case in run(
        model, X, lambda s: [s.test(model.child, name=n).profile(3, 9).compare_with(lambda x: expected) for n in "ab"]
    ):
        assert case.status is PASS, case.errors
    assert len(lengths) > 30 and set(lengths) == {(1, 1.0)}


def test_a_module_that_its_own_mode_changes_is_not_taken_for_changed_by_the_model():
    class Merges(nn.Linear):
        def __init__(self):
            super().__init__(6, 6)
            self.low, self.merged = nn.Parameter(torch.ones(6, 6)), False

        def train(self, mode=True):
            super().train(mode)
            if mode is self.merged:
                self.weight.data += -self.low if mode else self.low
                self.merged = not mode
            return self

        def forward(self, x):
            return super().forward(x) if self.merged else super().forward(x) + x @ self.low.T

    torch.manual_seed(0)
    model = Parent(Merges(), lambda child, x: child(x))
    case = check(model, X, lambda c: c.train().backward().tolerance(1e-3), "child")
    assert case.status is PASS, case.errors
    assert NoteCode.CONTEXT_TAKEN_OVER not in notes(case)


def test_attributes_that_become_equal_ones_are_no_difference():
    class Keeps(Scale):
        def __init__(self):
            super().__init__()
            self.shape, self.limit, self.options = (2, 3), float("nan"), {"a": [1, 2]}

    def set_equal(child, x):
        child.shape, child.limit = (2, 3), float("nan")
        return child(x)

    case = check(Parent(Keeps(), set_equal), X, lambda c: c, "child")
    assert NoteCode.CONTEXT_TAKEN_OVER not in notes(case)


def test_only_what_can_not_be_copied_is_said():
    def set_both(child, x):
        child.factor, child.lock = 3.0, threading.Lock()
        return child(x)

    case = check(Parent(Scale(), set_both), X, lambda c: c.compare_with(lambda x: 3 * x), "child")
    assert case.status is PASS, case.errors
    assert "its lock differs, and can't be copied" in case.verdicts[0].reason
