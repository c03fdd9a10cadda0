"""Candidate inputs of the whole model, from which those of its submodules are captured.

A model of a known library says in its config, attributes and signature what it takes: a row of LIBRARIES recognises it,
by those alone and without importing the library, and makes its inputs. Other models are treated like any module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import nn

from ttprof.plan import candidates, diffusers_inputs, graph_inputs, timm_inputs, transformers_inputs
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import uncompiled


class Library(NamedTuple):
    """A kind of models whose inputs are known.

    ``candidates`` has the batch size that was asked for in each candidate, and the sequence length in each one with a
    dimension for it; images and audio have none. ``length_limit`` is the longest sequence that a model allows, or None.
    """

    recognises: Callable[[nn.Module], bool]
    candidates: Callable[[nn.Module, Size], Iterator[Inputs]]
    length_limit: Callable[[nn.Module], int | None] = lambda model: None


LIBRARIES = (
    Library(transformers_inputs.recognises, transformers_inputs.of_model, transformers_inputs.length_limit),
    Library(diffusers_inputs.recognises, diffusers_inputs.of_model),
    Library(timm_inputs.recognises, timm_inputs.of_model),
    Library(graph_inputs.recognises, graph_inputs.of_model),
)
"""The libraries, in the order in which they are asked."""

UNKNOWN = Library(lambda model: True, candidates.of_module)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidate inputs of *model*, the most likely first.

    Raises:
        InputsError: The model's library is known, but not what it takes.
    """
    return _library(model).candidates(_unwrapped(model), size)


def declares_inputs(model: nn.Module) -> bool:
    """Whether the kind of inputs that *model* takes is known: by its library, or since it begins with an embedding."""
    return _library(model) is not UNKNOWN or candidates.takes_ids(model)


def length_limit(model: nn.Module) -> int | None:
    """The longest sequence that the model allows, or None if it sets no limit."""
    return _library(model).length_limit(_unwrapped(model))


def _library(model: nn.Module) -> Library:
    inner = _unwrapped(model)
    return next((library for library in LIBRARIES if library.recognises(inner)), UNKNOWN)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of torch.compile and data parallelism, whose signatures say nothing."""
    inner = uncompiled(model)
    if isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return _unwrapped(inner.module)
    return inner
