"""Inputs of whole models by library: modules with the attributes and signatures of theirs get what the config says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_models import ConvNet
from torch import nn

from ttprof import Status, TestSuite
from ttprof.codes import NoteCode
from ttprof.errors import InputsError
from ttprof.plan.infer import ModelInputs, of_target
from ttprof.plan.inputs import Inputs, Size

CPU = torch.device("cpu")
SIZE = Size(2, 8)
DEFAULT = Size(1, 2048, explicit=False)


def inferred(model: nn.Module, size: Size = SIZE) -> Inputs:
    return ModelInputs(model.eval(), CPU).at(size)


def shapes(inputs: Inputs) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors by the names of their arguments."""
    return {name: tuple(value.shape) for name, value in inputs.kwargs.items() if isinstance(value, torch.Tensor)}


class UNet(nn.Module):
    """The arguments and config of diffusers' UNet2DConditionModel."""

    def __init__(self, **config):
        super().__init__()
        self.config = {"sample_size": 6, "in_channels": 4, "cross_attention_dim": 12, **config}
        self.conv = nn.Conv2d(4, 12, 3, padding=1)
        self.attend = nn.MultiheadAttention(12, 2, batch_first=True)
        self.steps = nn.Embedding(1000, 12)

    def forward(self, sample, timestep, encoder_hidden_states, class_labels=None, added_cond_kwargs=None, mask=None):
        x = self.conv(sample).flatten(2).mT + self.steps(timestep)[:, None]
        return self.attend(x, encoder_hidden_states, encoder_hidden_states)[0]


def test_a_conditioned_unet_gets_latents_steps_and_a_text_of_the_asked_length():
    inputs = inferred(UNet())
    assert shapes(inputs) == {
        "sample": (2, 4, 6, 6),
        "timestep": (2,),
        "encoder_hidden_states": (2, 8, 12),
    }
    assert inputs.kwargs["timestep"].dtype is torch.int64 and inputs.source == "synthesised"
    assert shapes(inferred(UNet(), Size(1, 100)))["encoder_hidden_states"] == (1, 100, 12)
    assert shapes(inferred(UNet(), DEFAULT))["encoder_hidden_states"] == (1, 77, 12)
    assert shapes(inferred(UNet(sample_size=(4, 10))))["sample"] == (2, 4, 4, 10)


def test_labels_and_added_conditions_are_those_of_the_config():
    labels = inferred(UNet(num_class_embeds=3)).kwargs["class_labels"]
    assert labels.shape == (2,) and labels.dtype is torch.int64 and labels.max() < 3
    projected = UNet(class_embed_type="projection", projection_class_embeddings_input_dim=5)
    assert shapes(inferred(projected))["class_labels"] == (2, 5)
    sdxl = UNet(addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=40)
    added = inferred(sdxl).kwargs["added_cond_kwargs"]
    assert {name: value.shape for name, value in added.items()} == {"text_embeds": (2, 16), "time_ids": (2, 6)}


class DiT(nn.Module):
    """The arguments and config of diffusers' DiTTransformer2DModel."""

    def __init__(self):
        super().__init__()
        self.config = {"sample_size": 8, "in_channels": 4, "norm_type": "ada_norm_zero", "num_embeds_ada_norm": 10}
        self.patch = nn.Conv2d(4, 16, 2, stride=2)
        self.steps, self.classes = nn.Embedding(10, 16), nn.Embedding(10, 16)

    def forward(self, hidden_states, timestep=None, class_labels=None):
        return self.patch(hidden_states).flatten(2).mT + (self.steps(timestep) + self.classes(class_labels))[:, None]


def test_a_diffusion_transformer_gets_labels_and_steps_below_its_number_of_embeddings():
    assert shapes(inferred(DiT())) == {"hidden_states": (2, 4, 8, 8), "timestep": (2,), "class_labels": (2,)}


