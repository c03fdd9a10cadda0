"""What a Hugging Face model says of its inputs: in its config, in those of its parts and in its forward's signature."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Size
from ttprof.plan.state import dtype_of

IMAGE_CONFIGS = ("vision_config", "image_config", "backbone_config", "encoder", "prompt_encoder_config")
"""Parts of a config that describe the part of a model that sees images."""

IMAGE_TOKENS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
"""Attributes of a config with the token that stands for a patch of an image, or of a video."""


@dataclass(frozen=True)
class HuggingFace:
    """A model and the sizes of its inputs."""

    model: nn.Module
    size: Size

    @cached_property
    def config(self) -> Any:
        """The model's config."""
        return self.model.config

    @cached_property
    def main(self) -> str:
        """The name of the main input."""
        name: Any = self.model.main_input_name
        return str(name if isinstance(name, str) else name[0])

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of the model's forward by name."""
        return candidates.parameters_of(self.model)

    @cached_property
    def required(self) -> list[str]:
        """The arguments of the forward that have no default."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = self.parameters.items()
        return [name for name, p in parameters if p.default is inspect.Parameter.empty and p.kind not in kinds]

    @property
    def batch(self) -> int:
        """The asked batch size."""
        return self.size.batch_size

    @property
    def length(self) -> int:
        """The asked sequence length."""
        return self.size.seq_len

    @cached_property
    def image_config(self) -> Any:
        """The part of the config that describes images."""
        parts = [getattr(self.config, name, None) for name in IMAGE_CONFIGS]
        return next((part for part in parts if hasattr(part, "__dict__")), self.config)

    @cached_property
    def image_token(self) -> int | None:
        """The id of the token that stands for a patch of an image, or of a video, or None for a model without one."""
        return self.number(*IMAGE_TOKENS)

    @cached_property
    def encodes_and_decodes(self) -> bool:
        """Whether a decoder continues what an encoder has read."""
        return bool(getattr(self.config, "is_encoder_decoder", False))

    def number(self, *names: str, config: Any = None) -> int | None:
        """The first of these attributes of the config that is an integer."""
        values = (getattr(config or self.config, name, None) for name in names)
        return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)

    def floats(self, *shape: int) -> torch.Tensor:
        """Random numbers in the model's dtype."""
        return torch.randn(shape).to(dtype_of(self.model))


def text_config(model: Any, decoder: bool = False) -> Any:
    """The model's config, or for a model of several parts the part of it that describes the text that it reads.

    With *decoder*, the part that describes the text, or the codes, that its decoder continues.
    """
    config = model.config
    part = getattr(config, "decoder" if decoder else "text_encoder", None)
    if hasattr(part, "vocab_size"):
        return part
    of_text = getattr(config, "get_text_config", None)
    return of_text() if callable(of_text) else config
