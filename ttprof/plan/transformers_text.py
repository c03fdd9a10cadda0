"""Token ids, and what Hugging Face models take beside each token: embeddings, boxes, codes and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ttprof.plan.transformers_model import HuggingFace, text_config

PLACEHOLDERS = ("image", "video", "audio", "vision", "pad", "eos")
"""Kinds of tokens that stand for something other than text; a random one would be refused, masked, or end the text."""

CHOICES = 2
MAX_COORDINATE = 1000
"""Bounding boxes on a page lie between 0 and this number."""


def ids(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Random token ids of shape (batch, length), with the codebooks last where each token has several codes.

    They hold no token that stands for padding, images or audio; those for an encoder end as tokenizers end a text. A
    model that chooses between texts takes them as (batch, choices, length).
    """
    for tokens in _ids(request, text_config(request.model)):
        if "codebook_idx" in request.parameters and (codebooks := request.number("n_codes_total")) is not None:
            tokens = tokens[..., None].repeat(1, 1, codebooks)
        if type(request.model).__name__.endswith("ForMultipleChoice"):
            tokens = tokens[:, None].repeat(1, CHOICES, 1)
        end = request.number("eos_token_id", config=text_config(request.model))
        if request.encodes_and_decodes and end is not None:
            tokens[..., -1] = end
        yield tokens


def decoder_ids(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Ids that the decoder continues."""
    return _ids(request, text_config(request.model, decoder=True))


def query_ids(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Ids of the instruction to a Q-Former, of the asked length or the longest that it allows."""
    config = getattr(request.config, "qformer_config", None)
    limit = request.number("max_position_embeddings", config=config) or request.length
    return (tokens[:, :limit] for tokens in _ids(request, config))


def codebook(request: HuggingFace) -> Iterator[int]:
    """The index of the first codebook to predict: the one after those that are given."""
    yield request.number("n_codes_given") or 1


def task_ids(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Ids of the text that names the task, as long as the config fixes it."""
    length = request.number("task_seq_len")
    vocabulary = request.number("text_encoder_vocab_size", "vocab_size")
    if length is not None and vocabulary is not None:
        yield torch.randint(1, vocabulary, (request.batch, length))


def embeddings(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Embeddings of shape (batch, length, width)."""
    width = request.number("hidden_size", "d_model", config=text_config(request.model))
    if width is not None:
        yield request.floats(request.batch, request.length, width)


def encoder_states(request: HuggingFace) -> Iterator[torch.Tensor]:
    """What a decoder attends to: states of shape (batch, length, width of the encoder)."""
    if (width := request.number("encoder_hidden_size")) is not None:
        yield request.floats(request.batch, request.length, width)


def boxes(request: HuggingFace) -> Iterator[torch.Tensor]:
    """One bounding box (left, top, right, bottom) per token."""
    corners = torch.randint(0, MAX_COORDINATE + 1, (request.batch, request.length, 2, 2))
    yield corners.sort(dim=2).values.flatten(2)


def mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that lets every token pass."""
    yield torch.ones(request.batch, request.length, dtype=torch.int64)


def _ids(request: HuggingFace, config: Any) -> Iterator[torch.Tensor]:
    vocabulary = request.number("input_vocab_size", "vocab_size", config=config)
    if vocabulary is None:
        return
    rows = request.batch * (request.number("num_codebooks", config=config) or 1)
    tokens = torch.randint(0, vocabulary, (rows, request.length))
    special = _placeholders(request.config) | _placeholders(config)
    usable = next((n for n in range(vocabulary) if n not in special), 0)
    for token in special:
        tokens[tokens == token] = usable
    yield tokens


def _placeholders(config: Any) -> set[int]:
    """The ids of the tokens in *config* that stand for something other than text."""
    named = vars(config).items() if hasattr(config, "__dict__") else ()
    tokens: set[int] = set()
    for name, value in named:
        if name.endswith(("token_id", "token_index")) and any(kind in name for kind in PLACEHOLDERS):
            tokens |= {v for v in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(v, int)}
    return tokens
