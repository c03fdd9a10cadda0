"""Inputs of Hugging Face models, from their config and the names that their processors give to arguments.

Source: https://huggingface.co/docs/transformers/main_classes/model (``main_input_name``, ``dummy_inputs``) and the
``model_input_names`` of its tokenizers, image processors and feature extractors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import candidates
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

LENGTH_LIMITS = ("max_position_embeddings", "n_positions", "max_target_positions")
IMAGE_CONFIGS = ("vision_config", "backbone_config", "encoder", "prompt_encoder_config")
"""Parts of a config that describe the part of a model that sees images."""

IMAGE_SIDE_NAMES = ("image_size", "crop_size")

PLACEHOLDERS = ("image", "video", "audio", "vision", "pad")
"""Kinds of tokens that stand for something other than text; a random one in a text would be refused, or masked."""

AUDIO_SAMPLES = 16_000
"""One second of speech at the usual 16 kHz."""

VIDEO_FRAMES = 2
MAX_COORDINATE = 1000
"""Bounding boxes on a page lie between 0 and this number."""

GRID_SIDES = (8, 2, 1)
"""Sides of an image in merged patches, the largest first: it must leave room for text."""


def recognises(model: nn.Module) -> bool:
    """Whether *model* names its main input, and has a config, as those of Hugging Face do."""
    return hasattr(model, "config") and isinstance(getattr(model, "main_input_name", None), (str, list))


def length_limit(model: nn.Module) -> int | None:
    """The longest sequence that the model's config allows, or None if it sets no limit."""
    config = _text_config(model)
    limits = [getattr(config, name, None) for name in LENGTH_LIMITS]
    return min((n for n in limits if isinstance(n, int) and n > 0), default=None)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """The main input with those that go beside it, then the model's own dummy inputs.

    An image that takes more tokens than the asked length has is left out, with a note.

    Raises:
        InputsError: The main input has an unknown name, and the model has no dummy inputs.
    """
    request = _HuggingFace(model, size)
    main = request.main
    values = list(_ARGUMENTS[main](request)) if main in _ARGUMENTS else []
    for value in values:
        yield from _with_those_beside(request, {main: value})
    dummy = _dummy_inputs(request)
    yield from [request.inputs(dummy)] if dummy else []
    if not values and not dummy:
        raise InputsError(
            f"{type(model).__name__} takes {main}, and nothing in its config says of which shape; "
            "pass it with TestSuite(inputs=...)"
        )


@dataclass(frozen=True)
class _HuggingFace:
    """A model and the sizes of its inputs."""

    model: nn.Module
    size: Size

    @cached_property
    def config(self) -> Any:
        return self.model.config

    @cached_property
    def main(self) -> str:
        name: Any = self.model.main_input_name
        return str(name if isinstance(name, str) else name[0])

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return candidates.parameters_of(self.model)

    @cached_property
    def image_config(self) -> Any:
        """The part of the config that describes images."""
        parts = [getattr(self.config, name, None) for name in IMAGE_CONFIGS]
        return next((part for part in parts if hasattr(part, "__dict__")), self.config)

    @cached_property
    def image_token(self) -> int | None:
        """The id of the token that stands for a patch of an image, or None for a model without one."""
        return self.number("image_token_id", "image_token_index")

    def number(self, *names: str, config: Any = None) -> int | None:
        """The first of these attributes of the config that is an integer."""
        values = (getattr(config or self.config, name, None) for name in names)
        return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)

    def needs(self, name: str) -> bool:
        """Whether the argument *name* goes beside the main one: the config says so, or it has no default."""
        if name not in self.parameters or name == self.main:
            return False
        return _BESIDE[name](self) or self.parameters[name].default is inspect.Parameter.empty

    def floats(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype_of(self.model))

    def inputs(self, kwargs: dict[str, Any]) -> Inputs:
        """Inputs without a cache, which would grow from call to call."""
        cache = {"use_cache": False} if "use_cache" in self.parameters else {}
        return Inputs("synthesised", kwargs={**kwargs, **cache})


def _text_config(model: Any, decoder: bool = False) -> Any:
    """The model's config, or for a model of several parts the part of it that describes the text that it reads.

    With *decoder*, the part that describes the text, or the codes, that its decoder continues.
    """
    config = model.config
    part = getattr(config, "decoder" if decoder else "text_encoder", None)
    if hasattr(part, "vocab_size"):
        return part
    text_config = getattr(config, "get_text_config", None)
    return text_config() if callable(text_config) else config


