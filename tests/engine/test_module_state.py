"""Buffers and in-place changes: every iteration and both sides start from the same state; the model is restored."""

from __future__ import annotations

import math

import torch
from torch import nn

from ttprof import Status, TestSuite


class Counter(nn.Module):
    """Updates a buffer in every forward, and returns NaN after *good_for* calls."""

    def __init__(self, good_for=10**9):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.good_for, self.count = good_for, 0

    def forward(self, x):
        self.calls.add_(1)
        self.count += 1
        return x * self.calls * (math.nan if self.count > self.good_for else 1)


def test_buffers_start_in_the_same_state_on_both_sides(suite):
    suite.test(Counter()).inputs(torch.rand(3)).tolerance(1e-5).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors


def test_an_output_that_becomes_nan_during_timing_fails(suite):
    suite.test(Counter(good_for=5)).inputs(torch.rand(3)).profile(2, 8)
    (case,) = suite.run()
    assert case.status is Status.FAIL
    assert "after the timed iterations, output has 3 NaN" in case.errors[0]


def test_backward_through_in_place_modules(suite):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(inplace=True))
    suite.test(net).inputs(torch.randn(2, 4)).backward(inputs=True).tolerance(1e-4).profile(1, 2)
    suite.test(nn.ReLU(inplace=True)).inputs(torch.randn(2, 4)).backward(inputs=True).profile(1, 2)
    first, second = suite.run()
    assert (first.status, second.status) == ("PASS", "PASS"), (first.errors, second.errors)
    assert "gradients" in [verdict.expectation for verdict in first.verdicts]


class Doubling(nn.Module):
    """Computes the right output and changes its input in place."""

    def forward(self, x):
        return x.mul_(2)


def test_every_iteration_of_an_in_place_module_gets_the_original_inputs(suite):
    first_values = []

    class RecordsInputs(Doubling):
        def forward(self, x):
            first_values.append(float(x[0]))
            return super().forward(x)

    suite.test(RecordsInputs()).inputs(torch.ones(3)).tolerance(1e-5).profile(2, 5)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors
    assert set(first_values) == {1.0}
    assert "changes its inputs in place" in case.trials[0].notes[0].text


def test_buffers_start_in_the_same_state_at_every_point_of_a_sweep():
    class Count(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.proj(x) * self.calls

    ours, theirs = Count(), Count()
    theirs.load_state_dict(ours.state_dict())
    suite = TestSuite(ours, seq_len=8, quiet=True)
    suite.test(ours).with_seq_lengths([8, 16, 32]).compare_with(theirs).profile(1, 2)
    suite.test(ours.proj).profile(1, 2)
    suite.test(ours, name="again").compare_with(theirs).profile(1, 2)
    result = suite.run()
    assert result.passed, [case.errors for case in result]
    assert ours.calls == theirs.calls == 0


def test_sparse_buffers_are_restored():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("adjacency", torch.eye(8).to_sparse())
            self.proj = nn.Linear(8, 8)

        def forward(self, x):
            return torch.sparse.mm(self.adjacency, self.proj(x))

    model = Graph()
    suite = TestSuite(model, inputs=torch.randn(8, 8), quiet=True)
    suite.test("proj").tolerance(1e-4).profile(1, 2)
    suite.test(model).profile(1, 2)
    assert suite.run().passed
    assert torch.equal(model.adjacency.to_dense(), torch.eye(8))


def test_the_model_is_restored(model):
    model.train()
    model.ffn[0].weight.grad = torch.ones_like(model.ffn[0].weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = [dict(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(3)
    random = torch.rand(2)
    torch.manual_seed(3)
    suite = TestSuite(model, seq_len=16, quiet=True)
    suite.test(model.ffn).backward().tolerance(1e-3).profile(1, 2)
    suite.test_all_modules().dtype(torch.bfloat16).tolerance(1e-2).profile(1, 2)
    assert suite.run().passed
    assert model.training and all(m.training for m in model.modules())
    assert torch.equal(model.ffn[0].weight.grad, torch.ones_like(model.ffn[0].weight))
    assert [dict(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    assert torch.equal(torch.rand(2), random)
    assert not any("forward" in vars(m) for m in model.modules())
