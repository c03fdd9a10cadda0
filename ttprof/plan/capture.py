"""Real inputs: what a submodule is called with inside one forward of the model.

A model, its inputs and a target enter; the target's own inputs at the call asked for leave. The forward stops
there. Caches are dropped: passed by reference they would grow from call to call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ttprof.errors import ControlFlow, user_code
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import as_written, evaluating


class _Captured(ControlFlow):
    """Ends the model's forward once the target was called; never seen outside this module."""


def capture(model: nn.Module, inputs: Inputs, target: nn.Module, call: int = 0) -> tuple[Inputs | None, int]:
    """The inputs of *target* at its call number *call* (from 0), and how many calls were seen.

    The inputs are None when the forward of *model* makes fewer calls. Raises ModuleRaised when it raises.
    """
    caught: list[Inputs] = []
    calls = 0

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == call + 1:
            caught.append(_without_caches(args, kwargs).cloned())
            raise _Captured

    handle = target.register_forward_pre_hook(look, prepend=True, with_kwargs=True)
    try:
        _forward(model, inputs)
    except _Captured:
        pass
    finally:
        handle.remove()
    return (caught[0] if caught else None), calls


def called_modules(model: nn.Module, inputs: Inputs, candidates: Iterable[nn.Module]) -> set[nn.Module]:
    """Those of *candidates* that one forward of *model* calls."""
    called: set[nn.Module] = set()

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        called.add(module)

    handles = [module.register_forward_pre_hook(look) for module in set(candidates)]
    try:
        _forward(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return called


def _forward(model: nn.Module, inputs: Inputs) -> None:
    fresh = inputs.cloned()
    with torch.no_grad(), as_written(), evaluating(model), user_code(f"the forward of {type(model).__name__}"):
        model(*fresh.args, **fresh.kwargs)


def is_cache(value: Any) -> bool:
    """Whether *value* is a key-value cache, which a module fills as a side effect."""
    return hasattr(value, "get_seq_length") or type(value).__name__.endswith("Cache")


def _without_caches(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """The inputs with caches replaced by None and ``use_cache`` off."""
    args, kwargs = pytree.tree_map(lambda v: None if is_cache(v) else v, (args, kwargs), is_leaf=is_cache)
    if "use_cache" in kwargs:
        kwargs = {**kwargs, "use_cache": False}
    return Inputs("captured", args=tuple(args), kwargs=dict(kwargs))
