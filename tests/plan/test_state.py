"""The context managers restore the model and the process even after an exception."""

from __future__ import annotations

import gc

import pytest
import torch
from tiny_models import Block, ConvNet
from torch import nn

from ttprof.plan import process_state, state
from ttprof.system.process import no_gc

CPU = torch.device("cpu")


def test_modes_gradients_buffers_and_rng_are_restored():
    model = ConvNet()
    model.train()
    model.head.eval()
    grad = torch.ones_like(model.head.weight)
    model.head.weight.grad = grad
    mean = model.stem[1].running_mean
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(ZeroDivisionError), state.under_test([model], [], CPU, seed=1):
        assert not model.training
        model.stem.train()(torch.randn(4, 3, 8, 8))
        model.stem[1].running_mean = torch.zeros(1)
        model.head.weight.grad = None
        torch.rand(10)
        1 / 0  # noqa: B018
    assert model.training and not model.head.training
    assert model.head.weight.grad is grad
    assert model.stem[1].running_mean is mean
    assert torch.equal(mean, torch.zeros(8))
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_makes_runs_repeatable():
    def draw():
        with state.under_test([], [], CPU, seed=3):
            return torch.rand(2)

    assert torch.equal(draw(), draw())


def test_a_module_is_moved_to_the_device_and_back():
    moves = []

    class Movable(Block):
        def to(self, device):
            moves.append(str(device))
            return self

    with pytest.raises(ZeroDivisionError), state.placed(Movable(), torch.device("cuda:1")):
        assert moves == ["cuda:1"]
        1 / 0  # noqa: B018
    assert moves == ["cuda:1", "cpu"]
    with state.placed(Movable(), CPU):
        assert len(moves) == 2


def test_threads_gc_and_the_fused_path_are_restored():
    threads = torch.get_num_threads()
    with process_state.threads(threads + 1), no_gc(), process_state.as_written():
        assert (torch.get_num_threads(), gc.isenabled()) == (threads + 1, False)
        assert not torch.backends.mha.get_fastpath_enabled()
    assert (torch.get_num_threads(), gc.isenabled()) == (threads, True)
    assert torch.backends.mha.get_fastpath_enabled()


def test_dtype_and_device_of_modules_without_parameters():
    assert state.device_of(torch.nn.ReLU()) is None
    assert state.dtype_of(torch.nn.ReLU()) is torch.float32
    assert state.dtype_of(Block().to(torch.bfloat16)) is torch.bfloat16


class Frozen(nn.Sequential):
    """Does not pass its mode on to its parts."""

    def train(self, mode=True):
        self.training = mode
        return self


def test_a_part_of_the_model_is_evaluated_and_restored_with_it():
    model = nn.Sequential(Frozen(nn.Linear(2, 2)), nn.Linear(2, 2)).train()
    model[0][0].note, model[1].note = ["before"], ["before"]
    for part in (model[0][0], model[1]):
        with state.under_test([model, part], [], CPU, seed=1):
            assert not part.training
            part.note.append("during")
            part.extra = 1
        assert part.training and part.note == ["before"] and not hasattr(part, "extra")
    assert model.training and model[0].training
