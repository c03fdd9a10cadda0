"""Inputs of diffusion models beyond latents, time steps and text: modules with the signatures and configs of theirs."""

from __future__ import annotations

import pytest
import torch
from library_models import inferred, shapes
from torch import nn

from ttprof.errors import InputsError


class Transformer(nn.Module):
    """A diffusion transformer whose first layer is linear."""

    def __init__(self, **config):
        super().__init__()
        self.config = {"in_channels": 4, "num_attention_heads": 2, "attention_head_dim": 6, **config}
        self.linear = nn.Linear(4, 4)


class Hunyuan(Transformer):
    def __init__(self, **config):
        super().__init__(sample_size=8, patch_size=2, cross_attention_dim=5, cross_attention_dim_t5=3, **config)
        self.conv = nn.Conv2d(4, 4, 2, stride=2)

    def forward(
        self,
        hidden_states,
        timestep,
        encoder_hidden_states=None,
        text_embedding_mask=None,
        encoder_hidden_states_t5=None,
        text_embedding_mask_t5=None,
        image_meta_size=None,
        style=None,
        image_rotary_emb=None,
    ):
        assert timestep.dtype is torch.float32, "the embedding takes the dtype of the steps"
        return self.conv(hidden_states).sum() + timestep.sum()


def test_two_texts_have_the_lengths_of_the_config_and_come_with_masks_and_rotary_embeddings():
    inputs = inferred(Hunyuan(text_len=7, text_len_t5=9))
    assert shapes(inputs) == {
        "hidden_states": (2, 4, 8, 8),
        "timestep": (2,),
        "encoder_hidden_states": (2, 7, 5),
        "text_embedding_mask": (2, 7),
        "encoder_hidden_states_t5": (2, 9, 3),
        "text_embedding_mask_t5": (2, 9),
        "image_meta_size": (2, 6),
        "style": (2,),
        "image_rotary_emb": ((16, 6), (16, 6)),
    }
    assert inputs.kwargs["image_meta_size"].tolist() == [[8, 8, 8, 8, 0, 0]] * 2
    plain = inferred(Hunyuan(text_len=7, text_len_t5=9, use_style_cond_and_image_meta_size=False))
    assert not {"style", "image_meta_size"} & plain.kwargs.keys()


def test_rotary_embeddings_turn_each_pair_by_the_position_over_its_wavelength():
    cosines, sines = inferred(Hunyuan(text_len=7)).kwargs["image_rotary_emb"]
    assert torch.allclose(cosines**2 + sines**2, torch.ones(16, 6))
    first, _, second, _, third, _ = torch.atan2(sines, cosines)[1].tolist()
    assert (first, second, third) == pytest.approx((1, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)), rel=1e-5)


class Sound(Transformer):
    def __init__(self):
        super().__init__(sample_size=10, attention_head_dim=8, global_states_input_dim=3, cross_attention_input_dim=5)
        self.conv = nn.Conv1d(4, 4, 1)
        del self.linear

    def forward(
        self, hidden_states, timestep=None, encoder_hidden_states=None, global_hidden_states=None, rotary_embedding=None
    ):
        return self.conv(hidden_states) + global_hidden_states.sum()


def test_latents_of_sound_come_with_a_global_state_that_has_a_position_too():
    assert shapes(inferred(Sound())) == {
        "hidden_states": (2, 4, 10),
        "timestep": (2,),
        "encoder_hidden_states": (2, 8, 5),
        "global_hidden_states": (2, 1, 3),
        "rotary_embedding": ((11, 4), (11, 4)),
    }


class TokensOfVideo(Transformer):
    def forward(
        self,
        hidden_states,
        encoder_hidden_states,
        timestep,
        encoder_attention_mask,
        num_frames=None,
        height=None,
        width=None,
    ):
        assert hidden_states.shape[1] == num_frames * height * width
        return self.linear(hidden_states)


def test_tokens_of_a_video_come_with_their_grid():
    inputs = inferred(TokensOfVideo(caption_channels=5))
    assert shapes(inputs) == {
        "hidden_states": (2, 512, 4),
        "encoder_hidden_states": (2, 8, 5),
        "timestep": (2,),
        "encoder_attention_mask": (2, 8),
        "num_frames": 2,
        "height": 16,
        "width": 16,
    }
    assert inputs.kwargs["timestep"].dtype is torch.int64


class TokensOfImage(Transformer):
    def forward(self, hidden_states, encoder_hidden_states=None, timestep=None, img_shapes=None):
        return self.linear(hidden_states)


def test_tokens_of_an_image_come_with_its_shape_for_every_sample_and_a_share_of_the_steps():
    inputs = inferred(TokensOfImage(joint_attention_dim=5))
    assert inputs.kwargs["img_shapes"] == [[(1, 16, 16)]] * 2
    assert inputs.kwargs["hidden_states"].shape == (2, 256, 4) and inputs.kwargs["timestep"].max() < 1


