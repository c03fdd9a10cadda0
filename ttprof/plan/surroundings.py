"""What a model changes around its call of a submodule, so that a test of the submodule alone can run under the same.

Autocast is brought back for the test, and so is what differs in the module at that call from before the forward:
attributes, buffers, parameters and submodules. no_grad, hooks, and what can't be copied, are only said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ttprof.errors import InputsError
from ttprof.plan import tree
from ttprof.plan.copies import Memory

MAX_NAMES = 3
"""Attributes that a clause names."""

CONTAINERS = (dict, list, tuple, deque, set)
MAX_ITEMS = 1000
"""Containers with more items are only watched for their length, and not copied."""

SAMPLED = 8
"""About so many elements of a tensor show whether it was written to through ``.data``."""

_ABSENT = object()


class UnderAutocast(nn.Module):
    """Runs a module's forward under torch.autocast; shares its parameters, buffers and submodules, names included."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._parameters, self._buffers, self._modules = module._parameters, module._buffers, module._modules
        self.training = module.training
        self._wrapped = [module]  # in a list, so that it does not become a submodule
        self._dtype = dtype

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
        """*module* under autocast to *dtype*, or *module* itself if *dtype* is None."""
        return module if dtype is None else cls(module, dtype)

    @property
    def wrapped(self) -> nn.Module:
        """The module itself."""
        return self._wrapped[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward of the module."""
        tensors = (*self.parameters(), *self.buffers(), *(a for a in args if isinstance(a, torch.Tensor)))
        device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        with torch.autocast(device.type, self._dtype):
            return self.wrapped(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Attribute:
    """An attribute, parameter, buffer or submodule that differs at a call in a model from before its forward."""

    module: nn.Module
    name: str
    value: Any
    kind: str = "plain"

    def apply(self) -> Attribute:
        """Set the attribute. Returns what brings back the state before."""
        holder = _holders(self.module)[self.kind]
        before = Attribute(self.module, self.name, holder.get(self.name, _ABSENT), self.kind)
        if self.value is _ABSENT:
            holder.pop(self.name, None)
        else:
            holder[self.name] = self.value
        return before


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of one call of a module.

    Attributes:
        autocast: The dtype of the autocast that the call runs under, or None.
        attributes: What differs then in the module and its submodules.
        missing: A clause on what a test of the module alone lacks; empty if nothing.
    """

    autocast: torch.dtype | None = None
    attributes: tuple[Attribute, ...] = ()
    missing: str = ""

    @property
    def described(self) -> str:
        """A clause on what the test takes over from the model; empty if nothing."""
        clauses = [f"under autocast to {str(self.autocast).removeprefix('torch.')}"] if self.autocast else []
        clauses += [f"with {_listed(self.attributes)} as at that call"] if self.attributes else []
        return " and ".join(clauses)

    def apply(self) -> list[Attribute]:
        """Set the attributes to copies, which a call may change. Returns what brings back the state before."""
        if not self.attributes:
            return []
        values = Memory.of([attribute.value for attribute in self.attributes]).map(torch.clone)
        return [_with(attribute, value).apply() for attribute, value in zip(self.attributes, values, strict=True)]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the attributes within the context."""
        before = self.apply()
        try:
            yield
        finally:
            for attribute in reversed(before):
                attribute.apply()


NO_CONTEXT = Context()


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The state of modules before the forward of the model, and how torch is set then."""

    at_rest: dict[nn.Module, dict[tuple[str, str], Any]]
    grad: bool
    attention: tuple[bool, ...]

    @classmethod
    def of(cls, model: nn.Module, grad: bool, watched: bool) -> Surroundings:
        """Note the state of the modules of *model*, if they are to be *watched*, before its forward."""
        at_rest = {module: _marks(module) for module in model.modules()} if watched else {}
        return cls(at_rest, grad, _attention_backends())

    def around(self, module: nn.Module, inputs: Iterable[torch.Tensor]) -> Context:
        """What differs at this moment, the start of a call of *module* on *inputs*, whoever has changed it."""
        changed = [attribute for part in module.modules() for attribute in self._changed(part)]
        copied, uncopied = _copied([attribute for attribute in changed if attribute.kind != "hook"])
        clauses = []
        if self.grad and not torch.is_grad_enabled():
            mode = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
            clauses.append(f"the model calls it under {mode}")
        if uncopied:
            clauses.append(f"at this call in the model {_listed(uncopied)} differs, and can't be copied")
        shared = [attribute for attribute in changed if _memories(tree.tensors(attribute.value)) & _memories(inputs)]
        if shared:
            clauses.append(f"{_listed(shared)} shares memory with its inputs in the model, and not in the test")
        if any(attribute.kind == "hook" for attribute in changed):
            clauses.append("the model has registered hooks on it at this call")
        if _attention_backends() != self.attention:
            clauses.append("the model runs it with other backends of scaled_dot_product_attention")
        return Context(autocast_around(module), copied, "; ".join(clauses))

    def _changed(self, module: nn.Module) -> list[Attribute]:
        if module not in self.at_rest:
            return []
        before, now = self.at_rest[module], _marks(module)
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        holders = _holders(module)
        return [Attribute(module, name, holders[kind].get(name, _ABSENT), kind) for kind, name in keys]


def _memories(tensors: Iterable[torch.Tensor]) -> set[int]:
    strided = (t for t in tensors if t.layout is torch.strided and not t.is_nested)
    return {t.untyped_storage()._cdata for t in strided if type(t) in (torch.Tensor, nn.Parameter)}


def autocast_around(module: nn.Module) -> torch.dtype | None:
    """The dtype of the autocast that is on for the device of *module*, or None."""
    device = next((p.device.type for p in module.parameters()), "cpu")
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _attention_backends() -> tuple[bool, ...]:
    cuda: Any = torch.backends.cuda
    enabled = (cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.math_sdp_enabled, cuda.cudnn_sdp_enabled)
    return tuple(is_enabled() for is_enabled in enabled)


HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def _holders(module: nn.Module) -> Mapping[str, dict[str, Any]]:
    """The dicts in which a module keeps what it holds; hooks are only compared."""
    return {
        "plain": vars(module),
        "parameter": module._parameters,
        "buffer": module._buffers,
        "submodule": module._modules,
        "hook": vars(module),
    }


def _marks(module: nn.Module) -> dict[tuple[str, str], Any]:
    """What tells whether anything that *module* holds was set or changed, by kind and name."""
    own = vars(module)
    marks: dict[tuple[str, str], Any] = {("hook", name): len(own[name]) for name in HOOKS if name in own}
    for kind, holder in _holders(module).items():
        for name, value in holder.items():
            if kind != "hook" and not (kind == "plain" and name in _PLUMBING):
                marks[kind, name] = _mark(value)
    return marks


def _mark(value: Any) -> Any:
    """A value that changes if *value* becomes another one, or a tensor or a container is changed in place."""
    if isinstance(value, torch.Tensor) and not is_lazy(value):
        return id(value), 0 if value.is_inference() else value._version, _sample(value)
    if isinstance(value, CONTAINERS) and len(value) <= MAX_ITEMS:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return type(value), *((key, _shallow(item)) for key, item in items)
    return (id(value), len(value)) if isinstance(value, CONTAINERS) else _shallow(value)


def _sample(tensor: torch.Tensor) -> Any:
    """A few elements of a tensor in the host's memory, since writes through ``.data`` do not count as a new version."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter, nn.Buffer) and tensor.device.type == "cpu"
    if not plain or tensor.layout is not torch.strided or tensor.is_quantized or not tensor.is_contiguous():
        return None
    values = tensor.detach().view(-1)
    return tensor.data_ptr(), repr(values[:: max(1, len(values) // SAMPLED)].tolist())


def _shallow(value: Any) -> Any:
    return (type(value), repr(value)) if isinstance(value, tree.PRIMITIVES) else id(value)


_PLUMBING = frozenset(vars(nn.Module())) | {"forward"}
"""The attributes that every module has, and the one that the capture replaces."""


def _copied(attributes: list[Attribute]) -> tuple[tuple[Attribute, ...], list[Attribute]]:
    """*attributes* with copies of their values, without the graph behind them; and those that can't be copied."""
    copyable = [attribute for attribute in attributes if _is_copyable(attribute.value)]
    values = Memory.of([attribute.value for attribute in copyable]).map(lambda t: t.detach().clone())
    copies = tuple(_with(attribute, value) for attribute, value in zip(copyable, values, strict=True))
    return copies, [attribute for attribute in attributes if attribute not in copyable]


def _is_copyable(value: Any) -> bool:
    if isinstance(value, CONTAINERS) and len(value) > MAX_ITEMS:
        return False
    try:
        Memory.of([value]).map(torch.clone)
    except InputsError:
        return False
    return True


def _with(attribute: Attribute, value: Any) -> Attribute:
    """*attribute* with another value, unless it is absent."""
    return attribute if attribute.value is _ABSENT else replace(attribute, value=value)


def _listed(attributes: Iterable[Attribute]) -> str:
    names = list(dict.fromkeys(attribute.name for attribute in attributes))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"its {', '.join(names[:MAX_NAMES])}{more}"