def _with_those_beside(request: _HuggingFace, main: dict[str, Any]) -> Iterator[Inputs]:
    """Inputs with every argument that goes beside the main one, and images of each shape that they may have."""
    names = [name for name in _BESIDE if name != "pixel_values" and request.needs(name)]
    beside = {name: value for name in names if (value := next(iter(_ARGUMENTS[name](request)), None)) is not None}
    if not request.needs("pixel_values"):
        yield request.inputs({**main, **beside})
        return
    crowded = False
    for images in _images(request):
        kwargs = {**main, "pixel_values": images, **beside}
        if "input_ids" in kwargs and request.image_token is not None:
            counts = list(dict.fromkeys(_image_token_counts(request, images)))
            fitting = [count for count in counts if count + 2 < request.size.seq_len]
            yield from (_with_image_tokens(request, kwargs, request.image_token, count) for count in fitting)
            crowded = crowded or fitting != counts
        else:
            yield request.inputs(kwargs)
    if crowded and request.size.explicit:
        text = f"tested without an image, for which seq_len={request.size.seq_len} leaves no room"
        beside.pop("image_grid_thw", None)
        yield replace(request.inputs({**main, **beside}), notes=(Note(NoteCode.INPUTS_LEFT_OUT, text),))


def _ids(request: _HuggingFace, decoder: bool = False) -> Iterator[torch.Tensor]:
    """Random token ids of shape (batch, length), without those that stand for padding, images or audio."""
    config = _text_config(request.model, decoder)
    vocabulary = request.number("vocab_size", config=config)
    if vocabulary is None:
        return
    rows = request.size.batch_size * (request.number("num_codebooks", config=config) or 1)
    ids = torch.randint(0, vocabulary, (rows, request.size.seq_len))
    special = _placeholders(request.config) | _placeholders(config)
    usable = next((n for n in range(vocabulary) if n not in special), 0)
    for token in special:
        ids[ids == token] = usable
    yield ids


def _placeholders(config: Any) -> set[int]:
    """The ids of the tokens in *config* that stand for something other than text."""
    named = vars(config).items() if hasattr(config, "__dict__") else ()
    tokens = {
        value
        for name, value in named
        if name.endswith(("token_id", "token_index")) and any(kind in name for kind in PLACEHOLDERS)
    }
    return {token for token in tokens if isinstance(token, int)}


