"""The inputs that ttprof infers for each family have the names, shapes and dtypes of those written by hand."""

from __future__ import annotations

from typing import Any

import diffusion
import multimodal
import pytest
import signals
import torch
from families import FAMILIES

from ttprof.plan.infer import ModelInputs
from ttprof.plan.inputs import Size

MODULES = [module.__name__ for module in (multimodal, signals, diffusion)]
NAMES = [name for name, build in FAMILIES.items() if build.__module__ in MODULES]


def described(value: Any) -> Any:
    """The shapes and dtypes of tensors, and the other values."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    return [described(item) for item in value] if isinstance(value, (tuple, list)) else value


@pytest.mark.models
@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_those_that_a_user_would_pass(name):
    family = FAMILIES[name]()
    inferred = ModelInputs(family.model, torch.device("cpu")).at(Size(2, 8))
    expected = {argument: described(value) for argument, value in family.inputs.items()}
    assert {argument: described(value) for argument, value in inferred.kwargs.items()} == expected
    assert not inferred.notes


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "count"), [("blip2", 3), ("instructblip", 3), ("qwen2_audio", 4), ("llava_onevision", 3), ("mllama", 1)]
)
def test_ids_hold_as_many_placeholders_as_the_image_or_the_sound_takes(name, count):
    inferred = ModelInputs(FAMILIES[name]().model, torch.device("cpu")).at(Size(2, 8))
    assert inferred.kwargs["input_ids"].eq(multimodal.PLACEHOLDER).sum(1).tolist() == [count, count]
