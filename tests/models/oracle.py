"""The right verdicts, by hand: each module runs on what the model gives it, in float32 and as a copy in float64.

Uses no code of ttprof. Module and reference have the same code, so a difference between them is rounding, never a bug.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from families import Family
from torch import nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Expected:
    """What a test of one module must find out."""

    calls: int = 0
    """Calls in one forward of the model."""
    output_error: float | None = None
    """Largest relative error of an output in float32; None if the module does not run in float64."""
    gradient_error: float | None = None
    """Largest relative error of a gradient; None if no gradient reaches an input or a parameter."""
    reason: str = ""
    """Why the module does not run in float64."""


@dataclass
class _Calls:
    count: int = 0
    first: list[Arguments] = field(default_factory=list)


def expectations(family: Family) -> dict[str, Expected]:
    """What tests of the submodules of *family* must find, by dotted name; runs a model that nothing else may use."""
    model = family.plain or family.model
    calls = {path: _Calls() for path, _ in model.named_modules()}
    handles = [
        module.register_forward_pre_hook(_recorder(calls[path]), with_kwargs=True)
        for path, module in model.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    args, kwargs = call_arguments(family.inputs)
    model.eval()(*args, **kwargs)
    for handle in handles:
        handle.remove()
    modules = dict(model.named_modules())
    return {path: _expected(modules[path], recorded) for path, recorded in calls.items()}


def call_arguments(inputs: Any) -> Arguments:
    """Arguments of a call from what TestSuite takes as inputs."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _recorder(calls: _Calls) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls.count += 1
        if calls.count == 1:
            calls.first.append(_mapped((args, kwargs), lambda t: t.detach().clone().requires_grad_(t.requires_grad)))

    return record


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A copy of *value* with every tensor changed; a tensor that occurs twice stays one tensor."""
    memo: dict[int, torch.Tensor] = {}

    def walk(item: Any) -> Any:
        if isinstance(item, torch.Tensor):
            return memo.setdefault(id(item), change(item)) if id(item) not in memo else memo[id(item)]
        if isinstance(item, tuple):
            parts = [walk(part) for part in item]
            return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
        if isinstance(item, list):
            return [walk(part) for part in item]
        if isinstance(item, dict):
            return {key: walk(part) for key, part in item.items()}
        return item.clone().apply(change) if hasattr(item, "clone") and hasattr(item, "apply") else copy.copy(item)

    return walk(value)


def _expected(module: nn.Module, calls: _Calls) -> Expected:
    if not calls.first:
        return Expected(calls.count)
    expected = Expected(calls.count)
    ours, our_gradients = _run(module, calls.first[0], torch.float32)
    try:
        theirs, their_gradients = _run(_double(module), calls.first[0], torch.float64)
    except RuntimeError as error:
        return dataclasses.replace(expected, reason=str(error))
    expected.output_error = max((_error(a, b) for a, b in zip(ours, theirs, strict=True)), default=None)
    if our_gradients is not None and their_gradients is not None:
        pairs = zip(our_gradients, their_gradients, strict=True)
        expected.gradient_error = max((_error(a, b) for a, b in pairs if a is not None), default=None)
    return expected


def _double(module: nn.Module) -> nn.Module:
    """A copy in float64, without the tensors that the forward itself computes and stores, which can't be copied."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                setattr(part, name, value.detach())
    double = copy.deepcopy(module).double()
    for part in double.modules():
        if hasattr(getattr(part, "config", None), "_experts_implementation"):
            part.config._experts_implementation = "eager"  # grouped_mm takes no float64
    return double


def _run(module: nn.Module, arguments: Arguments, dtype: torch.dtype) -> tuple[list[Any], list[Any] | None]:
    """Outputs, and gradients of their sum w.r.t. inputs and parameters; None if no gradient reaches any of them."""
    leaves: list[torch.Tensor] = []

    def given(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().clone()
        copied = (copied.to(dtype) if copied.is_floating_point() else copied).requires_grad_(tensor.requires_grad)
        leaves.append(copied)
        return copied.clone() if copied.requires_grad else copied  # a module may write to its inputs

    args, kwargs = _mapped(arguments, given)
    kwargs = {key: dtype if value is torch.float32 else value for key, value in kwargs.items()}
    outputs = [t for t in _tensors(module(*args, **kwargs)) if t.is_floating_point()]
    leaves = [t for t in [*leaves, *module.parameters()] if t.requires_grad]
    sums = [t.sum() for t in outputs if t.requires_grad]
    if not sums or not leaves:
        return [t.detach() for t in outputs], None
    for leaf in leaves:
        leaf.grad = None
    sum(sums).backward()  # not autograd.grad, which reentrant checkpointing refuses
    gradients = [leaf.grad for leaf in leaves]
    return [t.detach() for t in outputs], gradients if any(g is not None for g in gradients) else None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (t for item in value.values() for t in _tensors(item))
    elif isinstance(value, (list, tuple)):
        yield from (t for item in value for t in _tensors(item))


def _error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """‖a − b‖ / ‖b‖; 0 if both are zero."""
    a, b = (_flat(t).double() for t in (ours, theirs))
    difference, size = float((a - b).norm()), float(b.norm())
    return 0.0 if difference == 0 else difference / size if size else float("inf")


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_nested:
        tensor = tensor.values()
    return (tensor.to_dense() if tensor.layout is not torch.strided else tensor).reshape(-1)
