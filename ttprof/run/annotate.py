"""Annotations of pass 2: each submodule's forward runs inside a range that carries its dotted path.

Modules enter a context manager; inside, their ``forward`` is wrapped; afterwards it is as before. Forward hooks
would do the same, but nn.TransformerEncoderLayer leaves its fused path when a hook is there: what was recorded
would not be what was timed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ttprof.run.iteration import Ranged
from ttprof.trace.iterations import module_annotation


@contextmanager
def annotated(modules: Iterable[tuple[str, nn.Module]], ranged: Ranged) -> Iterator[None]:
    """Inside, calls of *modules* lie in ranges that ``module_annotation`` names. Scripted modules are left alone."""
    wrapped: list[tuple[nn.Module, Any]] = []
    try:
        for path, module in modules:
            if isinstance(module, torch.jit.ScriptModule):
                continue
            own = vars(module).get("forward")
            vars(module)["forward"] = _in_range(ranged, module_annotation(path), module.forward)
            wrapped.append((module, own))
        yield
    finally:
        for module, own in wrapped:
            if own is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = own


def _in_range(ranged: Ranged, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with ranged(name):
            return forward(*args, **kwargs)

    return recorded