def _images(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """Images of shape (batch, channels, height, width), videos with frames before channels, or flat patches."""
    config = request.image_config
    if "image_grid_thw" in request.parameters:
        yield _patches(request)[0]
        return
    batch, channels = request.size.batch_size, _image_channels(request)
    frames = request.number("num_frames", config=config)
    for side in _image_sides(request):
        if frames is not None:
            yield request.floats(batch, frames, channels, *side)
        yield request.floats(batch, channels, *side)
        yield request.floats(batch, 1, channels, *side)


def _image_channels(request: _HuggingFace) -> int:
    return request.number("num_channels", "in_channels", "in_chans", config=request.image_config) or 3


def _image_sides(request: _HuggingFace) -> list[tuple[int, int]]:
    """Height and width of the model's images, or the usual ones if any will do."""
    for part in (request.image_config, *(getattr(request.config, name, None) for name in IMAGE_CONFIGS)):
        side = next((s for name in IMAGE_SIDE_NAMES if (s := getattr(part, name, None)) is not None), None)
        if isinstance(side, (tuple, list)) and len(side) == 2:
            return [(int(side[0]), int(side[1]))]
        if isinstance(side, int):
            return [(side, side)]
    return [(side, side) for side in candidates.IMAGE_SIDES]


def _patches(request: _HuggingFace) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Flat patches of one image per sample, their grid (time, height, width), and the tokens that one image takes."""
    config = request.image_config
    merge = request.number("spatial_merge_size", config=config) or 1
    patch, frames = (request.number(name, config=config) or 1 for name in ("patch_size", "temporal_patch_size"))
    cells = next((k for k in GRID_SIDES if k * k + 3 < request.size.seq_len), 1)
    side, batch = merge * cells, request.size.batch_size
    pixels = request.floats(batch * side * side, _image_channels(request) * frames * patch * patch)
    return pixels, torch.tensor([[1, side, side]] * batch), cells * cells


def _with_image_tokens(request: _HuggingFace, kwargs: dict[str, Any], token: int, count: int) -> Inputs:
    """Inputs in whose ids *token*, which stands for a patch of an image, is repeated *count* times."""
    ids = kwargs["input_ids"].clone()
    ids[:, 1 : count + 1] = token
    if (start := request.number("vision_start_token_id")) is not None:
        ids[:, 0] = start
    kinds = {"mm_token_type_ids": ids.eq(token).int()} if "mm_token_type_ids" in request.parameters else {}
    return request.inputs({**kwargs, "input_ids": ids, **kinds})


def _image_token_counts(request: _HuggingFace, pixels: torch.Tensor) -> Iterator[int]:
    """The tokens that one image may take: as the config says, or its patches, with one for the class, or merged."""
    if "image_grid_thw" in request.parameters:
        yield _patches(request)[2]
        return
    if (count := request.number("image_seq_length", "mm_tokens_per_image", "image_seq_len")) is not None:
        yield count
    patch = request.number("patch_size", config=request.image_config)
    if patch is not None:
        height, width = pixels.shape[-2:]
        patches = (height // patch) * (width // patch)
        yield from (patches, patches + 1)
        yield from (patches // scale**2 for scale in (2, 3, 4) if patches // scale**2)


def _features(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """Spectrograms: (batch, mel bins, frames) of a fixed duration, or (batch, frames, features) of the asked length."""
    batch, length = request.size.batch_size, request.size.seq_len
    config = getattr(request.config, "audio_config", None) or request.config
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


def _sound(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """Samples of shape (batch, samples) or (batch, channels, samples), or spectrograms (batch, frames, mel bins)."""
    batch = request.size.batch_size
    mels, frames = request.number("num_mel_bins"), request.number("max_length")
    if mels is not None and frames is not None:
        yield request.floats(batch, frames, mels)
    channels = request.number("audio_channels")
    if channels is not None:
        yield request.floats(batch, channels, AUDIO_SAMPLES)
    yield request.floats(batch, AUDIO_SAMPLES)
    yield request.floats(batch, 1, AUDIO_SAMPLES)


def _videos(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """Videos of shape (batch, frames, channels, height, width)."""
    frames = request.number("frames_per_clip", "num_frames", config=request.image_config) or VIDEO_FRAMES
    for side in _image_sides(request):
        yield request.floats(request.size.batch_size, frames, _image_channels(request), *side)


def _boxes(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """One bounding box (left, top, right, bottom) per token."""
    corners = torch.randint(0, MAX_COORDINATE + 1, (request.size.batch_size, request.size.seq_len, 2, 2))
    yield corners.sort(dim=2).values.flatten(2)


def _series(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """Time series of shape (batch, time, channels), as long as the config fixes them."""
    length, channels = request.number("context_length"), request.number("num_input_channels")
    if length is not None and channels is not None:
        yield request.floats(request.size.batch_size, length, channels)


def _embeddings(request: _HuggingFace) -> Iterator[torch.Tensor]:
    width = request.number("hidden_size", "d_model", config=_text_config(request.model))
    if width is not None:
        yield request.floats(request.size.batch_size, request.size.seq_len, width)


def _points(request: _HuggingFace) -> Iterator[torch.Tensor]:
    """One point (x, y) in the middle of each image."""
    height, width = _image_sides(request)[0]
    yield torch.tensor([width / 2, height / 2]).expand(request.size.batch_size, 1, 1, 2).clone()


def _task(request: _HuggingFace) -> Iterator[torch.Tensor]:
    length = request.number("task_seq_len")
    vocabulary = request.number("text_encoder_vocab_size", "vocab_size")
    if length is not None and vocabulary is not None:
        yield torch.randint(1, vocabulary, (request.size.batch_size, length))


def _dummy_inputs(request: _HuggingFace) -> dict[str, Any]:
    """The model's ``dummy_inputs``, repeated up to the asked sizes; empty if it has none for its main input."""
    try:
        with user_code("its dummy_inputs"):
            dummy = getattr(request.model, "dummy_inputs", None)
    except ModuleRaised:  # those of some models need a config with a padding token
        return {}
    if not isinstance(dummy, Mapping) or request.main not in dummy:
        return {}
    return {name: _repeated(value, request.size) for name, value in dummy.items() if name in request.parameters}


def _repeated(value: Any, size: Size) -> Any:
    """A tensor with the asked batch size, and if it has one entry per token with the asked length."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return value
    sizes = [size.batch_size, size.seq_len] if value.ndim == 2 and not value.is_floating_point() else [size.batch_size]
    for dimension, wanted in enumerate(sizes):
        repeats = [1] * value.ndim
        repeats[dimension] = -(-wanted // value.shape[dimension])
        value = value.repeat(repeats).narrow(dimension, 0, wanted)
    return value


_ARGUMENTS: dict[str, Callable[[_HuggingFace], Iterator[torch.Tensor]]] = {
    "input_ids": _ids,
    "decoder_input_ids": lambda request: _ids(request, decoder=True),
    "inputs_embeds": _embeddings,
    "pixel_values": _images,
    "pixel_values_videos": _videos,
    "image_grid_thw": lambda request: iter([_patches(request)[1]]),
    "input_features": _features,
    "input_values": _sound,
    "is_longer": lambda request: iter([torch.ones(request.size.batch_size, 1, dtype=torch.bool)]),
    "bbox": _boxes,
    "input_points": _points,
    "past_values": _series,
    "task_inputs": _task,
}
"""The values that an argument may have, by its name, the most likely first."""

_BESIDE: dict[str, Callable[[_HuggingFace], bool]] = {
    "decoder_input_ids": lambda request: bool(getattr(request.config, "is_encoder_decoder", False)),
    "input_ids": lambda request: not getattr(request.config, "is_encoder_decoder", False),
    "pixel_values": lambda request: (
        hasattr(request.config, "vision_config")
        or request.image_token is not None
        or (request.main == "input_ids" and hasattr(request.config, "image_size"))
    ),
    "image_grid_thw": lambda request: hasattr(request.config, "vision_config"),
    "input_features": lambda request: hasattr(request.config, "audio_config"),
    "is_longer": lambda request: True,
    "bbox": lambda request: True,
    "input_points": lambda request: True,
    "task_inputs": lambda request: True,
}
"""The arguments that go beside the main one, and when."""
