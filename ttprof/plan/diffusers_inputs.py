"""Inputs of the models of diffusers, from their config and the names of the arguments of their forward.

``seq_len`` is the length of the text that conditions the model. Source: https://huggingface.co/docs/diffusers/api/models
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

MAIN = ("sample", "hidden_states")
"""Names of the argument for the image, the latents or their tokens."""

TEXT_LENGTH = 77
"""The tokens of a text without an explicit length: those of CLIP's text encoder, which most models were trained on."""

TEXT_WIDTHS = (
    "encoder_hid_dim",
    "caption_channels",
    "joint_attention_dim",
    "text_embed_dim",
    "text_dim",
    "cap_feat_dim",
    "cross_attention_input_dim",
    "cross_attention_dim",
    "embedding_dim",
)
"""Config entries with the width of the text's embeddings, those before a projection first."""

DEFAULT_SIDE = 32
AUDIO_LENGTH = 1024
VIDEO_FRAMES = 9
"""1 + 8 frames: the autoencoders of videos keep the first frame and compress the others in time by up to 8."""
TOKEN_SIDE = 16
TRAIN_STEPS = 1000
ROTARY_AXES = 3
TIME_IDS = 6
"""Original height and width, top and left of the crop, and target height and width."""


def recognises(model: nn.Module) -> bool:
    """Whether *model* has a dict as config, and a forward that takes a sample, or hidden states at a time step."""
    names = candidates.parameters_of(model).keys()
    is_config = isinstance(getattr(model, "config", None), Mapping)
    return is_config and ("sample" in names or {"hidden_states", "timestep"} <= names)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """One candidate per shape that the latents may have, with the other arguments that the config asks for."""
    request = _Diffusion(model, size)
    main = next(name for name in MAIN if name in request.parameters)
    for shape in request.latent_shapes():
        kwargs: dict[str, Any] = {main: request.floats(*shape)}
        for name in request.parameters:
            value = _ARGUMENTS[name](request) if name in _ARGUMENTS else None
            if value is not None or (name in _ARGUMENTS and request.requires(name)):
                kwargs[name] = value
        yield Inputs("synthesised", kwargs=kwargs)


