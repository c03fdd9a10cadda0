"""Inputs: given, captured from the model, or synthesised."""

from __future__ import annotations

import pytest
import torch
from tiny_models import Attention, Block, ConvNet, HiddenDimOnly, Raises
from torch import nn

from ttprof import Status, TestSuite
from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError, ModuleRaised
from ttprof.plan.infer import ModelInputs, of_target
from ttprof.plan.inputs import Inputs, Size, as_inputs, from_factory

CPU = torch.device("cpu")
SIZE = Size(2, 8)


def stand_alone(module: nn.Module, size: Size = SIZE) -> Inputs:
    """The inputs inferred for a module that is not part of the model."""
    module.eval()
    return of_target(module, ModelInputs(Block(), CPU), size, 0)


def test_users_pass_tensors_tuples_dicts_or_pairs():
    x, y = torch.ones(1), torch.ones(2)
    assert as_inputs(x).args == (x,)
    assert as_inputs((x, y)).args == (x, y)
    assert as_inputs({"a": x}).kwargs == {"a": x}
    both = as_inputs(((x,), {"a": y}))
    assert (both.args, both.kwargs) == ((x,), {"a": y})


def test_factories_get_the_sizes_they_have_parameters_for():
    assert from_factory(lambda seq_len: torch.ones(seq_len), SIZE).shapes() == [(8,)]
    assert from_factory(lambda **sizes: torch.ones(sizes["batch_size"], sizes["seq_len"]), SIZE).shapes() == [(2, 8)]
    with pytest.raises(ModuleRaised, match="input factory 'broken' raised KeyError"):
        from_factory(broken, SIZE)
    with pytest.raises(InputsError, match="returned None"):
        from_factory(lambda: None, SIZE)


def broken():
    raise KeyError("tokenizer")


