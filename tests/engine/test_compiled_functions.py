"""Functions and methods that a module has compiled: they stay compiled, and what they compute is what is judged."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn
from whole_model import check, verdict

from ttprof import Status
from ttprof.plan import compiled
from ttprof.plan.compiled import has_compiled_parts

PASS, FAIL, ERROR = Status.PASS, Status.FAIL, Status.ERROR
X = torch.linspace(-1, 1, 8).view(2, 4)


class Backend:
    """Runs the graph, counts its runs, and multiplies what it returns by a factor, as a miscompiled kernel would."""

    def __init__(self):
        self.runs, self.factor = 0, 1.0

    def __deepcopy__(self, memo):
        return self  # copies of a compiled module count here too

    def __call__(self, graph, example_inputs):
        def run(*args):
            self.runs += 1
            return [value * self.factor for value in graph.forward(*args)]

        return run


BACKEND = Backend()


@pytest.fixture(autouse=True)
def fresh_backend():
    torch._dynamo.reset()
    BACKEND.runs, BACKEND.factor = 0, 1.0


@torch.compile(backend=BACKEND)
def gelu_of_product(x, weight):
    return nn.functional.gelu(x @ weight)


kernels = ModuleType("kernels")
vars(kernels)["gelu"] = gelu_of_product


def by_way_of_another_function(x, weight):
    return gelu_of_product(x, weight)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 2, 16).view(4, 4))

    def product(self, x):
        return nn.functional.gelu(x @ self.weight)


class CallsCompiledFunction(Weighted):
    def forward(self, x):
        return by_way_of_another_function(x, self.weight)


class CompiledForward(Weighted):
    @torch.compile(backend=BACKEND)
    def forward(self, x):
        return self.product(x)


class CompiledMethod(Weighted):
    def __init__(self):
        super().__init__()
        self.compiled = torch.compile(self.product, backend=BACKEND)

    def forward(self, x):
        return self.compiled(x)


class InClosure(Weighted):
    def __init__(self):
        super().__init__()
        function = torch.compile(lambda x, weight: nn.functional.gelu(x @ weight), backend=BACKEND)
        self.call = lambda x, weight: function(x, weight)

    def forward(self, x):
        return self.call(x, self.weight)


class CompiledByItself(Weighted):
    def __init__(self):
        super().__init__()
        self.compile(backend=BACKEND)

    def forward(self, x):
        return self.product(x)


KINDS = [CallsCompiledFunction, CompiledForward, CompiledMethod, InClosure, CompiledByItself]


def run_tolerance(model):
    return check(model, X, lambda c: c.tolerance(1e-4).backward().profile(warmup=1, iterations=3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_code_is_judged_and_stays_compiled(kind):
    model = kind()
    assert has_compiled_parts(model)
    case = run_tolerance(model)
    assert case.status is PASS, case.errors
    runs = BACKEND.runs
    model(X)
    assert BACKEND.runs == runs + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_kernel_of_compiled_code_fails(kind):
    BACKEND.factor = 1.5
    assert verdict(run_tolerance(kind()), "tolerance").status is FAIL


@pytest.mark.parametrize("kind", KINDS)
def test_a_torch_whose_modes_end_compilation_gets_none(kind, monkeypatch):
    monkeypatch.setattr(compiled, "COMPILES_UNDER_MODES", False)
    monkeypatch.setattr(compiled.TransparentMode, "ignore_compile_internals", classmethod(lambda cls: False))
    BACKEND.factor = 1.5
    model = kind()
    assert verdict(run_tolerance(model), "tolerance").status is FAIL
    runs = BACKEND.runs
    model(X)
    assert BACKEND.runs == runs + 1


def test_a_function_of_another_file_is_seen_and_an_eager_module_has_no_compiled_parts():
    class Scaled(nn.Module):
        def forward(self, x):
            return kernels.gelu(x, x.T)

    assert has_compiled_parts(Scaled())
    assert not has_compiled_parts(nn.TransformerEncoderLayer(8, 2, 16))


def test_a_wrapper_is_tested_compiled_in_another_dtype():
    case = check(
        torch.compile(nn.Linear(4, 4), backend=BACKEND),
        X,
        lambda c: c.dtype(torch.bfloat16).tolerance(0.05).profile(warmup=1, iterations=3),
    )
    assert case.status is PASS, case.errors
    assert BACKEND.runs > 3


@pytest.mark.parametrize("kind", [CompiledMethod, CompiledByItself])
def test_what_a_copy_would_not_compile_is_not_tested_in_another_dtype(kind):
    case = check(kind(), X, lambda c: c.dtype(torch.bfloat16).profile(warmup=1, iterations=3))
    assert case.status is ERROR
    assert "would not be compiled" in case.errors[0]
