"""Families of transformers that take images with a text, or in a form of their own: regions, flat patches, tiles."""

from __future__ import annotations

from typing import Any

import torch
from families import Family, family

from ttprof.codes import VerdictCode

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**SMALL, "hidden_size": 32, "num_key_value_heads": 2, "vocab_size": 99, "max_position_embeddings": 64}
VISION = {**SMALL, "image_size": 8, "patch_size": 4}
"""An image of 2 × 2 patches."""

PLACEHOLDER = 5


def random_ids(shape: tuple[int, ...] = (2, 8), placeholders: int = 0) -> torch.Tensor:
    """Ids of text, in which the tokens from the second on stand for parts of an image or a sound."""
    ids = torch.randint(10, 97, shape)
    ids[:, 1 : placeholders + 1] = PLACEHOLDER
    return ids


def _opt() -> dict[str, Any]:
    from transformers import OPTConfig

    config = OPTConfig(
        vocab_size=99,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=32,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        use_cache=False,  # the forward of BLIP-2 does not pass it on
    )
    return config.to_dict()


def _qformer(vocabulary: int) -> dict[str, Any]:
    return {**SMALL, "vocab_size": vocabulary, "encoder_hidden_size": 16, "max_position_embeddings": 64}


@family("transformers")
def kosmos2() -> Family:
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

    text = {"vocab_size": 99, "embed_dim": 16, "layers": 1, "ffn_dim": 32, "attention_heads": 2}
    config = Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=4)
    places = torch.zeros(2, 8, dtype=torch.int64)
    places[:, 1:5] = 1
    inputs = {
        "pixel_values": torch.randn(2, 3, 8, 8),
        "input_ids": random_ids(),
        "image_embeds_position_mask": places,
        "use_cache": False,
    }
    unrunnable = {VerdictCode.NO_REFERENCE, VerdictCode.NO_GRADIENT}  # its mask overflows in float64
    return Family(
        Kosmos2ForConditionalGeneration(config).eval(),
        inputs,
        zero_config=True,
        untestable={"text_model": unrunnable, "text_model.model": unrunnable},
    )