@dataclass(frozen=True)
class _Diffusion:
    """A model and the sizes of its inputs."""

    model: nn.Module
    size: Size

    @cached_property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = getattr(self.model, "config")  # noqa: B009 - for mypy it is a Tensor or a Module
        return config

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return candidates.parameters_of(self.model)

    @property
    def batch(self) -> int:
        return self.size.batch_size

    @property
    def text_length(self) -> int:
        """The explicit length of the text, else the one that the config asks for, else the usual one."""
        if self.size.explicit:
            return self.size.seq_len
        return min(self.size.seq_len, self.number("max_text_seq_length", "num_embeddings") or TEXT_LENGTH)

    def number(self, *names: str) -> int | None:
        """The first of these entries of the config that is a positive integer, or starts with one."""
        for name in names:
            value = self.config.get(name)
            value = value[0] if isinstance(value, (tuple, list)) and value else value
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    def requires(self, name: str) -> bool:
        """Whether the forward has no default for the argument *name*."""
        return self.parameters[name].default is inspect.Parameter.empty

    def floats(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype_of(self.model))

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, below, shape)

    def side(self) -> tuple[int, int]:
        """Height and width of the latents or the image."""
        size = self.config.get("sample_size")
        if isinstance(size, (tuple, list)) and len(size) >= 2:
            return int(size[-2]), int(size[-1])
        default = self.number("sample_size", "image_size") or DEFAULT_SIDE
        return self.number("sample_height") or default, self.number("sample_width") or default

    def latent_shapes(self) -> Iterator[tuple[int, ...]]:
        """The shapes that the latents may have, by the dimensions of the model's first convolution."""
        convolution: Any = next((m for m in self.model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
        dimensions = len(convolution.kernel_size) if convolution is not None else 0
        channels = self.number("in_channels") or (convolution.in_channels if convolution is not None else 3)
        frames = self.number("sample_frames", "num_frames") or VIDEO_FRAMES
        batch, side = self.batch, self.side()
        if self.takes_tokens or dimensions == 0:
            yield (batch, TOKEN_SIDE**2, channels)
        if self.takes_tokens:
            return
        if dimensions == 0 and (width := self.number("embedding_dim")) is not None:
            yield (batch, width)
        if dimensions == 1:
            yield (batch, channels, self.number("sample_size") or AUDIO_LENGTH)
        if dimensions in (0, 2):
            yield (batch, channels, *side)
        if dimensions == 2:
            yield (batch, frames, channels, *side)
        if dimensions > 1:
            for count in dict.fromkeys((frames, frames - 1)):  # patches in time need an even number
                yield (batch, channels, count, *side)

    @property
    def takes_tokens(self) -> bool:
        """Whether the latents are a sequence of tokens, whose positions come with them."""
        return "img_ids" in self.parameters


def _text(request: _Diffusion, name: str = "encoder_hidden_states") -> torch.Tensor | None:
    """Embeddings of a text; none if images take its place, or if the model's attention looks at nothing else."""
    width = request.number(*TEXT_WIDTHS)
    if request.config.get("encoder_hid_dim_type") == "image_proj":
        return None
    if width is None and not request.requires(name):
        return None
    width = width or candidates.ANY_WIDTH
    return request.floats(request.batch, request.text_length, width)


def _text_mask(request: _Diffusion) -> torch.Tensor | None:
    """A mask that lets the whole text pass, where the forward requires one."""
    if not request.requires("encoder_attention_mask"):
        return None
    return torch.ones(request.batch, request.text_length, dtype=torch.int64)


def _class_labels(request: _Diffusion) -> torch.Tensor | None:
    """Labels of the classes of images, or the vectors that the config asks for in their place."""
    config, kind = request.config, request.config.get("class_embed_type")
    if kind in ("projection", "simple_projection"):
        return request.floats(request.batch, request.number("projection_class_embeddings_input_dim") or 1)
    if kind == "timestep":
        return request.integers(TRAIN_STEPS, request.batch)
    classes = request.number("num_class_embeds")
    if classes is None and config.get("norm_type") == "ada_norm_zero":
        classes = request.number("num_embeds_ada_norm")
    return None if classes is None else request.integers(classes, request.batch)


def _added_conditions(request: _Diffusion) -> dict[str, torch.Tensor] | None:
    """What SDXL, Kandinsky and PixArt add to the embedding of the time step."""
    config, batch = request.config, request.batch
    kinds = f"{config.get('addition_embed_type')} {config.get('encoder_hid_dim_type')}"
    added: dict[str, torch.Tensor] = {}
    if "text_time" in kinds:
        times = TIME_IDS * (request.number("addition_time_embed_dim") or 0)
        width = (request.number("projection_class_embeddings_input_dim") or times) - times
        added = {"text_embeds": request.floats(batch, width), "time_ids": request.floats(batch, TIME_IDS)}
    if "image" in kinds:
        width = request.number("encoder_hid_dim", "cross_attention_dim") or candidates.ANY_WIDTH
        added["image_embeds"] = request.floats(batch, width)
    if request.number("caption_channels") is not None:
        added = {"resolution": request.floats(batch, 2), "aspect_ratio": request.floats(batch, 1)}
    return added or None


def _condition_image(request: _Diffusion) -> torch.Tensor:
    """The image that steers a ControlNet, which its embedding shrinks to the size of the latents."""
    strides = request.config.get("conditioning_embedding_out_channels") or ()
    scale = 2 ** max(0, len(strides) - 1)
    height, width = request.side()
    channels = request.number("conditioning_channels") or 3
    return request.floats(request.batch, channels, height * scale, width * scale)


def _positions(request: _Diffusion, rows: int, columns: int) -> torch.Tensor:
    """Rotary positions of a grid of tokens, of shape (tokens, axes)."""
    rotary = request.config.get("axes_dims_rope")
    axes = len(rotary) if isinstance(rotary, (tuple, list)) else ROTARY_AXES
    grid = torch.zeros(rows, columns, axes)
    grid[..., -2] += torch.arange(rows)[:, None]
    grid[..., -1] += torch.arange(columns)
    return grid.flatten(0, 1)


def _vector(*names: str) -> Callable[[_Diffusion], torch.Tensor | None]:
    """Vectors as wide as the first of these entries of the config; none without any."""

    def make(request: _Diffusion) -> torch.Tensor | None:
        width = request.number(*names)
        return None if width is None else request.floats(request.batch, width)

    return make


def _steps(request: _Diffusion) -> torch.Tensor:
    """Time steps of the training, or their share of it where tokens with positions are denoised, as in Flux."""
    if request.takes_tokens:
        return torch.rand(request.batch).to(dtype_of(request.model))
    return request.integers(request.number("num_embeds_ada_norm") or TRAIN_STEPS, request.batch)


def _added_time_ids(request: _Diffusion) -> torch.Tensor | None:
    total, width = request.number("projection_class_embeddings_input_dim"), request.number("addition_time_embed_dim")
    return request.floats(request.batch, total // width) if total and width else None


_ARGUMENTS: dict[str, Callable[[_Diffusion], Any]] = {
    "timestep": _steps,
    "timesteps": _steps,
    "timestep_r": lambda r: _steps(r) if r.requires("timestep_r") else None,
    "encoder_hidden_states": _text,
    "encoder_attention_mask": _text_mask,
    "class_labels": _class_labels,
    "added_cond_kwargs": _added_conditions,
    "pooled_projections": _vector("pooled_projection_dim"),
    "proj_embedding": _vector("embedding_proj_dim", "embedding_dim"),
    "added_time_ids": _added_time_ids,
    "controlnet_cond": _condition_image,
    "guidance": lambda r: torch.rand(r.batch) if r.config.get("guidance_embeds") else None,
    "img_ids": lambda r: _positions(r, TOKEN_SIDE, TOKEN_SIDE),
    "txt_ids": lambda r: torch.zeros_like(_positions(r, 1, r.text_length)),
    "original_size": lambda r: torch.full((r.batch, 2), float(r.side()[0])),
    "target_size": lambda r: torch.full((r.batch, 2), float(r.side()[0])),
    "crop_coords": lambda r: torch.zeros(r.batch, 2),
}
"""How to make each argument beside the latents; None leaves it out."""
