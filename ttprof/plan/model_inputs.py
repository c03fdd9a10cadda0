"""Candidate inputs of the whole model, from which those of its submodules are captured.

A Hugging Face model declares them in its config and signature; other models are treated like any module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

LENGTH_LIMITS = ("max_position_embeddings", "n_positions", "max_target_positions")
AUDIO_SAMPLES = 16_000


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidate inputs of *model*, the most likely first."""
    if _is_hugging_face(model):
        yield from _hugging_face(model, size)
    else:
        yield from candidates.of_module(model, size)


def declares_inputs(model: nn.Module) -> bool:
    """Whether the kind of inputs that *model* takes is known: by its library, or since it begins with an embedding."""
    return _is_hugging_face(model) or candidates.takes_ids(model)


def takes_sequences(model: nn.Module) -> bool:
    """Whether the model's main input has one dimension for the sequence length: not an image, a volume or audio."""
    if _is_hugging_face(model):
        return str(getattr(model, "main_input_name", "")).endswith(("input_ids", "inputs_embeds"))
    return not candidates.takes_images(model)


def _is_hugging_face(model: nn.Module) -> bool:
    return hasattr(model, "config") and isinstance(getattr(model, "main_input_name", None), str)


def length_limit(model: nn.Module) -> int | None:
    """The longest sequence that the model's config allows, or None if it sets no limit."""
    config = _text_config(model)
    limits = [getattr(config, name, None) for name in LENGTH_LIMITS]
    return min((n for n in limits if isinstance(n, int) and n > 0), default=None)


def _text_config(model: nn.Module) -> Any:
    """The model's config, or for a multimodal model the part of it that describes the text model."""
    config = getattr(model, "config", None)
    text_config = getattr(config, "get_text_config", None)
    return text_config() if callable(text_config) else config


def _hugging_face(model: Any, size: Size) -> Iterator[Inputs]:
    """The main input as a keyword argument, and decoder ids for an encoder-decoder."""
    main = model.main_input_name
    parameters = inspect.signature(model.forward).parameters
    kwargs: dict[str, Any] = {main: value} if (value := _main_input(model, main, size)) is not None else {}
    if not kwargs:
        return
    if "decoder_input_ids" in parameters and getattr(model.config, "is_encoder_decoder", False):
        kwargs["decoder_input_ids"] = _ids(model, size)
    if "use_cache" in parameters:
        kwargs["use_cache"] = False
    if main != "pixel_values" and "pixel_values" in parameters and hasattr(model.config, "vision_config"):
        images = {"pixel_values": _main_input(model, "pixel_values", size)}
        yield from _with_image_tokens(model, kwargs, images, size)
        if not _image_token(model):  # text and image meet only in the end, as in CLIP
            yield Inputs("synthesised", kwargs={**kwargs, **images})
    yield Inputs("synthesised", kwargs=kwargs)


def _with_image_tokens(model: Any, kwargs: dict[str, Any], images: dict[str, Any], size: Size) -> Iterator[Inputs]:
    """Images beside ids in which the token that stands for an image is repeated once for each of its patches."""
    token, vision = _image_token(model), model.config.vision_config
    patch = getattr(vision, "patch_size", None)
    ids = kwargs.get("input_ids")
    if token is None or not isinstance(patch, int) or ids is None:
        return
    height, width = images["pixel_values"].shape[-2:]
    for count in ((height // patch) * (width // patch), (height // patch) * (width // patch) + 1):
        if count < size.seq_len:
            with_image = ids.clone()
            with_image[:, :count] = token
            yield Inputs("synthesised", kwargs={**kwargs, "input_ids": with_image, **images})


def _image_token(model: Any) -> int | None:
    """The id of the token that stands for a patch of an image, or None for a model without one."""
    names = ("image_token_id", "image_token_index")
    return next((token for name in names if isinstance(token := getattr(model.config, name, None), int)), None)


def _main_input(model: Any, name: str, size: Size) -> torch.Tensor | None:
    """A random tensor for the main input called *name*, or None for an unknown name."""
    config, dtype = model.config, dtype_of(model)
    if name.endswith("input_ids"):
        return _ids(model, size)
    if name == "pixel_values":
        vision = getattr(config, "vision_config", config)
        side = getattr(vision, "image_size", candidates.IMAGE_SIDES[0])
        height, width = side if isinstance(side, (tuple, list)) else (side, side)
        return torch.randn(size.batch_size, getattr(vision, "num_channels", 3), height, width).to(dtype)
    if name == "input_features" and hasattr(config, "num_mel_bins"):
        frames = 2 * getattr(config, "max_source_positions", size.seq_len // 2)
        return torch.randn(size.batch_size, config.num_mel_bins, frames).to(dtype)
    if name == "input_values":
        return torch.randn(size.batch_size, AUDIO_SAMPLES).to(dtype)
    return None


def _ids(model: nn.Module, size: Size) -> torch.Tensor:
    """Random token ids of shape (batch, length), without the padding id, which some models mask."""
    config = _text_config(model)
    ids = torch.randint(0, config.vocab_size, (size.batch_size, size.seq_len))
    special = {getattr(config, "pad_token_id", None), _image_token(model)}
    usable = [n for n in range(min(config.vocab_size, 1000)) if n not in special]
    for token in special:
        if isinstance(token, int):
            ids[ids == token] = usable[0]
    return ids
