"""Annotates the recording of pass 2: each submodule's forward runs inside a range named after its dotted path.

The forwards are wrapped rather than hooked, because nn.TransformerEncoderLayer leaves its fused path when it has hooks:
pass 2 would record other kernels than pass 1 timed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import torch
from torch import nn

from ttprof.run.iteration import Ranged
from ttprof.trace.iterations import module_annotation

_COMPILED_CALL = "_compiled_call_impl"
"""What torch calls instead of the forward of a module that has been compiled in place."""


@contextmanager
def annotated(modules: Iterable[tuple[str, nn.Module]], ranged: Ranged) -> Iterator[None]:
    """Run each forward of *modules*, pairs of a path and a module, inside a range named by ``module_annotation``.

    Scripted modules, whose forward can't be replaced, are not annotated. Compiled code stays as it is: a module that
    has been compiled in place is wrapped outside of it, and within it there are no ranges.
    """
    wrapped: list[tuple[nn.Module, str, Any]] = []
    try:
        for path, module in modules:
            if isinstance(module, torch.jit.ScriptModule):
                continue
            called = _COMPILED_CALL if vars(module).get(_COMPILED_CALL) is not None else "forward"
            wrapped.append((module, called, vars(module).get(called)))
            vars(module)[called] = _in_range(ranged, module_annotation(path), getattr(module, called))
        yield
    finally:
        for module, called, patched in wrapped:
            if patched is None:
                del vars(module)[called]
            else:
                vars(module)[called] = patched


def _in_range(ranged: Ranged, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return forward(*args, **kwargs)
        with ranged(name):
            return forward(*args, **kwargs)

    _leave_to_python(recorded.__code__)
    return functools.wraps(forward)(recorded)


def _leave_to_python(code: CodeType) -> None:
    """Let dynamo compile no frame of *code*, only what it calls: a frame of our own would be one more graph."""
    skip_code = getattr(sys.modules.get("torch._dynamo.decorators"), "skip_code", None)  # private, so it may be missing
    if skip_code is not None:
        skip_code(code)
