"""Sound, time series and the episodes of an agent, for Hugging Face models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ttprof.plan.transformers_model import HuggingFace

AUDIO_SAMPLES = 16_000
"""One second of speech at the usual 16 kHz."""

AUDIO_SHRINKAGE = (4, 2, 8, 1)
"""Frames of a spectrogram per token of a language model, the most likely first."""


def audio_config(request: HuggingFace) -> Any:
    """The part of the config that describes sound."""
    return getattr(request.config, "audio_config", None) or request.config


def features(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Spectrograms: (batch, mel bins, frames) of a fixed duration, or (batch, frames, features) of the asked length."""
    batch, length, config = request.batch, request.length, audio_config(request)
    mels = request.number("num_mel_bins", config=config)
    fixed = request.number("max_source_positions", config=config)
    if mels is not None and (spectrum := request.number("spec_size", config=config)) is not None:
        ratio = max(1, spectrum // mels)
        yield request.floats(batch, 1, spectrum * ratio, mels)
    width = request.number("input_feat_per_channel", "feature_projection_input_dim", "input_feat_size", config=config)
    if width is not None:
        yield request.floats(batch, length, width)
    if mels is not None and fixed is not None:
        yield request.floats(batch, mels, 2 * fixed)
    if mels is not None:
        yield request.floats(batch, length, mels)


def features_mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that lets every frame of the spectrograms pass."""
    fixed = request.number("max_source_positions", config=audio_config(request))
    yield torch.ones(request.batch, request.length if fixed is None else 2 * fixed, dtype=torch.int64)


def audio_token_counts(request: HuggingFace, spectrograms: torch.Tensor) -> Iterator[int]:
    """The tokens that one spectrogram may take, which shrinks in time on its way into the language model."""
    frames = spectrograms.shape[-1]
    yield from (frames // shrinkage for shrinkage in AUDIO_SHRINKAGE if frames >= shrinkage)


def sound(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Samples of shape (batch, samples) or (batch, channels, samples), or spectrograms (batch, frames, mel bins)."""
    batch = request.batch
    mels, frames = request.number("num_mel_bins"), request.number("max_length")
    if mels is not None and frames is not None and "decoder_input_values" not in request.parameters:
        yield request.floats(batch, frames, mels)
    channels = request.number("audio_channels")
    if channels is not None:
        yield request.floats(batch, channels, AUDIO_SAMPLES)
    yield request.floats(batch, AUDIO_SAMPLES)
    yield request.floats(batch, 1, AUDIO_SAMPLES)


def spectrograms(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Spectrograms of shape (batch, frames, mel bins), of the asked length."""
    width = request.number("model_in_dim", "num_mel_bins")
    if width is not None:
        yield request.floats(request.batch, request.length, width)


def speakers(request: HuggingFace) -> Iterator[torch.Tensor]:
    """One vector per sample that describes the voice of its speaker."""
    width = request.number("speaker_embedding_dim", "speaker_embed_dim")
    if width is not None:
        yield request.floats(request.batch, width)


def longer(request: HuggingFace) -> Iterator[torch.Tensor]:
    """For every sample, that its sound is longer than the model's window."""
    yield torch.ones(request.batch, 1, dtype=torch.bool)


def past_values(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Time series of shape (batch, time, channels), or (batch, time) of one variable, as long as the config fixes."""
    length, channels = request.number("context_length"), request.number("num_input_channels")
    if length is not None and channels is not None:
        yield request.floats(request.batch, length, channels)
    elif (past := _past_length(request)) is not None:
        yield request.floats(request.batch, past, *_variables(request))
    elif length is not None:
        yield request.floats(request.batch, length)


def past_observed_mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that says of every past value that it was observed."""
    yield from (torch.ones_like(values) for values in past_values(request))


def past_time_features(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Features of each moment of the past, of shape (batch, time, features)."""
    if (past := _past_length(request)) is not None:
        yield request.floats(request.batch, past, _time_features(request))


def future_values(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The values to predict, of shape (batch, time, variables), or (batch, time) of one variable."""
    if (length := request.number("prediction_length")) is not None:
        yield request.floats(request.batch, length, *_variables(request))


def future_time_features(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Features of each moment to predict, of shape (batch, time, features)."""
    if (length := request.number("prediction_length")) is not None:
        yield request.floats(request.batch, length, _time_features(request))


def static_categories(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Categories of a whole series, of shape (batch, features)."""
    if request.number("num_static_categorical_features"):
        yield torch.stack([torch.randint(0, n, (request.batch,)) for n in request.config.cardinality], dim=1)


def static_features(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Numbers that describe a whole series, of shape (batch, features)."""
    if count := request.number("num_static_real_features"):
        yield request.floats(request.batch, count)


def states(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The states of an episode, of shape (batch, time, width)."""
    if (width := request.number("state_dim")) is not None:
        yield request.floats(request.batch, request.length, width)


def actions(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The actions in an episode, of shape (batch, time, width)."""
    if (width := request.number("act_dim")) is not None:
        yield request.floats(request.batch, request.length, width)


def rewards(request: HuggingFace) -> Iterator[torch.Tensor]:
    """One number per step of an episode, of shape (batch, time, 1)."""
    yield request.floats(request.batch, request.length, 1)


def timesteps(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The number of each step of an episode, from 0; it starts again where the episode would be too long."""
    steps = torch.arange(request.length) % (request.number("max_ep_len") or request.length)
    yield steps.repeat(request.batch, 1)


def _past_length(request: HuggingFace) -> int | None:
    """The length of the past: what the encoder reads, and before it as much as the largest lag looks back."""
    context, lags = request.number("context_length"), getattr(request.config, "lags_sequence", None)
    return context + max(lags) if context is not None and lags else None


def _variables(request: HuggingFace) -> tuple[int, ...]:
    """The dimension of the variables of a series; none for one variable."""
    count = request.number("input_size") or 1
    return () if count == 1 else (count,)


def _time_features(request: HuggingFace) -> int:
    return sum(request.number(name) or 0 for name in ("num_time_features", "num_dynamic_real_features"))
