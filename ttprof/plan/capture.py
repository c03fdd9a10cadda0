"""Captures the real inputs of a submodule from one forward of the model, which stops once it has them.

Key-value caches are dropped: passed by reference, they would grow from call to call.
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
    """Stops the model's forward once the inputs are captured; never leaves this module."""


def capture(model: nn.Module, inputs: Inputs, target: nn.Module, call: int = 0) -> tuple[Inputs | None, int]:
    """Capture the inputs of *target* at its *call*-th call (from 0) inside the model's forward.

    Returns:
        Clones of the inputs, and the number of calls up to that point. The inputs are None if the forward makes fewer
        calls.

    Raises:
        ModuleRaised: the model's forward raised.
    """
    captured: list[Inputs] = []
    calls = 0

    def intercept(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == call + 1:
            captured.append(_without_caches(args, kwargs).cloned())
            raise _Captured

    handle = target.register_forward_pre_hook(intercept, prepend=True, with_kwargs=True)
    try:
        _forward(model, inputs)
    except _Captured:
        pass
    finally:
        handle.remove()
    return (captured[0] if captured else None), calls


def called_modules(model: nn.Module, inputs: Inputs, candidates: Iterable[nn.Module]) -> set[nn.Module]:
    """The modules among *candidates* that one forward of *model* calls. Raises ModuleRaised if it raises."""
    called: set[nn.Module] = set()

    def note_call(module: nn.Module, args: tuple[Any, ...]) -> None:
        called.add(module)

    handles = [module.register_forward_pre_hook(note_call) for module in set(candidates)]
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
    """Whether *value* looks like a key-value cache, which a forward fills as a side effect."""
    return hasattr(value, "get_seq_length") or type(value).__name__.endswith("Cache")


def _without_caches(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """The inputs with caches replaced by None and ``use_cache`` set to False."""
    args, kwargs = pytree.tree_map(lambda v: None if is_cache(v) else v, (args, kwargs), is_leaf=is_cache)
    if "use_cache" in kwargs:
        kwargs = {**kwargs, "use_cache": False}
    return Inputs("captured", args=tuple(args), kwargs=dict(kwargs))
