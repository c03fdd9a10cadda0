"""Calls of a module, their FLOPs, and the outputs and references to compare."""

from __future__ import annotations

import pytest
import torch
from tiny_models import Attention, Block
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ttprof.errors import InputsError, ModuleRaised
from ttprof.plan.inputs import Inputs
from ttprof.run import outputs
from ttprof.run.flops import FlopCount
from ttprof.run.work import count_work
from ttprof.run.workload import cold_cache, forward_call, training_call


def inputs(*tensors: torch.Tensor) -> Inputs:
    return Inputs("given", args=tensors)


def test_a_forward_runs_without_gradients_on_clones():
    calls = []

    class Probe(nn.Module):
        def forward(self, x):
            calls.append((x.data_ptr(), torch.is_grad_enabled()))
            return x.add_(1)

    x = torch.zeros(3)
    call = forward_call(Probe(), inputs(x))
    call()
    call()
    assert calls[0][0] == calls[1][0] != x.data_ptr()
    assert not calls[0][1]
    assert torch.equal(x, torch.zeros(3))


def test_training_runs_a_backward_and_leaves_no_gradient():
    module = nn.Linear(3, 2)
    gradients = []
    module.weight.register_hook(lambda g: gradients.append(g.clone()))
    training_call(module, inputs(torch.ones(4, 3)))()
    assert torch.equal(gradients[0], torch.full((2, 3), 4.0))
    assert module.weight.grad is None


def test_training_without_a_gradient_is_an_error():
    with pytest.raises(
        InputsError,
        match=r"no output of Embedding depends on a parameter or an input that requires",
    ):
        training_call(nn.Embedding(4, 2).requires_grad_(False), inputs(torch.tensor([1])))()


def test_flops_match_those_of_torch():
    for module, x in ((Attention(32), torch.randn(2, 8, 32)), (nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8))):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(x)
        assert count_work(forward_call(module, inputs(x))).flops == FlopCount(counter.get_total_flops())


def test_flops_of_fused_attention_and_fused_layers_on_cpu():
    q = torch.randn(1, 2, 16, 8)
    with torch.no_grad():
        assert count_work(lambda: nn.functional.scaled_dot_product_attention(q, q, q)).flops == FlopCount(
            4 * 2 * 16 * 16 * 8
        )
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    linear = 2 * 8 * (4 * 16 * 16 + 2 * 16 * 32)
    assert count_work(forward_call(layer, inputs(torch.randn(1, 8, 16)))).flops == FlopCount(linear + 4 * 8 * 8 * 16)


def test_the_default_reference_is_a_float64_copy_of_the_module():
    module, x = nn.Linear(4, 4), torch.randn(2, 4)
    reference = outputs.default_reference(module, inputs(x), torch.float32)
    expected = x.double() @ module.weight.double().T + module.bias.double()
    assert torch.allclose(reference.outcome.output, expected, atol=1e-12)
    assert module.weight.dtype is torch.float32


class OnlyFloat32(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        if x.dtype is torch.float64:
            raise RuntimeError("no kernel for double")
        return x * self.weight


def test_a_low_precision_module_falls_back_to_a_float32_reference():
    module = OnlyFloat32().to(torch.bfloat16)
    reference = outputs.default_reference(module, inputs(torch.ones(3, dtype=torch.bfloat16)), torch.bfloat16)
    assert reference.outcome.output.dtype is torch.float32
    assert "float32, since it does not run in float64" in reference.described


def test_a_float32_module_is_not_its_own_reference():
    with pytest.raises(ModuleRaised, match="no kernel for double"):
        outputs.default_reference(OnlyFloat32(), inputs(torch.ones(3)), torch.float32)


def test_a_callable_reference_that_only_runs_in_float32_is_used_unchanged():
    reference = outputs.given_reference(OnlyFloat32().forward, "the reference f", inputs(torch.ones(3)), torch.float32)
    assert "in torch.float32, since it does not run in float64" in reference.described


def test_forwards_with_one_seed_return_the_same():
    model, ids = Block(), torch.randint(0, 64, (1, 4))
    first, second = (outputs.forward_once(model, inputs(ids), "m").output for _ in range(2))
    assert torch.equal(first, second)


def test_a_cold_cache_can_be_flushed():
    assert cold_cache(torch.device("cpu"))() is None