class Flux(nn.Module):
    """The arguments and config of diffusers' FluxTransformer2DModel: tokens, and positions beside them."""

    def __init__(self):
        super().__init__()
        self.config = {
            "in_channels": 6,
            "joint_attention_dim": 10,
            "pooled_projection_dim": 5,
            "guidance_embeds": True,
            "axes_dims_rope": [2, 2, 2],
        }
        self.image, self.text, self.pooled = nn.Linear(6, 8), nn.Linear(10, 8), nn.Linear(5, 8)

    def forward(
        self,
        hidden_states,
        encoder_hidden_states=None,
        pooled_projections=None,
        timestep=None,
        img_ids=None,
        txt_ids=None,
        guidance=None,
    ):
        assert timestep.is_floating_point() and len(guidance) == len(timestep)
        assert len(torch.cat([txt_ids, img_ids])) == encoder_hidden_states.shape[1] + hidden_states.shape[1]
        tokens = torch.cat([self.text(encoder_hidden_states), self.image(hidden_states)], dim=1)
        return tokens + self.pooled(pooled_projections)[:, None]


def test_tokens_of_an_image_come_with_their_positions():
    found = shapes(inferred(Flux()))
    assert found["hidden_states"] == (2, 256, 6) and found["encoder_hidden_states"] == (2, 8, 10)
    assert found["img_ids"] == (256, 3) and found["txt_ids"] == (8, 3)


class Autoencoder(nn.Module):
    """The arguments and config of diffusers' AutoencoderKL, and of those of videos."""

    def __init__(self, layer, **config):
        super().__init__()
        self.config = config
        self.encoder = layer

    def forward(self, sample, sample_posterior=False, return_dict=True, generator=None):
        return self.encoder(sample)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Autoencoder(nn.Conv2d(3, 4, 3), in_channels=3, sample_size=16), (2, 3, 16, 16)),
        (Autoencoder(nn.Conv2d(2, 4, 3)), (2, 2, 32, 32)),
        (Autoencoder(nn.Conv3d(3, 4, 3), in_channels=3, sample_height=8, sample_width=6), (2, 3, 9, 8, 6)),
        (Autoencoder(nn.Conv1d(2, 4, 3), in_channels=2), (2, 2, 1024)),
    ],
    ids=["image", "no config", "video", "audio"],
)
def test_an_autoencoder_gets_its_samples(model, shape):
    assert shapes(inferred(model)) == {"sample": shape}


def test_a_config_alone_makes_no_model_of_a_library():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.config, self.linear = {"width": 6}, nn.Linear(6, 6)

        def forward(self, hidden_states):
            return self.linear(hidden_states)

    assert inferred(Block()).shapes() == [(2, 8, 6)]


class Broken(UNet):
    def forward(self, sample, timestep, encoder_hidden_states):
        raise ZeroDivisionError("no attention heads")


def test_a_model_of_a_library_that_raises_is_an_error_for_its_modules_with_what_was_tried():
    suite = TestSuite(Broken(), quiet=True)
    suite.test("conv").profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "sample=1x4x6x6 float32, timestep=1 int64, encoder_hidden_states=1x77x12 float32" in case.errors[0]
    assert "ZeroDivisionError: no attention heads" in case.errors[0]


class Timm(nn.Module):
    """An image model with timm's description of its inputs."""

    def __init__(self, config, side=20, channels=3):
        super().__init__()
        self.pretrained_cfg = config
        self.conv = nn.Conv2d(channels, 4, 3)
        self.side = side

    def forward(self, x):
        assert x.shape[-2:] == (self.side, self.side), f"I take {self.side} pixels"
        return self.conv(x)


class PatchEmbed(nn.Conv2d):
    img_size = (20, 20)


def test_timm_models_get_images_of_their_config_or_of_the_size_that_they_were_built_for():
    assert inferred(Timm({"input_size": (3, 20, 20)})).shapes() == [(2, 3, 20, 20)]
    assert inferred(Timm(SimpleNamespace(input_size=(3, 20, 20)))).shapes() == [(2, 3, 20, 20)]
    assert inferred(Timm({"input_size": (3, 20, 20)}, channels=1)).shapes() == [(2, 1, 20, 20)]
    resized = Timm({"input_size": (3, 99, 99)})
    resized.conv = PatchEmbed(3, 4, 3)
    assert inferred(resized).shapes() == [(2, 3, 20, 20)]
    with pytest.raises(InputsError, match=r"after 1 guesses .*2x3x99x99 float32 it raised AssertionError: I take 20"):
        inferred(Timm({"input_size": (3, 99, 99)}))


