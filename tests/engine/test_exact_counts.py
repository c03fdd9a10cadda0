"""Exact counts of real modules: operators, allocations, graph breaks and recompilations."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from whole_model import Parent, check, metric

from ttprof import Status, exactly
from ttprof.engine import exact_counts
from ttprof.plan.compiled import entry_hooks

X = torch.linspace(-1, 1, 8).view(2, 4)


class Breaking(nn.Module):
    """Breaks its graph a number of times."""

    def __init__(self, breaks: int) -> None:
        super().__init__()
        self.breaks = breaks

    def forward(self, x):
        x = x + 1
        if self.breaks > 0:
            torch._dynamo.graph_break()
            x = x * 2
        if self.breaks > 1:
            print(end="")
            x = x - 1
        return x


class Around(nn.Module):
    """Calls another module in the middle, by a compiled method if *compiled*."""

    def __init__(self, inner: nn.Module, compiled: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.call = torch.compile(self.work, backend="eager") if compiled else self.work

    def work(self, x):
        return self.inner(x + 1) * 3

    def forward(self, x):
        return self.call(x)


class Looping(nn.Module):
    """Breaks its graph in a loop, so that torch leaves it to Python."""

    def forward(self, x):
        for _ in range(2):
            x = x + 1
            torch._dynamo.graph_break()
        return x


@torch.compile(backend="eager")
def broken_function(x):
    y = x.exp()
    torch._dynamo.graph_break()
    return y.relu()


class CallingFunction(nn.Module):
    """Calls a compiled function twice, from Python."""

    def forward(self, x):
        return broken_function(x) + broken_function(x + 1)


def whole(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


class Recompiling(nn.Module):
    """Reads a number that changes with each call, for which torch compiles again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + len("x" * self.calls)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_compiled_module_that_is_warm_compiles_nothing():
    case = check(torch.compile(nn.Linear(4, 4), backend="eager"), X)
    assert metric(case, "recompile_count") == 0


@pytest.mark.parametrize("name", ["graph_break_count", "recompile_count"])
def test_a_module_that_is_not_compiled_has_no_breaks_and_no_compilations(name):
    case = check(nn.Linear(4, 4), X, lambda case: case.expect(**{name: 0}))
    assert metric(case, name) is None
    assert case.status is Status.ERROR and "torch.compile" in case.errors[0]


@pytest.mark.parametrize("compiled", [whole, in_place])
@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_graph_breaks_of_a_compiled_module(compiled, breaks):
    module = compiled(Breaking(breaks))
    case = check(module, X, lambda case: case.expect(graph_break_count=breaks).backward(inputs=True))
    assert case.status is Status.PASS, case.errors
    assert metric(case, "graph_break_count") == breaks


@pytest.mark.parametrize("compiled", [whole, in_place])
def test_graph_breaks_under_autocast_and_within_an_eager_parent(compiled):
    case = check(compiled(Breaking(1)), X, lambda case: case.autocast(torch.bfloat16))
    assert (metric(case, "graph_break_count"), metric(case, "recompile_count")) == (1, 0)
    child = compiled(Breaking(1))
    for target in (child, "child"):
        case = check(Parent(child, lambda part, x: part(x) * 2), X, target=target)
        assert metric(case, "graph_break_count") == 1


@pytest.mark.parametrize(
    ("make", "breaks"),
    [
        (lambda: whole(nn.TransformerEncoderLayer(4, 2, 8)), 0),
        (lambda: Around(nn.Linear(4, 4), compiled=True), 0),
        (lambda: nn.Sequential(whole(Breaking(1)), Breaking(1), in_place(Breaking(2))), 1 + 2),
        (lambda: whole(nn.Sequential(whole(Breaking(0)), whole(Breaking(0)))), 0),
        (CallingFunction, 1 + 1),
    ],
    ids=["layer", "method", "parts", "compiled twice", "function"],
)
def test_graph_breaks_of_modules_with_compiled_parts(make, breaks):
    assert metric(check(make(), X), "graph_break_count") == breaks


def test_a_break_within_a_part_breaks_its_callers_too():
    case = check(Around(Breaking(1), compiled=True), X)
    assert metric(case, "graph_break_count") == 3  # before the part, within it, and after it
    torch._dynamo.reset()
    assert torch._dynamo.explain(Around(Breaking(1)).work)(X).graph_break_count == 3


def test_a_module_that_is_left_to_python_has_no_number_of_breaks():
    case = check(whole(Looping()), X, lambda case: case.expect(graph_break_count=0))
    assert metric(case, "graph_break_count") is None
    assert case.status is Status.ERROR


def test_a_recording_leaves_compiled_code_as_it_was():
    part = in_place(Breaking(1))
    module = nn.Sequential(whole(Breaking(1)), part, Around(nn.Linear(4, 4), compiled=True))
    hooks = [list(listed) for listed in entry_hooks([module])]
    check(module, X)
    assert entry_hooks([module]) == hooks and len(hooks) == 3
    assert "forward" not in vars(part)
    before = exact_counts.compilations()
    with torch.no_grad():
        module(X)
    assert exact_counts.compilations() == before


def test_compilations_in_the_timed_iterations_count(monkeypatch):
    counts = iter((7, 9))
    monkeypatch.setattr(exact_counts, "compilations", lambda: next(counts))
    case = check(torch.compile(nn.Linear(4, 4), backend="eager"), X, lambda case: case.expect(recompile_count=0))
    assert metric(case, "recompile_count") == 2
    assert case.status is Status.FAIL


def test_another_value_of_an_attribute_compiles_again():
    before = exact_counts.compilations()
    module = torch.compile(Recompiling(), backend="eager")
    for _ in range(2):
        module(X)
    assert exact_counts.compilations() - before == 2


def test_operators_and_allocations_of_a_linear_layer():
    layer = nn.Linear(4, 16, bias=False)
    limits = {"allocation_count": exactly(1), "allocated_mb": exactly(2 * 16 * 4 / 2**20), "copied_mb": exactly(0)}
    case = check(layer, X, lambda case: case.expect(**limits))
    assert case.status is Status.PASS, case.errors


def test_instructions_are_counted_on_one_thread(monkeypatch):
    class Counter:
        def start(self):
            pass

        def stop(self):
            return 1000 * torch.get_num_threads()

    @contextmanager
    def fake():
        yield Counter()

    before = torch.get_num_threads()
    monkeypatch.setattr(exact_counts, "perf_counter", fake)
    case = check(nn.Linear(4, 4), X)
    assert metric(case, "instructions") == 1000
    assert torch.get_num_threads() == before