class Video(Transformer):
    def __init__(self, **config):
        super().__init__(sample_frames=9, temporal_compression_ratio=4, sample_size=4, patch_size=2, **config)

    def forward(self, hidden_states, timestep, encoder_hidden_states=None, image_rotary_emb=None, ofs=None):
        assert hidden_states.shape[1:3] == (3, 4) and (image_rotary_emb is not None) is self.config.get(
            "rotates", False
        )
        return hidden_states.sum()


def test_a_video_has_the_frames_that_its_autoencoder_leaves():
    inputs = inferred(Video(use_rotary_positional_embeddings=False, ofs_embed_dim=2))
    assert inputs.kwargs["hidden_states"].shape == (2, 3, 4, 4, 4) and inputs.kwargs["ofs"].tolist() == [2]


def test_rotary_embeddings_of_a_video_count_its_patches_in_time():
    inputs = inferred(Video(use_rotary_positional_embeddings=True, rotates=True, patch_size_t=2))
    assert shapes(inputs)["image_rotary_emb"] == ((2 * 2 * 2, 6), (2 * 2 * 2, 6))


def test_rotary_embeddings_that_a_model_does_without_are_left_out():
    assert "image_rotary_emb" not in inferred(Video()).kwargs


class Complex(Transformer):
    def forward(self, hidden_states, timestep, encoder_hidden_states, encoder_mask, image_rotary_emb):
        assert hidden_states.ndim == 4
        return image_rotary_emb * hidden_states.sum()


def test_rotary_embeddings_in_one_tensor_are_complex():
    rotary = inferred(Complex(sample_size=8, patch_size=2, hidden_size=12)).kwargs["image_rotary_emb"]
    assert rotary.shape == (4, 4, 3) and rotary.dtype is torch.complex64


class Masked(Transformer):
    def forward(self, hidden_states, timestep, encoder_hidden_states=None, encoder_attention_mask=None):
        return self.linear(hidden_states) * encoder_attention_mask.sum()


def test_a_mask_with_a_default_is_given_to_a_model_that_raises_without_it():
    inputs = inferred(Masked(cross_attention_dim=5))
    assert shapes(inputs)["encoder_attention_mask"] == (2, 8)
    assert inputs.kwargs["timestep"].dtype is torch.float32


class Motion(Transformer):
    def forward(self, sample, timestep, encoder_hidden_states):
        batch, channels, frames, _, _ = sample.shape
        assert channels == 4 and len(encoder_hidden_states) == batch * frames
        return sample


def test_a_module_for_motion_takes_the_text_once_per_frame():
    inputs = inferred(Motion(sample_size=4, motion_max_seq_length=32, cross_attention_dim=5, num_frames=3))
    assert shapes(inputs)["encoder_hidden_states"] == (6, 8, 5)


class LastChannels(Transformer):
    def forward(self, hidden_states, encoder_hidden_states, timestep, visual_rope_pos, text_rope_pos):
        return self.linear(hidden_states)


def test_a_video_with_channels_last_comes_with_the_positions_along_its_axes():
    inputs = inferred(LastChannels(in_visual_dim=4, patch_size=(1, 2, 2), sample_size=8, num_frames=3, in_text_dim=5))
    assert shapes(inputs) == {
        "hidden_states": (2, 3, 8, 8, 4),
        "encoder_hidden_states": (2, 8, 5),
        "timestep": (2,),
        "visual_rope_pos": ((3,), (4,), (4,)),
        "text_rope_pos": (8,),
    }


class Steered(Transformer):
    def __init__(self):
        super().__init__(vace_in_channels=7, image_dim=3, sample_size=4)
        self.conv = nn.Conv3d(4, 4, 1)

    def forward(self, hidden_states, timestep, encoder_hidden_states_image=None, control_hidden_states=None):
        return self.conv(hidden_states) + control_hidden_states.mean(1, keepdim=True)


def test_a_video_that_steers_another_has_its_size():
    inputs = inferred(Steered())
    assert shapes(inputs) == {
        "hidden_states": (2, 4, 9, 4, 4),
        "timestep": (2,),
        "encoder_hidden_states_image": (2, 257, 3),
        "control_hidden_states": (2, 7, 9, 4, 4),
    }


class Unknown(Transformer):
    def forward(self, hidden_states, timestep, reference_latents, prompt_ids, **more):
        raise AssertionError("not called")


def test_arguments_of_unknown_shape_are_an_error_that_names_them():
    match = r"Unknown takes reference_latents, prompt_ids, and nothing .* pass them with TestSuite\(inputs=\.\.\.\)"
    with pytest.raises(InputsError, match=match):
        inferred(Unknown())
