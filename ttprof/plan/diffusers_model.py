"""What a model of diffusers says of its inputs: in its config, its first convolution and its forward's signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Size
from ttprof.plan.state import dtype_of

MAIN = ("sample", "hidden_states")
"""Names of the argument for the image, the latents or their tokens."""

TEXT_LENGTH = 77
"""The tokens of a text without an explicit length: those of CLIP's text encoder, which most models were trained on."""

DEFAULT_SIDE = 32
AUDIO_LENGTH = 1024
VIDEO_FRAMES = 9
"""1 + 8 frames: the autoencoders of videos keep the first frame and compress the others in time by up to 8."""
TOKEN_SIDE = 16
TOKEN_FRAMES = 2
POSITIONS = ("img_ids", "img_shapes")
"""Arguments with the positions of the tokens of an image."""
VIDEO_GRID = {"num_frames", "height", "width"}
"""Arguments with the sizes of a video that comes as tokens."""


@dataclass(frozen=True)
class Diffusion:
    """A model, the sizes of its inputs, and the shape of the latents that the other arguments go with.

    ``full``: time steps are in the model's dtype, and masks are given although the forward has a default for them.
    ``rotary``: rotary embeddings are given where the config does not say whether the model uses any.
    """

    model: nn.Module
    size: Size
    latents: tuple[int, ...] = ()
    full: bool = False
    rotary: bool = True

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The model's config."""
        config: Mapping[str, Any] = getattr(self.model, "config")  # noqa: B009 - for mypy it is a Tensor or a Module
        return config

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of the model's forward by name."""
        return candidates.parameters_of(self.model)

    @cached_property
    def main(self) -> str:
        """The name of the argument for the latents."""
        return next(name for name in MAIN if name in self.parameters)

    @property
    def batch(self) -> int:
        """The asked batch size."""
        return self.size.batch_size

    @property
    def text_length(self) -> int:
        """The length of the text that the config fixes, else the explicit one, else that of the config or the usual."""
        if (fixed := self.number("text_len")) is not None:
            return fixed
        if self.size.explicit:
            return self.size.seq_len
        return min(self.size.seq_len, self.number("max_text_seq_length", "num_embeddings") or TEXT_LENGTH)

    @property
    def takes_tokens(self) -> bool:
        """Whether the latents are a sequence of tokens, whose positions come with them."""
        names = self.parameters.keys()
        return not names.isdisjoint(POSITIONS) or names >= VIDEO_GRID

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
        parameter = self.parameters[name]
        starred = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        return parameter.default is inspect.Parameter.empty and not starred

    def floats(self, *shape: int) -> torch.Tensor:
        """Random numbers in the model's dtype."""
        return torch.randn(shape).to(dtype_of(self.model))

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        """Random integers from 0."""
        return torch.randint(0, below, shape)

    def vectors(self, *names: str) -> torch.Tensor | None:
        """One vector per sample, as wide as the first of these entries of the config; None without any."""
        width = self.number(*names)
        return None if width is None else self.floats(self.batch, width)

    def sequence(self, length: int, *names: str) -> torch.Tensor | None:
        """Vectors of shape (batch, length, width), as wide as the first of these entries; None without any."""
        width = self.number(*names)
        return None if width is None else self.floats(self.batch, length, width)

    def side(self) -> tuple[int, int]:
        """Height and width of the latents or the image."""
        size = self.config.get("sample_size")
        if isinstance(size, (tuple, list)) and len(size) >= 2:
            return int(size[-2]), int(size[-1])
        default = self.number("sample_size", "image_size") or DEFAULT_SIDE
        return self.number("sample_height") or default, self.number("sample_width") or default

    def frames(self) -> int:
        """The frames of a video's latents: those of the config, compressed in time as it says."""
        frames = self.number("sample_frames", "num_frames", "video_length") or VIDEO_FRAMES
        return (frames - 1) // (self.number("temporal_compression_ratio") or 1) + 1

    def latent_shapes(self) -> Iterator[tuple[int, ...]]:
        """The shapes that the latents may have, by the dimensions of the model's first convolution."""
        convolution: Any = next((m for m in self.model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
        dimensions = len(convolution.kernel_size) if convolution is not None else 0
        channels = self.number("in_channels") or (convolution.in_channels if convolution is not None else 3)
        batch, side = self.batch, self.side()
        if self.takes_tokens:
            frames = TOKEN_FRAMES if self.parameters.keys() >= VIDEO_GRID else 1
            yield (batch, frames * TOKEN_SIDE**2, channels)
            return
        if (last := self.number("in_visual_dim")) is not None:
            yield (batch, self.frames(), *side, last)
            return
        if dimensions == 0:
            yield (batch, TOKEN_SIDE**2, channels)
        if dimensions == 0 and (width := self.number("embedding_dim")) is not None:
            yield (batch, width)
        if dimensions == 1:
            yield (batch, channels, self.number("sample_size") or AUDIO_LENGTH)
            return
        if dimensions < 3:
            yield (batch, channels, *side)
            yield (batch, self.frames(), channels, *side)
        for count in dict.fromkeys((self.frames(), max(1, self.frames() - 1))):  # patches in time need an even number
            yield (batch, channels, count, *side)
        if dimensions < 3:
            yield (batch, max(1, self.frames() - 1), channels, *side)

    def grid(self) -> tuple[int, int]:
        """Height and width of the latents in patches."""
        patch = self.config.get("patch_size")
        patch = patch[-1] if isinstance(patch, (tuple, list)) and patch else patch
        height, width = self.side()
        return height // (patch or 1), width // (patch or 1)
