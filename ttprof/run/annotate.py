"""Annotates the recording of pass 2: each submodule's forward runs inside a range named after its dotted path.

The forwards are wrapped rather than hooked, because nn.TransformerEncoderLayer leaves its fused path when it has hooks:
pass 2 would record other kernels than pass 1 timed.
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
    """Run each forward of *modules*, pairs of a path and a module, inside a range named by ``module_annotation``.

    Scripted modules, whose forward can't be replaced, are not annotated.
    """
    wrapped: list[tuple[nn.Module, Any]] = []
    try:
        for path, module in modules:
            if isinstance(module, torch.jit.ScriptModule):
                continue
            patched = vars(module).get("forward")
            vars(module)["forward"] = _in_range(ranged, module_annotation(path), module.forward)
            wrapped.append((module, patched))
        yield
    finally:
        for module, patched in wrapped:
            if patched is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = patched


def _in_range(ranged: Ranged, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with ranged(name):
            return forward(*args, **kwargs)

    return recorded