@family("transformers")
def blip2() -> Family:
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    config = Blip2Config(
        vision_config=VISION,
        qformer_config=_qformer(99),
        text_config=_opt(),
        num_query_tokens=3,
        image_token_index=PLACEHOLDER,
    )
    inputs = {"pixel_values": torch.randn(2, 3, 8, 8), "input_ids": random_ids(placeholders=3)}
    return Family(Blip2ForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def instructblip() -> Family:
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

    config = InstructBlipConfig(
        vision_config=VISION,
        qformer_config=_qformer(20),
        text_config=_opt(),
        num_query_tokens=3,
        image_token_index=PLACEHOLDER,
    )
    inputs = {
        "pixel_values": torch.randn(2, 3, 8, 8),
        "qformer_input_ids": torch.randint(1, 20, (2, 8)),
        "input_ids": random_ids(placeholders=3),
    }
    return Family(InstructBlipForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def lxmert() -> Family:
    from transformers import LxmertConfig, LxmertModel

    config = LxmertConfig(
        vocab_size=99,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        l_layers=1,
        x_layers=1,
        r_layers=1,
        visual_feat_dim=12,
    )
    inputs = {"input_ids": random_ids(), "visual_feats": torch.randn(2, 36, 12), "visual_pos": torch.rand(2, 36, 4)}
    return Family(LxmertModel(config).eval(), inputs, zero_config=True)


@family("transformers")
def visual_bert() -> Family:
    from transformers import VisualBertConfig, VisualBertModel

    model = VisualBertModel(VisualBertConfig(vocab_size=99, **SMALL, visual_embedding_dim=12)).eval()
    return Family(model, {"input_ids": random_ids(), "visual_embeds": torch.randn(2, 36, 12)}, zero_config=True)


NO_SECOND_INPUT = {"*.self_attends.*.attention.self.layernorm2": {VerdictCode.RAISED}}
"""A self-attention of Perceiver calls the norm of its second input with None."""


def _perceiver() -> Any:
    from transformers import PerceiverConfig

    return PerceiverConfig(
        num_latents=4,
        d_latents=16,
        d_model=16,
        num_self_attends_per_block=1,
        num_self_attention_heads=8,
        num_cross_attention_heads=8,
        vocab_size=50,
        max_position_embeddings=32,
        image_size=8,
        train_size=[8, 12],
    )


@family("transformers")
def perceiver_text() -> Family:
    from transformers import PerceiverForSequenceClassification

    model = PerceiverForSequenceClassification(_perceiver()).eval()
    return Family(model, {"input_ids": torch.randint(5, 50, (2, 8))}, zero_config=True, untestable=NO_SECOND_INPUT)


@family("transformers")
def perceiver_image() -> Family:
    from transformers import PerceiverForImageClassificationLearned

    model = PerceiverForImageClassificationLearned(_perceiver()).eval()
    inputs = {"pixel_values": torch.randn(2, 3, 8, 8)}
    return Family(model, inputs, zero_config=True, untestable=NO_SECOND_INPUT)


@family("transformers")
def perceiver_flow() -> Family:
    from transformers import PerceiverForOpticalFlow

    config = _perceiver()
    config.num_cross_attention_heads = 2  # its queries are 322 wide
    inputs = {"inputs": torch.randn(2, 2, 27, 8, 12)}
    model = PerceiverForOpticalFlow(config).eval()
    return Family(model, inputs, zero_config=True, untestable=NO_SECOND_INPUT)


@family("transformers")
def pix2struct() -> Family:
    from transformers import Pix2StructConfig, Pix2StructForConditionalGeneration

    layers = {"d_kv": 8, "d_ff": 32, "hidden_size": 16}
    config = Pix2StructConfig(
        text_config={**layers, "vocab_size": 99, "num_layers": 1, "num_heads": 2},
        vision_config={**layers, **SMALL, "patch_embed_hidden_size": 12, "seq_len": 10},
    )
    patches = torch.randn(2, 9, 14)
    patches[..., :2] = torch.cartesian_prod(torch.arange(1.0, 4), torch.arange(1.0, 4))  # rows and columns, from 1
    inputs = {"flattened_patches": patches, "decoder_input_ids": random_ids(), "use_cache": False}
    return Family(Pix2StructForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def llava_onevision() -> Family:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **TEXT},
        vision_config={"model_type": "siglip_vision_model", **VISION, "patch_size": 8, "vision_use_head": False},
        image_token_index=PLACEHOLDER,
        image_grid_pinpoints=[[16, 16], [8, 8]],
    )
    inputs = {
        "input_ids": random_ids(placeholders=3),  # the image, its only tile, and the end of the row
        "pixel_values": torch.randn(2, 2, 3, 8, 8),
        "image_sizes": torch.tensor([[8, 8]] * 2),
        "use_cache": False,
    }
    return Family(LlavaOnevisionForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def mllama() -> Family:
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    text = {**TEXT, "num_hidden_layers": 2, "cross_attention_layers": [1], "rope_scaling": {"rope_type": "default"}}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
        "max_num_tiles": 2,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 32,
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }
    config = MllamaConfig(text_config={**text, "pad_token_id": 0}, vision_config=vision, image_token_index=PLACEHOLDER)
    tiles = torch.tensor([[[1, 0]]] * 2)
    inputs = {
        "input_ids": random_ids(placeholders=1),
        "pixel_values": torch.randn(2, 1, 2, 3, 16, 16),
        "aspect_ratio_ids": torch.ones(2, 1, dtype=torch.int64),
        "aspect_ratio_mask": tiles,
        "cross_attention_mask": tiles[:, None].repeat(1, 8, 1, 1),
        "use_cache": False,
    }
    return Family(MllamaForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def siglip2() -> Family:
    from transformers import Siglip2Config, Siglip2Model

    config = Siglip2Config(
        text_config={**SMALL, "vocab_size": 99, "max_position_embeddings": 16},
        vision_config={**SMALL, "num_patches": 9, "patch_size": 4},
    )
    inputs = {
        "input_ids": random_ids(),
        "pixel_values": torch.randn(2, 9, 48),
        "pixel_attention_mask": torch.ones(2, 9, dtype=torch.int64),
        "spatial_shapes": torch.tensor([[3, 3]] * 2),
    }
    return Family(Siglip2Model(config).eval(), inputs, zero_config=True)


@family("transformers")
def videomae() -> Family:
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    config = VideoMAEConfig(
        **VISION,
        num_frames=4,
        tubelet_size=2,
        decoder_num_attention_heads=2,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_intermediate_size=16,
    )
    masked = (torch.arange(8) >= 4).repeat(2, 1)  # two tubes of 2 × 2 patches
    inputs = {"pixel_values": torch.randn(2, 4, 3, 8, 8), "bool_masked_pos": masked}
    return Family(VideoMAEForPreTraining(config).eval(), inputs, zero_config=True)
