"""Arguments that are tensors of the module itself are so in the test, in every dtype, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from whole_model import check, verdict

from ttprof import Status

PASS, FAIL = Status.PASS, Status.FAIL
X = torch.linspace(-1, 1, 8).view(2, 4)


class Cell(nn.Module):
    """Writes to its own state, and reads it from an argument."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kv", torch.zeros(2, 4))
        self.rows = {"last": [torch.zeros(3, 4)]}
        self.weight = nn.Parameter(torch.linspace(-1, 2, 16).view(4, 4))

    def forward(self, x, memory):
        self.kv.add_(1)
        self.rows["last"][0].add_(10)
        return x @ self.weight + memory


class Model(nn.Module):
    """Passes *argument* of its cell to the cell."""

    def __init__(self, argument):
        super().__init__()
        self.cell, self.argument = Cell(), argument

    def forward(self, x):
        return self.cell(x, self.argument(self.cell))


ARGUMENTS = {
    "a buffer": lambda cell: cell.kv,
    "a view of a buffer": lambda cell: cell.kv[1],
    "a transposed view": lambda cell: cell.kv.T.T,
    "a tensor in a list in a dict": lambda cell: cell.rows["last"][0][1:],
    "a parameter": lambda cell: cell.weight[:2],
}


def state_of(cell):
    return copy.deepcopy((dict(cell.state_dict()), cell.rows))


@pytest.mark.parametrize("argument", ARGUMENTS.values(), ids=ARGUMENTS.keys())
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_argument_is_the_tensor_of_the_module(argument, dtype):
    model = Model(argument)
    expected = copy.deepcopy(model)(X).detach()
    before = state_of(model.cell)
    case = check(
        model,
        X,
        lambda c: (c.dtype(dtype) if dtype else c).compare_with(lambda x, memory: expected.to(x)).tolerance(2e-2),
        "cell",
    )
    assert case.status is PASS, case.errors
    for ours, theirs in zip(state_of(model.cell)[0].values(), before[0].values(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(model.cell.rows["last"][0], before[1]["last"][0])


@pytest.mark.parametrize("argument", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_the_reference_is_tied_too(argument):
    case = check(Model(argument), X, lambda c: c.tolerance(1e-5).backward(), "cell")
    assert case.status is PASS, case.errors


def test_the_gradient_of_a_tied_parameter_is_that_of_both_uses():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 2, 16).view(4, 4))

        def forward(self, x, weight):
            return x @ self.weight + x @ weight.T

    class Halves(Tied):
        """What a test with a copy of the argument would compute: the gradient of one use."""

        def forward(self, x, weight):
            return super().forward(x, self.weight.detach())

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.tied = Tied()

        def forward(self, x):
            return self.tied(x, self.tied.weight)

    for reference, status in ((Tied, PASS), (Halves, FAIL)):
        case = check(Whole(), X, lambda c, r=reference: c.compare_with(r()).tolerance(1e-4).backward(), "tied")
        assert verdict(case, "gradients").status is status, case.errors


def test_a_user_who_passes_a_tensor_of_the_module():
    cell = Cell()
    expected = X @ cell.weight.detach() + 1
    case = check(cell, (X, cell.kv), lambda c: c.compare_with(lambda x, kv: expected.to(x)).tolerance(1e-5))
    assert case.status is PASS, case.errors


def test_an_attribute_that_the_model_sets_to_an_argument():
    class Adds(nn.Module):
        def forward(self, x):
            x.mul_(2)
            return x + self.residual

    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.adds = Adds()

        def forward(self, x):
            self.adds.residual = x * 1
            return self.adds(self.adds.residual)

    expected = 4 * X
    case = check(Sets(), X, lambda c: c.compare_with(lambda x: expected.to(x)).tolerance(1e-6), "adds")
    assert case.status is PASS, case.errors


def test_an_attribute_that_the_model_sets_to_a_view_of_a_weight():
    class Uses(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.add_(1)
            return x @ self.head.T

    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.uses = Uses(4, 4)

        def forward(self, x):
            self.uses.head = self.uses.weight[:2]
            return self.uses(x)

    model = Sets()
    expected = X @ (model.uses.weight[:2].detach() + 1).T
    before = model.uses.weight.detach().clone()
    case = check(model, X, lambda c: c.compare_with(lambda x: expected.to(x)).tolerance(1e-5), "uses")
    assert case.status is PASS, case.errors
    assert torch.equal(model.uses.weight, before)


def test_a_parameter_that_each_call_changes_starts_each_call_from_its_own_value():
    seen = []

    class Decays(nn.Linear):
        def forward(self, x):
            seen.append(float(self.weight[0, 0]))
            with torch.no_grad():
                self.weight.mul_(0.5)
            return super().forward(x)

    layer = Decays(4, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    case = check(layer, X, lambda c: c.profile(2, 20))
    assert case.status is PASS, case.errors
    assert seen.count(1.0) >= 22 and float(layer.weight[0, 0]) == 1.0


def test_a_cache_that_the_first_call_fills_is_full_in_the_timed_calls():
    filled = []

    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = {}

        def forward(self, x):
            if "cos" not in self.table:
                filled.append(1)
                self.table["cos"] = torch.cos(x)
            return x * self.table["cos"]

    calls = []
    for iterations in (5, 50):
        filled.clear()
        check(Caches(), X, lambda c, n=iterations: c.profile(2, n))
        calls.append(len(filled))
    assert calls[0] == calls[1]


def test_an_attribute_that_the_model_resets_before_each_call_is_reset_in_the_test():
    lengths = []

    class Grows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.calls = None, 0

        def forward(self, x):
            self.rows = x if self.rows is None else torch.cat([self.rows, x])
            self.calls += 1
            lengths.append(len(self.rows))
            return self.rows

    class Resets(nn.Module):
        def __init__(self):
            super().__init__()
            self.grows = Grows()

        def forward(self, x):
            self.grows.rows = None
            return self.grows(x)

    model = Resets()
    for dtype in (torch.float32, torch.bfloat16):
        lengths.clear()
        case = check(model, X, lambda c, d=dtype: c.dtype(d).tolerance(1e-2).no_leak().profile(2, 31), "grows")
        assert case.status is PASS, case.errors
        assert len(lengths) > 60 and set(lengths) == {2}
    assert model.grows.rows is None and model.grows.calls == 0
