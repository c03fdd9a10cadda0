"""Inputs of the image models of timm, whose ``pretrained_cfg`` says what they take.

Source: https://huggingface.co/docs/timm/reference/models
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

CONFIGS = ("pretrained_cfg", "default_cfg")


def recognises(model: nn.Module) -> bool:
    """Whether *model* has timm's description of its inputs: the channels, height and width of an image."""
    return _input_size(model) is not None


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Images of the side that the model was built for, else of the side in its config."""
    config = _input_size(model)
    if config is None:
        return
    channels = candidates.image_channels(model) or config[0]
    for side in dict.fromkeys((candidates.image_side(model) or config[1:], config[1:])):
        yield Inputs("synthesised", args=(torch.randn(size.batch_size, channels, *side).to(dtype_of(model)),))


def _input_size(model: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width in the model's config, which is a dict or a dataclass; None without one."""
    for name in CONFIGS:
        config: Any = getattr(model, name, None)
        size = config.get("input_size") if isinstance(config, Mapping) else getattr(config, "input_size", None)
        if isinstance(size, (tuple, list)) and len(size) == 3:
            return (int(size[0]), int(size[1]), int(size[2]))
    return None
