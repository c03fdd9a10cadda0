"""Stand-ins for models of libraries, and the inputs that ttprof infers for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from ttprof.plan.infer import ModelInputs
from ttprof.plan.inputs import Inputs, Size

SIZE = Size(2, 8)


class HuggingFace(nn.Module):
    """A model with a config that names its main input, as those of transformers do."""

    main_input_name = "input_ids"

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(**{"vocab_size": 50, "hidden_size": 4, **config})
        self.words = nn.Embedding(50, 4)


def inferred(model: nn.Module, size: Size = SIZE) -> Inputs:
    return ModelInputs(model.eval(), torch.device("cpu")).at(size)


def shapes(inputs: Inputs) -> dict[str, Any]:
    """The shapes of tensors and of tuples of them, and the other values, by the names of their arguments."""
    return {name: _shape(value) for name, value in inputs.kwargs.items()}


def _shape(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shape(item) for item in value)
    return tuple(value.shape) if isinstance(value, torch.Tensor) else value
