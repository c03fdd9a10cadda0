"""Families of diffusers that take more than latents, steps and a text: rotary embeddings, grids, a second text."""

from __future__ import annotations

import torch
from families import Family, family

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}


def _rotary(tokens: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.rand(tokens, width)
    return angles.cos(), angles.sin()


@family("diffusers")
def hunyuan_dit() -> Family:
    from diffusers import HunyuanDiT2DModel

    model = HunyuanDiT2DModel(
        **HEADS,
        num_layers=2,
        in_channels=4,
        patch_size=2,
        sample_size=8,
        hidden_size=16,
        cross_attention_dim=12,
        cross_attention_dim_t5=8,
        pooled_projection_dim=16,
        text_len=7,
        text_len_t5=6,
    )
    inputs = {
        "hidden_states": torch.randn(2, 4, 8, 8),
        "timestep": torch.tensor([10.0, 20.0]),
        "encoder_hidden_states": torch.randn(2, 7, 12),
        "text_embedding_mask": torch.ones(2, 7, dtype=torch.int64),
        "encoder_hidden_states_t5": torch.randn(2, 6, 8),
        "text_embedding_mask_t5": torch.ones(2, 6, dtype=torch.int64),
        "image_meta_size": torch.tensor([[8.0, 8.0, 8.0, 8.0, 0.0, 0.0]] * 2),
        "style": torch.zeros(2, dtype=torch.int64),
        "image_rotary_emb": _rotary(16, 8),
    }
    return Family(model.eval(), inputs, zero_config=True)


@family("diffusers")
def stable_audio() -> Family:
    from diffusers import StableAudioDiTModel

    model = StableAudioDiTModel(
        **HEADS,
        num_key_value_attention_heads=2,
        num_layers=2,
        sample_size=12,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=16,
        cross_attention_input_dim=12,
        time_proj_dim=8,
        global_states_input_dim=10,
    )
    inputs = {
        "hidden_states": torch.randn(2, 4, 12),
        "timestep": torch.tensor([10, 20]),
        "encoder_hidden_states": torch.randn(2, 8, 12),
        "global_hidden_states": torch.randn(2, 1, 10),
        "rotary_embedding": _rotary(13, 4),
    }
    return Family(model.eval(), inputs, zero_config=True, trains=False)


@family("diffusers")
def ltx_video() -> Family:
    from diffusers import LTXVideoTransformer3DModel

    model = LTXVideoTransformer3DModel(
        **HEADS, in_channels=8, out_channels=8, cross_attention_dim=16, num_layers=1, caption_channels=12
    )
    inputs = {
        "hidden_states": torch.randn(2, 2 * 16 * 16, 8),
        "encoder_hidden_states": torch.randn(2, 8, 12),
        "timestep": torch.tensor([10, 20]),
        "encoder_attention_mask": torch.ones(2, 8, dtype=torch.int64),
        "num_frames": 2,
        "height": 16,
        "width": 16,
    }
    return Family(model.eval(), inputs, zero_config=True)


@family("diffusers")
def cogvideox() -> Family:
    from diffusers import CogVideoXTransformer3DModel

    model = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=12,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        use_rotary_positional_embeddings=True,
    )
    inputs = {
        "hidden_states": torch.randn(2, 3, 4, 8, 8),  # 9 frames, compressed by 4 after the first
        "encoder_hidden_states": torch.randn(2, 8, 12),
        "timestep": torch.tensor([10, 20]),
        "image_rotary_emb": _rotary(3 * 4 * 4, 16),
    }
    return Family(model.eval(), inputs, zero_config=True)


@family("diffusers")
def qwen_image() -> Family:
    from diffusers import QwenImageTransformer2DModel

    model = QwenImageTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        in_channels=16,
        out_channels=4,
        joint_attention_dim=12,
        axes_dims_rope=(8, 4, 4),
    )
    inputs = {
        "hidden_states": torch.randn(2, 256, 16),
        "encoder_hidden_states": torch.randn(2, 8, 12),
        "timestep": torch.rand(2),
        "img_shapes": [[(1, 16, 16)]] * 2,
    }
    return Family(model.eval(), inputs, zero_config=True)