def test_clones_share_nothing_and_casts_touch_only_floats():
    x, ids = torch.ones(2), torch.ones(2, dtype=torch.int64)
    inputs = Inputs("given", args=([x, {"ids": ids}],))
    clone = inputs.cloned()
    clone.tensors()[0].zero_()
    assert x.sum() == 2
    assert [t.dtype for t in inputs.floating(torch.bfloat16).tensors()] == [torch.bfloat16, torch.int64]
    assert inputs.describe() == "(2 float32, {ids: 2 int64})"


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (nn.Linear(6, 3), [(2, 8, 6)]),
        (nn.Embedding(5, 3), [(2, 8)]),
        (nn.LayerNorm((4, 6)), [(2, 8, 4, 6)]),
        (nn.RMSNorm(6), [(2, 8, 6)]),
        (nn.Conv1d(3, 4, 3), [(2, 3, 8)]),
        (nn.Conv2d(3, 4, 3), [(2, 3, 224, 224)]),
        (nn.ConvTranspose2d(3, 4, 3), [(2, 3, 224, 224)]),
        (nn.Conv3d(3, 4, 3), [(2, 3, 16, 16, 16)]),
        (nn.BatchNorm1d(6), [(2, 6, 8)]),
        (nn.BatchNorm2d(6), [(2, 6, 16, 16)]),
        (nn.GroupNorm(2, 6), [(2, 6, 8)]),
        (nn.LSTM(6, 4, batch_first=True), [(2, 8, 6)]),
        (nn.GRU(6, 4), [(8, 2, 6)]),
        (nn.LSTMCell(6, 4), [(2, 6)]),
        (nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)]),
        (nn.MultiheadAttention(8, 2, batch_first=True, kdim=3, vdim=5), [(2, 8, 8), (2, 8, 3), (2, 8, 5)]),
        (nn.TransformerEncoderLayer(8, 2, batch_first=True), [(2, 8, 8)]),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2), [(8, 2, 8)]),
        (nn.TransformerDecoderLayer(8, 2, batch_first=True), [(2, 8, 8)] * 2),
        (nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2), 2), [(8, 2, 8)] * 2),
        (nn.Transformer(8, 2, 1, 1, batch_first=True), [(2, 8, 8)] * 2),
        (nn.GELU(), [(2, 8, 64)]),
        (nn.Identity(), [(2, 8, 64)]),
        (nn.MaxPool2d(2), [(2, 8, 64)]),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), [(2, 8, 6)]),
        (HiddenDimOnly(24, 40), [(2, 8, 24)]),
        (Attention(32), [(2, 8, 32)]),
        (ConvNet(), [(2, 3, 224, 224)]),
        (Block(), [(2, 8)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_modules_of_every_kind_run_stand_alone(module, shapes):
    inputs = stand_alone(module)
    assert inputs.source == "synthesised"
    assert inputs.shapes() == shapes
    module(*inputs.cloned().args)


def test_an_explicit_length_is_not_left_out_of_a_guess():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    assert stand_alone(flat, Size(2, 8, explicit=False)).shapes() == [(2, 3072)]
    with pytest.raises(InputsError, match=r"no inputs found for Sequential .*2x8x3072 float32 it raised RuntimeError"):
        stand_alone(flat, Size(2, 8))


def test_several_required_arguments_by_their_names():
    class Needy(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_dim = 12
            self.proj = nn.Linear(12, 12)

        def forward(self, query, key, attention_mask, position_ids):
            assert attention_mask is None and position_ids.dtype is torch.int64
            return self.proj(query) + key

    inputs = stand_alone(Needy())
    assert inputs.args[0].shape == inputs.args[1].shape == (2, 8, 12)


def test_masks_are_none_bool_or_integers_whichever_the_module_takes():
    class Masked(nn.Module):
        def __init__(self, scores):
            super().__init__()
            self.proj, self.scores = nn.Linear(4, 4), scores

        def forward(self, x, padding_mask):
            return self.proj(x) * self.scores(padding_mask)

    optional, booleans, integers = (
        stand_alone(Masked(scores)).args[1]
        for scores in (
            lambda mask: 1,
            lambda mask: (~mask).logical_not()[..., None],
            lambda mask: (1 - mask)[..., None],
        )
    )
    assert optional is None
    assert booleans.dtype is torch.bool and integers.dtype is torch.int64
    assert booleans.shape == integers.shape == (2, 8) and booleans.all() and integers.all()


def test_the_type_of_an_argument_decides_whether_it_holds_ids():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.proj = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, weights: torch.FloatTensor, where: "torch.LongTensor"):  # noqa: UP037
            return self.words(where) * weights[..., None]

    weights, where = stand_alone(Typed()).args
    assert weights.is_floating_point() and where.dtype is torch.int64


def test_if_no_guess_works_the_error_lists_the_guesses_and_the_remedies():
    class Picky(nn.Module):
        def forward(self, x):
            raise RuntimeError("I only take spectrograms")

    with pytest.raises(InputsError, match=r"after \d+ guesses .*2x8x64 float32.*spectrograms.*\.inputs\("):
        stand_alone(Picky())


def test_submodules_get_the_inputs_that_the_model_passes_them():
    model = Block().eval()
    source = ModelInputs(model, CPU)
    inputs = of_target(model.attention, source, SIZE, 0)
    assert inputs.source == "captured"
    ids = source.at(SIZE).args[0]
    assert torch.equal(inputs.args[0], model.norm(model.embedding(ids)))


def test_call_selects_a_later_call():
    model = Block().eval()
    source = ModelInputs(model, CPU)
    first, second = (of_target(model.norm, source, SIZE, k).args[0] for k in (0, 1))
    assert not torch.equal(first, second)
    with pytest.raises(InputsError, match="calls this module 2 times"):
        of_target(model.norm, source, SIZE, 2)
    with pytest.raises(InputsError, match="the model's forward does not call this module"):
        of_target(model.unused, source, SIZE, 1)


def test_a_module_that_is_never_called_is_synthesised():
    model = Block()
    assert of_target(model.unused, ModelInputs(model, CPU), SIZE, 0).source == "synthesised"


def test_a_default_length_is_halved_until_the_model_runs():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(50, 8), nn.Embedding(300, 8)

        def forward(self, ids):
            return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))

    model = Positions()
    inputs = ModelInputs(model, CPU).at(Size(1, 2048, explicit=False))
    assert inputs.shapes() == [(1, 256)]
    assert inputs.notes == (
        Note(NoteCode.SEQ_LEN_SHORTENED, "seq_len reduced to 256: the model does not run with longer inputs"),
    )
    with pytest.raises(InputsError, match="no inputs found for Positions"):
        ModelInputs(model, CPU).at(Size(1, 2048, explicit=True))


def test_given_inputs_that_do_not_fit_the_model_are_an_error(model):
    suite = TestSuite(model, inputs=torch.full((1, 4), 10**6), quiet=True)
    suite.test(model.ffn).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "the model does not run with TestSuite(inputs=...)" in case.errors[0]


def test_inputs_synthesised_because_the_model_does_not_run_are_noted():
    model = nn.Sequential(nn.Linear(8, 8), Raises(), nn.Linear(8, 4))
    suite = TestSuite(model, quiet=True)
    suite.test("2").profile(1, 2)
    (case,) = suite.run()
    assert case.verdicts[0].reason.endswith("; the inputs are a guess")
    assert "the inputs are a guess: the model itself does not run" in case.trials[0].notes[0].text
    assert "kernel exploded" in case.trials[0].notes[0].text


def test_no_guess_hides_that_the_model_does_not_run_at_an_explicit_length():
    suite = TestSuite(nn.Sequential(nn.Linear(8, 8), Raises(), nn.Linear(8, 4)), seq_len=4, quiet=True)
    suite.test("2").profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.ERROR and "kernel exploded" in case.errors[0]
