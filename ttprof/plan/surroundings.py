"""What a model changes around its call of a submodule, so that a test of the submodule alone can run under the same.

Autocast is brought back for the test, and so is what differs in the module at that call from before the forward:
attributes, buffers, parameters, submodules and modes. no_grad, hooks, and what can't be copied, are only said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import tree
from ttprof.plan.aliases import Aliases, aliases_of, bound, parts_of
from ttprof.plan.at_rest import ABSENT, AtRest, Attribute
from ttprof.plan.autocast import autocast_around, without_autocast
from ttprof.plan.copies import Memory
from ttprof.plan.hooks import HookWatch, ModuleCall
from ttprof.plan.model_state import WriteWatch

MAX_NAMES = 3
"""Attributes that a clause names."""

MAX_ITEMS = 1000
"""Containers with more items are not copied."""


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of one call of a module.

    Attributes:
        autocast: The dtype of the autocast that the call runs under, or None.
        attributes: What differs then in the module and its submodules.
        missing: A clause on what a test of the module alone lacks; empty if nothing.
        module: The module, whose tensors those of *attributes* may share memory with.
        aliases: The tensors in the attributes that do.
    """

    autocast: torch.dtype | None = None
    attributes: tuple[Attribute, ...] = ()
    missing: str = ""
    module: nn.Module | None = None
    aliases: Aliases = field(default_factory=dict)

    @property
    def described(self) -> str:
        """A clause on what the test takes over from the model; empty if nothing."""
        held = [attribute for attribute in self.attributes if attribute.kind != "mode"]
        modes = {(type(a.module).__name__, a.value): a for a in self.attributes if a.kind == "mode"}
        clauses = [f"under autocast to {str(self.autocast).removeprefix('torch.')}"] if self.autocast else []
        clauses += [f"with {_listed(held)} as at that call"] if held else []
        in_mode = (f"with its {name} in {'train' if training else 'eval'} mode" for name, training in modes)
        clauses += islice(in_mode, MAX_NAMES)
        return " and ".join(clauses)

    def but(self, clause: str) -> Context:
        """This context with one more *clause* on what the test lacks."""
        return replace(self, missing="; ".join(filter(None, [self.missing, clause])))

    def onto(self, module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Context:
        """This context for *module*, a copy of the module or a reference, with *change* applied to its tensors.

        Attributes of parts that it lacks, or that are of another class there, are left out.
        """
        module = without_autocast(module)
        if self.module is None or module is self.module:
            return self
        paths = {part: path for path, part in parts_of(self.module).items()}
        theirs = parts_of(module)
        parts = [theirs.get(paths.get(attribute.module, "?")) for attribute in self.attributes]
        pairs = [(a, part) for a, part in zip(self.attributes, parts, strict=True) if type(part) is type(a.module)]
        values = Memory.of([attribute.value for attribute, _ in pairs]).map(change)
        attributes = (replace(a.holding(v), module=part) for (a, part), v in zip(pairs, values, strict=True))
        aliases = self.aliases if len(pairs) == len(self.attributes) else {}
        return replace(self, module=module, attributes=tuple(attributes), aliases=aliases)

    def apply(self) -> list[Attribute]:
        """Set the attributes to copies, which a call may change. Returns what brings back the state before."""
        if not self.attributes:
            return []
        held = [attribute.value for attribute in self.attributes]
        values = Memory.of(held).map(torch.clone, bound(held, self.aliases, self.module))
        return [attribute.holding(value).apply() for attribute, value in zip(self.attributes, values, strict=True)]

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
    """The state of modules before the forward of the model, and how torch is set then.

    ``originals`` are the user's modules by those that run, if these are copies.
    """

    at_rest: AtRest
    hooks: HookWatch
    grad: bool
    autocast: torch.dtype | None
    attention: tuple[bool, ...]
    originals: Mapping[nn.Module, nn.Module]

    @classmethod
    def of(
        cls, model: nn.Module, watch: WriteWatch, grad: bool, originals: Mapping[nn.Module, nn.Module]
    ) -> Surroundings:
        """Note the state of the modules of *model* before its forward, whose writes *watch* sees."""
        at_rest = AtRest.of(model, watch.saved)
        return cls(at_rest, HookWatch(at_rest), grad, autocast_around(model), _attention_backends(), originals)

    def around(self, call: ModuleCall, module: nn.Module, arguments: Any) -> tuple[Context, Aliases]:
        """What differs at this moment, the start of a *call* of *module*, whoever has changed it.

        Also returns the tensors in the *arguments* that share memory with what the module holds.
        """
        passed = [leaf.value for leaf in tree.leaves(arguments) if isinstance(leaf.value, nn.Module)]
        changed = [attribute for part in (module, *passed) for attribute in self.at_rest.changed(part)]
        copyable = [attribute for attribute in changed if _is_copyable(attribute.value)]
        aliases, shared = _usable(*aliases_of(module, arguments, self.at_rest.tensors_in), tree.tensors(arguments))
        clauses = [*self._missing(module, changed, copyable, shared)]
        if self.hooks.at_call(call, module):
            clauses.append("the model has registered or removed hooks on it at this call")
        context = Context(autocast_around(module), missing="; ".join(clauses))
        return self._holding(context, module, copyable), aliases

    def but_reset(self, module: nn.Module, kept: list[Attribute]) -> Callable[[Context], Context]:
        """What adds to a context those of *kept* that are as at rest at the start of this call of *module*.

        A forward has changed them, and the next one resets them before the call, so that the test must do so too.
        """
        parts = set(module.modules())
        own = [attribute for attribute in kept if attribute.module in parts]
        if not own:
            return lambda context: context
        changed = {(attribute.module, attribute.name) for attribute in self.at_rest.changed(module)}
        reset = (attribute for attribute in own if (attribute.module, attribute.name) not in changed)
        values = (attribute.holding(vars(attribute.module).get(attribute.name, ABSENT)) for attribute in reset)
        now = [attribute for attribute in values if _is_copyable(attribute.value)]
        added = self._holding(NO_CONTEXT, module, now)

        def with_reset(context: Context) -> Context:
            attributes = (*context.attributes, *added.attributes)
            return replace(context, attributes=attributes, module=added.module) if now else context

        return with_reset

    def _missing(
        self, module: nn.Module, changed: list[Attribute], copyable: list[Attribute], shared: list[str]
    ) -> Iterator[str]:
        """Clauses on what a test of *module* alone lacks."""
        if self.grad and not torch.is_grad_enabled():
            mode = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
            yield f"the model calls it under {mode}"
        if len(copyable) < len(changed):
            uncopied = [attribute for attribute in changed if attribute not in copyable]
            yield f"at this call in the model {_listed(uncopied)} differs, and can't be copied"
        if shared:
            yield f"its {', '.join(shared[:MAX_NAMES])} shares memory with its inputs in the model, and not in the test"
        if self.autocast is not None and autocast_around(module) is None:
            yield "the model switches off the autocast that is on around it"
        if _changes_arguments_first(module):
            yield "a __call__ of its class, or a global hook, gets these inputs a second time in the test"
        if self.at_rest.replaces_forward(module):
            yield "the model replaces its forward, or that of a part of it, at this call"
        if _attention_backends() != self.attention:
            yield "the model runs it with other backends of scaled_dot_product_attention"

    def _holding(self, context: Context, module: nn.Module, attributes: list[Attribute]) -> Context:
        """*context* with copies of the values of *attributes*, without the graph behind them."""
        if not attributes:
            return context
        held = [attribute.value for attribute in attributes]
        differing = {id(value) for value in held}

        def tensors_in(value: Any) -> list[torch.Tensor]:
            return [] if id(value) in differing else self.at_rest.tensors_in(value)

        aliases, _ = aliases_of(module, held, tensors_in)
        values = Memory.of(held).map(lambda t: t.detach().clone())
        copies = (attribute.holding(value) for attribute, value in zip(attributes, values, strict=True))
        theirs = tuple(replace(copy, module=self.originals.get(copy.module, copy.module)) for copy in copies)
        return replace(context, attributes=theirs, module=self.originals.get(module, module), aliases=aliases)


def _usable(aliases: Aliases, shared: list[str], tensors: list[torch.Tensor]) -> tuple[Aliases, list[str]]:
    """The *aliases* without those that need a gradient and are no parameters, and the names of what is shared then.

    The test differentiates by its own copy of such an activation, which an attribute can't be as well.
    """
    lost = {position for position, a in aliases.items() if tensors[position].requires_grad and a.kind != "parameter"}
    kept = {position: alias for position, alias in aliases.items() if position not in lost}
    return kept, list(dict.fromkeys([*shared, *(aliases[position].name for position in sorted(lost))]))


def _changes_arguments_first(module: nn.Module) -> bool:
    """Whether something runs before the capture sees the arguments of a call, and again when it is repeated."""
    call: Any = type(module).__call__
    overridden = call is not nn.Module.__call__ and not call.__module__.startswith("torch.")
    return overridden or bool(torch.nn.modules.module._global_forward_pre_hooks)


def _attention_backends() -> tuple[bool, ...]:
    cuda: Any = torch.backends.cuda
    enabled = (cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.math_sdp_enabled, cuda.cudnn_sdp_enabled)
    return tuple(is_enabled() for is_enabled in enabled)


def _is_copyable(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple, set)) and len(value) > MAX_ITEMS:
        return False
    if value is ABSENT:
        return True
    try:
        Memory.of([value]).map(torch.clone)
    except InputsError:
        return False
    return True


def _listed(attributes: Iterable[Attribute]) -> str:
    names = list(dict.fromkeys(attribute.name for attribute in attributes))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"its {', '.join(names[:MAX_NAMES])}{more}"