def test_a_model_with_an_image_size_gets_such_images():
    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.image_size = 12
            self.patches, self.positions = nn.Conv2d(3, 8, 4, stride=4), nn.Parameter(torch.zeros(9, 8))

        def forward(self, images):
            return self.patches(images).flatten(2).mT + self.positions

    assert inferred(ViT()).shapes() == [(2, 3, 12, 12)]


class GraphConv(nn.Module):
    def __init__(self, in_channels, out_channels, edge_dim=None):
        super().__init__()
        self.in_channels, self.edge_dim = in_channels, edge_dim
        self.linear = nn.Linear(in_channels[0] if isinstance(in_channels, tuple) else in_channels, out_channels)

    def forward(self, x, edge_index, edge_attr=None):
        assert (edge_attr is None) is (self.edge_dim is None)
        source, target = edge_index
        return torch.zeros(len(x), 4).index_add(0, target, self.linear(x)[source])


class GraphNet(nn.Module):
    """The arguments of torch_geometric's models."""

    def __init__(self, in_channels, edge_dim=None):
        super().__init__()
        self.conv = GraphConv(in_channels, 4, edge_dim)

    def forward(self, x, edge_index, edge_weight=None, edge_attr=None, batch=None):
        assert edge_weight is None
        x = self.conv(x, edge_index, edge_attr)
        return x if batch is None else torch.zeros(int(batch.max()) + 1, 4).index_add(0, batch, x)


def test_graphs_have_as_many_nodes_as_the_length_and_no_edge_between_them():
    inputs = inferred(GraphNet(5))
    assert shapes(inputs) == {"x": (16, 5), "edge_index": (2, 64), "batch": (16,)}
    edges, batch = inputs.kwargs["edge_index"], inputs.kwargs["batch"]
    assert batch.tolist() == [0] * 8 + [1] * 8
    assert edges.dtype is torch.int64 and torch.equal(batch[edges[0]], batch[edges[1]])
    assert shapes(inferred(GraphNet(5), Size(1, 30))) == {"x": (30, 5), "edge_index": (2, 120)}


def test_features_of_nodes_and_edges_are_as_wide_as_the_first_layer_takes():
    assert shapes(inferred(GraphNet((7, 7), edge_dim=3)))["edge_attr"] == (64, 3)
    assert shapes(inferred(GraphNet((7, 7), edge_dim=3)))["x"] == (16, 7)


class Segments(nn.Module):
    """A Hugging Face model whose main input is unknown."""

    main_input_name = "segments"

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace()
        self.linear = nn.Linear(3, 3)

    def forward(self, segments, lengths):
        return self.linear(segments) * lengths[:, None, None]


def test_an_unknown_main_input_is_an_error_that_names_it():
    with pytest.raises(
        InputsError, match=r"Segments takes segments, lengths, and nothing .* TestSuite\(inputs=\.\.\.\)"
    ):
        inferred(Segments())


def test_dummy_inputs_of_a_model_are_repeated_up_to_the_asked_size():
    model = Segments()
    model.dummy_inputs = {"segments": torch.ones(3, 5, 3), "lengths": torch.arange(3), "unused": torch.ones(1)}
    inputs = inferred(model)
    assert shapes(inputs) == {"segments": (2, 5, 3), "lengths": (2,)}


class Documents(nn.Module):
    """A Hugging Face model with the processor's names of a document: ids, boxes and an image."""

    main_input_name = "input_ids"

    def __init__(self, **config):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=50, pad_token_id=0, image_size=8, num_channels=1, **config)
        self.words, self.places, self.pixels = nn.Embedding(50, 4), nn.Embedding(1001, 4), nn.Linear(64, 4)

    def forward(self, input_ids, bbox=None, pixel_values=None, use_cache=None):
        x = self.words(input_ids) + self.places(bbox).sum(2)
        return x + self.pixels(pixel_values.flatten(1))[:, None]


