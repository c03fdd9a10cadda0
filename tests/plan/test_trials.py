"""The trials of a case: sweeps, shapes and factories."""

from __future__ import annotations

import pytest
import torch
from tiny_models import Block, ConvNet
from torch import nn

from ttprof import Status, TestSuite
from ttprof.errors import InputsError
from ttprof.plan.infer import ModelInputs
from ttprof.plan.trials import expand
from ttprof.spec import LAWS, CaseSpec, GivenInputs, Scaling, SourceLine, SuiteSpec, Sweep

CPU = torch.device("cpu")


def trials(model: nn.Module, module: nn.Module, inputs=None, seq_len=8, **values):
    case = CaseSpec(name="x", module=module, path=None, source=SourceLine("f.py", 1), **values)
    suite = SuiteSpec(name="s", model=model, seq_len=seq_len, inputs=inputs)
    with torch.no_grad():
        return expand(case, suite, ModelInputs(model.eval(), CPU, inputs))


def test_without_a_sweep_there_is_one_trial():
    model = Block()
    (trial,) = trials(model, model.ffn)
    assert (trial.point, trial.inputs.shapes()) == ({}, [(1, 8, 32)])


def test_two_sweeps_are_crossed():
    model = Block()
    expanded = trials(model, model.ffn, sweeps=(Sweep("seq_len", (4, 8)), Sweep("batch_size", (1, 3))))
    assert [t.inputs.shapes()[0][:2] for t in expanded] == [(1, 4), (3, 4), (1, 8), (3, 8)]


def test_a_sweep_replaces_its_dimension_of_a_given_shape():
    model = Block()
    expanded = trials(model, model.ffn, given=GivenInputs(shape=(2, 99, 32)), sweeps=(Sweep("seq_len", (4, 8)),))
    assert [t.inputs.shapes() for t in expanded] == [[(2, 4, 32)], [(2, 8, 32)]]
    assert expanded[0].inputs.source == "given"


def test_the_shape_of_an_embedding_is_that_of_its_token_ids():
    model = Block()
    (trial,) = trials(model, model.embedding, given=GivenInputs(shape=(2, 5)))
    assert trial.inputs.args[0].dtype is torch.int64


def test_a_sweep_that_changes_no_input_is_an_error():
    model = ConvNet()
    with pytest.raises(InputsError, match="seq_len has no effect on this module: its input is 1x3x224x224"):
        trials(model, model.stem, sweeps=(Sweep("seq_len", (4, 8)),))
    with pytest.raises(InputsError, match=r"TestSuite\(inputs=...\) is fixed"):
        trials(model, model.stem, inputs=torch.randn(1, 3, 32, 32), sweeps=(Sweep("batch_size", (1, 2)),))
    factory = GivenInputs(factory=lambda batch_size: torch.randn(batch_size, 3, 32, 32))
    with pytest.raises(InputsError, match="its input factory does not take seq_len"):
        trials(model, model.stem, given=factory, sweeps=(Sweep("seq_len", (4, 8)),))


def test_a_sweep_over_any_axis_named_in_the_shape_or_the_factory():
    model = ConvNet()
    sides = (Sweep("side", (16, 32)),)
    expanded = trials(model, model.stem, given=GivenInputs(shape=("batch_size", 3, "side", "side")), sweeps=sides)
    assert [(t.point, t.inputs.shapes()) for t in expanded] == [
        ({"side": 16}, [(1, 3, 16, 16)]),
        ({"side": 32}, [(1, 3, 32, 32)]),
    ]
    factory = GivenInputs(factory=lambda batch_size, side: torch.randn(batch_size, 3, side, 8))
    assert [t.inputs.shapes() for t in trials(model, model.stem, given=factory, sweeps=sides)] == [
        [(1, 3, 16, 8)],
        [(1, 3, 32, 8)],
    ]


def test_a_sweep_over_an_axis_that_no_input_has_is_an_error_with_a_remedy():
    model, sides = ConvNet(), (Sweep("side", (16, 32)),)
    with pytest.raises(InputsError, match=r"inferred inputs know only seq_len and batch_size; name it in .input_shape"):
        trials(model, model.stem, sweeps=sides)
    with pytest.raises(InputsError, match="name it 'side' there"):
        trials(model, model.stem, given=GivenInputs(shape=(1, 3, 8, 8)), sweeps=sides)
    with pytest.raises(InputsError, match=r"names 'width': sweep it, with_sweep\(width="):
        trials(model, model.stem, given=GivenInputs(shape=(1, 3, "side", "width")), sweeps=sides)


def test_an_expected_scaling_without_a_sweep_gets_default_sizes():
    model = Block()
    expanded = trials(model, model.ffn, seq_len=64, scaling=Scaling(LAWS["linear"]))
    assert [t.point["seq_len"] for t in expanded] == [8, 16, 32, 64]


def test_the_inputs_of_the_model_can_come_from_a_factory():
    model = Block()

    def ids(batch_size, seq_len):
        return torch.full((batch_size, seq_len), 3)

    expanded = trials(model, model.embedding, inputs=ids, sweeps=(Sweep("seq_len", (4, 8)),))
    assert [t.inputs.args[0].tolist() for t in expanded] == [[[3] * 4], [[3] * 8]]


@pytest.mark.parametrize("seq_len", [1, 2, 3])
def test_a_default_sweep_that_is_too_short_is_an_error(model, seq_len):
    suite = TestSuite(model, seq_len=seq_len, quiet=True)
    suite.test(model.ffn).expect_scaling("linear")
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "at least 3 sizes of seq_len over a range of 4x" in case.errors[0]
