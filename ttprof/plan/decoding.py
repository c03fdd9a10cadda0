"""Makes the inputs of a language model's prefill, and of the decode that follows it with the cache that it filled.

Both are cut from one sequence: the prompt fills the cache, and the tokens after it are decoded.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError
from ttprof.plan import tree
from ttprof.plan.capture import run_forward
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.model_state import evaluating
from ttprof.plan.state import uncompiled

CACHES = ("past_key_values", "cache_params", "past_key_value", "layer_past", "kv_cache", "past", "state", "cache")
"""Names of the argument that holds what a model keeps of earlier tokens, the usual ones first."""


def whole_sequence(model: nn.Module, size: Size) -> Size:
    """The size of the sequence from which prompt and decoded tokens are cut.

    Raises:
        InputsError: *model* takes no cache, or decodes from an encoder.
    """
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise InputsError(f"prefill and decode test causal language models, and {type(model).__name__} has an encoder")
    _cache_argument(model)
    return replace(size, seq_len=(size.cached or 0) + size.seq_len, explicit=True, cached=None)


def inputs_with_cache(model: nn.Module, whole: Inputs, size: Size) -> Inputs:
    """The inputs of *model* at a prefill, or at a decode with the cache that a forward over the prompt filled.

    Args:
        model: A model that takes a cache.
        whole: Its inputs for the whole sequence or a longer one, with a cache to fill or without one.
        size: ``cached`` tokens are in the cache, and ``seq_len`` follow.

    Raises:
        InputsError: *whole* is too short, or the model returned no cache.
        ModuleRaised: The model's forward over the prompt raised.
    """
    cached, tokens = size.cached or 0, size.seq_len
    if _length(whole) < cached + tokens:
        raise InputsError(
            f"prefill and decode need inputs of {cached + tokens} tokens, and TestSuite(inputs=...) has "
            f"{whole.describe()}; pass a function of seq_len"
        )
    if "use_cache" in _parameters(model):
        whole = replace(whole, kwargs={**whole.kwargs, "use_cache": True})
    name = _cache_argument(model)
    prompt = cut(model, whole, 0, cached or tokens)
    used = prompt.cloned()
    with evaluating(model):
        output = run_forward(model, used, grad=False)
    cache = _cache_after(output, name, _argument(model, used, name))
    if not tree.tensors(cache):
        dropped = f"{type(model).__name__} dropped its cache: after a prefill of {cached or tokens} tokens"
        raise InputsError(f"{dropped} it returned no {name}")
    if not cached:
        return prompt
    return _with_argument(model, cut(model, whole, cached, cached + tokens), name, cache)


def note_on_dropped_cache(module: nn.Module, model: nn.Module, inputs: Inputs) -> list[Note]:
    """A note that *module* takes a cache, and the *inputs* synthesised for its *model* switch that off."""
    if inputs.kwargs.get("use_cache") is not False or not any(name in CACHES for name in _parameters(module)):
        return []
    generates = getattr(model, "can_generate", bool)() and not _is_encoder_decoder(model)
    advice = "; .prefill(n) and .decode() test with one" if generates else ""
    return [Note(NoteCode.WITHOUT_CACHE, f"tested without a key-value cache (use_cache=False){advice}")]


def _is_encoder_decoder(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(uncompiled(module).forward).parameters


def _cache_argument(model: nn.Module) -> str:
    """The name of the argument in which *model* takes its cache. Raises InputsError if it has none."""
    parameters = _parameters(model)
    name = next((name for name in CACHES if name in parameters), None)
    if name is None:
        raise InputsError(
            f"prefill and decode need a model that takes its cache as an argument ({', '.join(CACHES[:2])}, ...), and "
            f"the forward of {type(model).__name__} takes {', '.join(parameters) or 'no argument'}"
        )
    return name


def _cache_after(output: Any, name: str, passed: Any) -> Any:
    """The cache after a forward: in the *output* under its name, or *passed* and filled, or beside the logits."""
    named = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    if named is not None:
        return named
    if tree.tensors(passed):
        return passed
    values = [value for value in output if tree.tensors(value)] if isinstance(output, (tuple, list)) else []
    objects = (value for value in values if not isinstance(value, torch.Tensor))
    return next(objects, values[1] if len(values) > 1 else None)


def _argument(model: nn.Module, inputs: Inputs, name: str) -> Any:
    position = list(_parameters(model)).index(name)
    return inputs.args[position] if position < len(inputs.args) else inputs.kwargs.get(name)


def _with_argument(model: nn.Module, inputs: Inputs, name: str, value: Any) -> Inputs:
    """*inputs* with the argument called *name* replaced or added."""
    position = list(_parameters(model)).index(name)
    if position < len(inputs.args):
        return replace(inputs, args=(*inputs.args[:position], value, *inputs.args[position + 1 :]), aliases={})
    return replace(inputs, kwargs={**inputs.kwargs, name: value}, aliases={})


def _length(inputs: Inputs) -> int:
    """The tokens of a sequence: the second dimension of the first tensor that has one."""
    return next((tensor.shape[1] for tensor in inputs.tensors() if tensor.dim() > 1), 0)


def cut(model: nn.Module, inputs: Inputs, start: int, stop: int) -> Inputs:
    """Copies of a model's *inputs* with only the tokens from *start* to *stop*; masks keep the earlier ones too."""
    length = _length(inputs)
    batch = next((tensor.shape[0] for tensor in inputs.tensors() if tensor.dim() > 1), 1)

    def part(name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if "mask" in name:
            value = value[..., :stop] if value.shape[-1] == length else value
            square = value.dim() == 2 and value.shape[0] == length != batch
            rows = square or (value.dim() == 4 and value.shape[-2] == length)
            return value[..., start:stop, :] if rows else value
        dimension = 0 if value.dim() == 1 else 1
        sliced = value.dim() > 0 and value.shape[dimension] == length
        return value.narrow(dimension, start, stop - start).clone() if sliced else value

    inputs = inputs.cloned()
    args = tuple(part(name, value) for name, value in zip(_parameters(model), inputs.args, strict=False))
    kwargs = {name: part(name, value) for name, value in inputs.kwargs.items()}
    return replace(inputs, args=args, kwargs=kwargs, aliases={})  # parts of tensors
