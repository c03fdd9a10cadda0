"""Suites in train mode and autocast, and the activations that are saved for a backward."""

from __future__ import annotations

import pytest
import torch
from single_case import reasons, run_case
from torch import nn
from torch.nn import functional as F
from whole_model import check

from ttprof import Status, TestSuite
from ttprof.codes import NoteCode
from ttprof.errors import SpecError
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto


class Random(nn.Module):
    """Draws random numbers in every way that a forward may."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        y = F.dropout(self.linear(x), 0.3, self.training) + torch.rand_like(x) * torch.randn_like(x)
        mask = torch.bernoulli(torch.full_like(x, 0.7)) + x.new_empty(x.shape).bernoulli_(0.5)
        q = y.unsqueeze(1)
        path = torch.rand((len(x), 1), dtype=x.dtype) < 0.5
        attended = F.scaled_dot_product_attention(q, q, q, dropout_p=0.2).squeeze(1) * path
        return attended * mask + x.new_empty(x.shape).uniform_(2, 3) + torch.randn(x.shape, dtype=x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_sides_draw_the_same_random_numbers_in_train_mode(dtype):
    torch.manual_seed(0)
    case = run_case(Random(), lambda case: case.train().dtype(dtype).tolerance(1e-4).deterministic())
    assert case.status is Status.PASS, case.errors
    assert "bitwise equal" in reasons(case)["deterministic output"]


def test_dropout_is_off_in_eval_mode_and_on_in_train_mode():
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    without_dropout = nn.Sequential(module[0], nn.Identity())
    assert run_case(module, lambda case: case.compare_with(without_dropout)).status is Status.PASS
    assert run_case(module, lambda case: case.train().compare_with(without_dropout)).status is Status.FAIL


def test_gradients_are_compared_in_train_mode_and_the_module_is_restored():
    module = nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.ReLU()).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    case = run_case(module, lambda case: case.train().backward(inputs=True).tolerance(1e-4), shape=(4, 4, 16))
    assert case.status is Status.PASS, case.errors
    # The input, the convolution's weight, and two of the norm; batch statistics cancel the gradient of the bias.
    assert "gradients of 4 tensors" in reasons(case)["gradients"]
    assert not any(m.training for m in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_autocast_is_compared_with_float64_at_the_floor_of_its_dtype():
    module = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8))
    case = run_case(module, lambda case: case.autocast(torch.bfloat16).tolerance(1e-4))
    assert case.status is Status.PASS
    assert "tolerance raised from 0.0001 to the floor of bfloat16" in reasons(case)["tolerance 0.0001"]
    assert case.metrics["rel_error"] > 1e-3  # it really ran in bfloat16
    strict = run_case(module, lambda case: case.autocast(torch.bfloat16).tolerance(1e-4, strict=True))
    assert strict.status is Status.FAIL
    both = run_case(module, lambda case: case.autocast(torch.bfloat16).backward(inputs=True).compare_with(module))
    assert both.status is Status.PASS and "gradients of 5 tensors" in reasons(both)["gradients"]
    with pytest.raises(SpecError, match="autocast needs"):
        run_case(module, lambda case: case.autocast(torch.float32))


def test_modules_under_autocast_keep_their_names_in_the_trace():
    model = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(8, 8), nn.ReLU())})
    suite = TestSuite(model, quiet=True)
    suite.test("mlp").input_shape((2, 8)).autocast(torch.bfloat16).profile(0, 2)
    (case,) = suite.run()
    assert set(Attribution(kineto.read(case.trace_path)).modules.paths) == {"mlp", "mlp.0", "mlp.1"}


def test_activation_mb_counts_saved_tensors_once_and_neither_inputs_nor_weights():
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
    case = run_case(module, lambda case: case.backward())
    # The output of the ReLU, which both the ReLU and the second layer save.
    assert case.metrics["activation_mb"] == 4 * 32 * 4 / 2**20
    assert "activation_mb" not in run_case(module, lambda case: case).metrics
    assert 0 < case.metrics["backward_share"] < 1


class FreezesItsNorm(nn.Module):
    """Keeps the norm of its backbone in eval mode when it trains."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))

    def train(self, mode=True):
        super().train(mode)
        self.backbone[1].eval()
        return self

    def forward(self, x):
        return self.backbone(x)


def test_a_module_trains_as_the_model_trains_it():
    x = torch.linspace(-1, 1, 24).view(4, 6)
    model = FreezesItsNorm()
    with torch.no_grad():
        expected = model.train().backbone(x)
    modes = [module.training for module in model.modules()]
    case = check(model, x, lambda c: c.train().compare_with(lambda x: expected.to(x)).tolerance(1e-5), "backbone")
    assert case.status is Status.PASS, case.errors
    assert [module.training for module in model.modules()] == modes
    (note,) = (n for n in case.trials[0].notes if n.code is NoteCode.MODE_KEPT)
    assert note.text == "its 1 does not follow it into train mode"
