"""Families of transformers that take sound, time series, or the episodes of an agent."""

from __future__ import annotations

from typing import Any

import torch
from families import Family, family
from multimodal import PLACEHOLDER, TEXT, random_ids


def _speecht5() -> Any:
    from transformers import SpeechT5Config

    return SpeechT5Config(
        vocab_size=81,
        hidden_size=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        num_mel_bins=6,
        speech_decoder_prenet_units=8,
        speech_decoder_postnet_units=8,
        speaker_embedding_dim=10,
    )


@family("transformers")
def speecht5_to_speech() -> Family:
    from transformers import SpeechT5ForTextToSpeech

    inputs = {
        "input_ids": torch.randint(5, 81, (2, 8)),
        "decoder_input_values": torch.randn(2, 8, 6),
        "speaker_embeddings": torch.randn(2, 10),
        "use_cache": False,
    }
    return Family(SpeechT5ForTextToSpeech(_speecht5()).eval(), inputs, zero_config=True)


@family("transformers")
def speecht5_to_text() -> Family:
    from transformers import SpeechT5ForSpeechToText

    inputs = {
        "input_values": torch.randn(2, 16_000),
        "decoder_input_ids": torch.randint(5, 81, (2, 8)),
        "use_cache": False,
    }
    return Family(SpeechT5ForSpeechToText(_speecht5()).eval(), inputs, zero_config=True)


BARK = {"block_size": 64, "input_vocab_size": 99, "output_vocab_size": 99, "num_layers": 1, "num_heads": 2}


@family("transformers")
def bark_semantic() -> Family:
    from transformers import BarkSemanticConfig, BarkSemanticModel

    model = BarkSemanticModel(BarkSemanticConfig(**BARK, hidden_size=16)).eval()
    return Family(model, {"input_ids": random_ids(), "use_cache": False}, zero_config=True)


@family("transformers")
def bark_fine() -> Family:
    from transformers import BarkFineConfig, BarkFineModel

    model = BarkFineModel(BarkFineConfig(**BARK, hidden_size=16, n_codes_total=4, n_codes_given=1)).eval()
    return Family(model, {"codebook_idx": 1, "input_ids": random_ids((2, 8, 4))}, zero_config=True)


@family("transformers")
def decision_transformer() -> Family:
    from transformers import DecisionTransformerConfig, DecisionTransformerModel

    sizes = {"state_dim": 5, "act_dim": 3, "hidden_size": 16, "max_ep_len": 40, "n_layer": 1, "n_head": 2}
    config = DecisionTransformerConfig(**sizes, use_cache=False)  # its forward has no argument for that
    inputs = {
        "states": torch.randn(2, 8, 5),
        "actions": torch.randn(2, 8, 3),
        "rewards": torch.randn(2, 8, 1),
        "returns_to_go": torch.randn(2, 8, 1),
        "timesteps": torch.arange(8).repeat(2, 1),
    }
    return Family(DecisionTransformerModel(config).eval(), inputs, zero_config=True)


@family("transformers")
def time_series() -> Family:
    from transformers import TimeSeriesTransformerConfig, TimeSeriesTransformerForPrediction

    config = TimeSeriesTransformerConfig(
        prediction_length=4,
        context_length=6,
        lags_sequence=[1, 3],
        num_time_features=2,
        num_static_categorical_features=1,
        cardinality=[5],
        embedding_dimension=[2],
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )
    inputs = {
        "past_values": torch.randn(2, 9),
        "past_time_features": torch.randn(2, 9, 2),
        "past_observed_mask": torch.ones(2, 9),
        "static_categorical_features": torch.randint(0, 5, (2, 1)),
        "future_values": torch.randn(2, 4),
        "future_time_features": torch.randn(2, 4, 2),
        "use_cache": False,
    }
    return Family(TimeSeriesTransformerForPrediction(config).eval(), inputs, zero_config=True)


@family("transformers")
def qwen2_audio() -> Family:
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    audio = {
        "num_mel_bins": 8,
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "max_source_positions": 8,
    }
    config = Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **TEXT},
        audio_config={"model_type": "qwen2_audio_encoder", **audio},
        audio_token_index=PLACEHOLDER,
    )
    inputs = {
        "input_ids": random_ids(placeholders=4),  # 16 frames, halved twice
        "input_features": torch.randn(2, 8, 16),
        "feature_attention_mask": torch.ones(2, 16, dtype=torch.int64),
        "use_cache": False,
    }
    return Family(Qwen2AudioForConditionalGeneration(config).eval(), inputs, zero_config=True)
