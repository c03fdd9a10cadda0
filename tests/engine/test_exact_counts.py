"""Exact counts of real modules: operators, allocations and recompilations."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from whole_model import check, metric

from ttprof import Status, exactly
from ttprof.engine import exact_counts

X = torch.linspace(-1, 1, 8).view(2, 4)


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


def test_a_module_that_is_not_compiled_has_no_compilations():
    case = check(nn.Linear(4, 4), X, lambda case: case.expect(recompile_count=0))
    assert metric(case, "recompile_count") is None
    assert case.status is Status.ERROR and "torch.compile" in case.errors[0]


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
