"""Watches in which dtypes the operators of a reference compute while it runs in float64, and keeps it there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch

from ttprof.errors import ModuleRaised
from ttprof.plan import tree
from ttprof.plan.compiled import TransparentMode

T = TypeVar("T")

_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


class NarrowWatch(TransparentMode):
    """Notes the narrowest floating-point dtype below 64 bits in which an operator computes, and the line that does.

    A cast such as ``.to(torch.bfloat16)`` that a module hard-codes rounds in its float64 copy too. With *lifting*,
    casts to float32 are made to float64 instead: they mean to widen, and would narrow here. Dtypes of *silent_bits* and
    more are not reported.
    """

    def __init__(self, lifting: bool = False, silent_bits: int = 32) -> None:
        super().__init__()
        self._lifting = lifting
        self._silent_bits = silent_bits
        self.dtype: torch.dtype | None = None
        self.line = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._lifting and func is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.float32:
            kwargs = {**kwargs, "dtype": torch.float64}
        result = func(*args, **kwargs)
        for tensor in _floating(result):
            if torch.finfo(tensor.dtype).bits < 64 and (self.dtype is None or _eps(tensor.dtype) > _eps(self.dtype)):
                self.dtype, self.line = tensor.dtype, _line_of_caller()
        return result

    def describe(self) -> str:
        """A clause for the name of the reference; empty if nothing was narrow."""
        if self.dtype is None or torch.finfo(self.dtype).bits >= self._silent_bits:
            return ""
        return f", which computes parts in {str(self.dtype).removeprefix('torch.')} ({self.line})"


def run_watched(run: Callable[[NarrowWatch], T]) -> tuple[T, NarrowWatch]:
    """What *run* returns under a watch that lifts casts to float32, or under a plain one if it raises under that.

    Raises:
        ModuleRaised: It raises under both.
    """
    watch = NarrowWatch(lifting=True)
    try:
        return run(watch), watch
    except ModuleRaised:  # a lifted tensor met one that is float32 for another reason
        watch = NarrowWatch(silent_bits=64)
        return run(watch), watch


def _floating(result: Any) -> Iterable[torch.Tensor]:
    return (tensor for tensor in tree.tensors(result) if tensor.is_floating_point())


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _line_of_caller() -> str:
    """The innermost line of code outside torch and this package, as ``file.py:12``."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else "unknown line"