def test_a_document_has_a_box_for_each_token_and_an_image():
    inputs = inferred(Documents())
    assert shapes(inputs) == {"input_ids": (2, 8), "bbox": (2, 8, 4), "pixel_values": (2, 1, 8, 8)}
    left, top, right, bottom = inputs.kwargs["bbox"].unbind(-1)
    assert (left <= right).all() and (top <= bottom).all()
    assert inputs.kwargs["use_cache"] is False and not inputs.kwargs["input_ids"].eq(0).any()


class Speech(nn.Module):
    main_input_name = "input_features"

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(feature_projection_input_dim=6)
        self.linear = nn.Linear(6, 6)

    def forward(self, input_features):
        return self.linear(input_features)


def test_features_of_speech_have_as_many_frames_as_the_length():
    assert shapes(inferred(Speech())) == {"input_features": (2, 8, 6)}


class ImageText(nn.Module):
    """A Hugging Face model whose ids hold a placeholder for each patch of an image."""

    main_input_name = "input_ids"

    def __init__(self, image_size=4):
        super().__init__()
        vision = SimpleNamespace(image_size=image_size, patch_size=2, num_channels=3)
        self.config = SimpleNamespace(vocab_size=50, image_token_id=7, vision_config=vision)
        self.words, self.patches = nn.Embedding(50, 4), nn.Conv2d(3, 4, 2, stride=2)

    def forward(self, input_ids, pixel_values=None):
        x = self.words(input_ids)
        if pixel_values is not None:
            patches = self.patches(pixel_values).flatten(2).mT
            assert (input_ids == 7).sum() == patches.shape[:2].numel(), "tokens and patches differ"
            x = x.masked_scatter((input_ids == 7)[..., None], patches)
        return x


def test_ids_hold_a_token_for_each_patch_of_an_image_that_fits_into_the_length():
    inputs = inferred(ImageText())
    assert shapes(inputs) == {"input_ids": (2, 8), "pixel_values": (2, 3, 4, 4)}
    assert inputs.kwargs["input_ids"].eq(7).sum(1).tolist() == [4, 4]
    too_large = inferred(ImageText(image_size=16))
    assert shapes(too_large) == {"input_ids": (2, 8)}
    assert [note.code for note in too_large.notes] == [NoteCode.INPUTS_LEFT_OUT]
    assert too_large.notes[0].text == "tested without an image, for which seq_len=8 leaves no room"


@pytest.mark.parametrize("size", [SIZE, DEFAULT], ids=["asked", "default"])
def test_no_text_hides_that_a_model_fails_on_images(size):
    model = ImageText()
    model.patches = nn.Conv2d(1, 4, 2, stride=2)
    with pytest.raises(InputsError, match=r"pixel_values=\dx3x4x4 float32 it raised RuntimeError: Given groups=1"):
        inferred(model, size)


@pytest.mark.parametrize("wrap", [lambda m: torch.compile(m, backend="eager"), nn.DataParallel])
def test_wrappers_do_not_hide_the_library(wrap):
    assert shapes(inferred(wrap(UNet())))["encoder_hidden_states"] == (2, 8, 12)


def test_the_inputs_of_an_unknown_model_are_a_guess_and_those_of_a_library_are_not():
    def codes(model):
        return [note.code for note in of_target(model, ModelInputs(model, CPU), SIZE).notes]

    assert codes(ConvNet().eval()) == [NoteCode.INPUTS_GUESSED]
    assert codes(UNet().eval()) == []


def test_the_verdict_that_decides_says_that_the_inputs_are_a_guess():
    suite = TestSuite(ConvNet(), quiet=True, on_failure="report")
    suite.test(nn.Linear(4, 4), name="outside").tolerance(1e-3).expect(kernel_count=0).profile(1, 2)
    (case,) = suite.run()
    guessed = [v.status for v in case.verdicts if v.reason.endswith("; the inputs are a guess")]
    assert guessed == [Status.ERROR if case.status is Status.ERROR else Status.FAIL]
    assert case.trials[0].inputs_source == "synthesised"


def test_images_are_not_tried_again_at_shorter_lengths():
    tried = []

    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            tried.append(tuple(x.shape))
            raise RuntimeError("I only take spectrograms")

    with pytest.raises(InputsError, match="spectrograms"):
        inferred(Picky(), DEFAULT)
    assert tried.count((1, 3, 224, 224)) == tried.count((1, 3, 32, 32)) == 1
