"""Makes an iteration of a module: a forward, or a forward and a backward, from the same inputs each time.

It keeps no output alive from one call to the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import tree
from ttprof.plan.at_rest import is_backed
from ttprof.plan.inputs import Inputs
from ttprof.plan.model_state import ModelState, preserved
from ttprof.plan.surroundings import Context
from ttprof.run.devices import cache_bytes, driver


class RepeatableCall:
    """A call of a module that can be repeated from the same inputs.

    ``reset`` prepares the next call and is not measured. It gives inputs, buffers and parameters that a call changes
    the state back that they had. Plain attributes stay as calls leave them, so that a module may fill a cache, or leak.
    """

    def __init__(
        self,
        run: Callable[[Inputs], None],
        inputs: Callable[[], Inputs],
        resets: bool,
        reset_module: Callable[[], None],
        context: Context,
    ) -> None:
        self._run = run
        self._make_inputs = inputs
        self._resets = resets
        self._reset_module = reset_module
        self._context = context
        self._inputs: Inputs | None = None

    def reset(self) -> None:
        """Give the inputs and the module the state that each call starts from."""
        self._reset_module()
        self._context.apply()
        if self._inputs is None or self._resets:
            self._inputs = None  # freed before its successor is made
            self._inputs = self._make_inputs()

    def repeated(self, times: int) -> None:
        """Run the module *times* times, each call from the state of the module that the one before has left."""
        self.reset()
        for _ in range(times):
            self._context.apply()
            self._run(self._make_inputs())

    def __call__(self) -> None:
        """Run the module once."""
        if self._inputs is None:
            self.reset()
        assert self._inputs is not None
        self._run(self._inputs)


@dataclass(frozen=True)
class Changes:
    """What a forward changes in place: its inputs, and the buffers of its module; and whether it needs gradients.

    A forward ``needs_grad`` if it raises with gradients disabled and runs with them enabled. ``writes`` are the
    parameters and tensor attributes that it writes to, with what they held before; ``replaces``: it gives parameters
    other memory.
    """

    inputs: bool = False
    buffers: bool = False
    needs_grad: bool = False
    replaces: bool = False
    writes: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    @property
    def parameters(self) -> bool:
        """Whether it changes parameters, or tensors in attributes."""
        return self.replaces or bool(self.writes)

    def undo(self) -> None:
        """Write back what parameters and tensor attributes held before."""
        for tensor, before in self.writes:
            if is_backed(tensor):
                tensor.copy_(before)


NOTHING = Changes()


def forward_call(module: Callable[..., Any], inputs: Inputs, changes: Changes = NOTHING) -> RepeatableCall:
    """One forward on a copy of *inputs*; what it *changes* is restored before each call.

    Gradients are disabled, unless the forward needs them.
    """

    def run(used: Inputs) -> None:
        with torch.set_grad_enabled(changes.needs_grad):
            module(*used.args, **used.kwargs)

    anew = changes.inputs or bool(inputs.aliases)
    make_inputs = functools.partial(inputs.cloned, module)
    return RepeatableCall(run, make_inputs, anew, _reset_of(module, changes), inputs.context)


def _reset_of(module: Callable[..., Any], changes: Changes) -> Callable[[], None]:
    """What gives *module* its present state back, as far as a forward *changes* it."""
    if not isinstance(module, nn.Module) or not (changes.buffers or changes.parameters):
        return lambda: None
    state = ModelState.of(module)

    def reset() -> None:
        if changes.buffers:
            state.reset_buffers()
        if changes.replaces:
            state.reset_parameters()
        changes.undo()

    return reset


def training_call(
    module: Callable[..., Any], inputs: Inputs, changes: Changes = NOTHING, require: bool | None = None
) -> RepeatableCall:
    """One forward and the backward of the sum of its floating-point outputs; gradients are None before and after.

    Args:
        module: The module, or a function.
        inputs: Its inputs; they are copied.
        changes: What a call changes, which is restored before each one.
        require: Whether all or none of the inputs require gradients; None leaves that to each of them.

    The call raises InputsError if no output depends on a parameter or input that requires a gradient.
    """
    described = getattr(module, "__name__", type(module).__name__)
    variables = inputs.variables(require, module)
    leaves = [leaf for leaf in variables.leaves if leaf.requires_grad]
    leaves += list(module.parameters()) if isinstance(module, nn.Module) else []

    def run(used: Inputs) -> None:
        for leaf in leaves:
            leaf.grad = None
        with torch.enable_grad():
            roots = differentiable(module(*used.args, **used.kwargs))
            if not roots:
                raise InputsError(without_gradient(described, inputs, require))
            torch.autograd.backward(roots, [torch.ones_like(root) for root in roots])
        for leaf in leaves:
            leaf.grad = None

    def make_inputs() -> Inputs:
        with torch.enable_grad():
            return variables.copies() if changes.inputs else variables.originals()

    anew = changes.inputs or variables.are_views
    return RepeatableCall(run, make_inputs, anew, _reset_of(module, changes), inputs.context)


def without_gradient(described: str, inputs: Inputs, require: bool | None) -> str:
    """Why there is nothing to differentiate by, and what to do if the inputs could require gradients."""
    reason = (
        f"no output of {described} depends on a parameter or an input that requires a gradient, as backward() needs it"
    )
    if require:
        reason += "; does it run under no_grad, or detach its output?"
    elif any(tensor.is_floating_point() for tensor in inputs.tensors()):
        reason += "; if the inputs should require one, use backward(inputs=True)"
    return reason


def changes_of(module: Callable[..., Any], inputs: Inputs, backward: bool = False) -> Changes:
    """What a forward changes and needs, and what its backward changes; what raises is reported elsewhere."""
    for grad in (False, True):
        with suppress(ModuleRaised):
            changes = _changes(module, inputs, grad)
            break
    else:
        return NOTHING
    if backward and isinstance(module, nn.Module):
        with suppress(ModuleRaised):
            replaces, writes = _changes_of_backward(module, inputs)
            return replace(changes, replaces=replaces, writes=writes)
    return changes


def _changes(module: Callable[..., Any], inputs: Inputs, grad: bool) -> Changes:
    used = inputs.cloned(module)
    with torch.set_grad_enabled(grad), user_code("it"):
        if not isinstance(module, nn.Module):
            module(*used.args, **used.kwargs)
            return Changes(_changes_inputs(inputs, used), needs_grad=grad)
        with preserved(module) as state:
            module(*used.args, **used.kwargs)
            changes_inputs = _changes_inputs(inputs, used)
            buffers, writes = state.buffers_now()[1], state.written()
            replaces = state.replaces_parameters()
    return Changes(changes_inputs, bool(buffers), grad, replaces, tuple(writes))


def _changes_of_backward(
    module: nn.Module, inputs: Inputs
) -> tuple[bool, tuple[tuple[torch.Tensor, torch.Tensor], ...]]:
    """Whether parameters get other memory, and what is written, as by a hook on a gradient that makes a step."""
    with torch.enable_grad(), user_code("it"), preserved(module) as state:
        for parameter in module.parameters():
            parameter.grad = None
        used = inputs.variables(None, module).copies()
        if roots := differentiable(module(*used.args, **used.kwargs)):
            torch.autograd.backward(roots, [torch.ones_like(root) for root in roots])
        return state.replaces_parameters(), tuple(state.written())


def _changes_inputs(before: Inputs, after: Inputs) -> bool:
    """Whether a call has changed its inputs, apart from tensors of the module that are passed to it."""
    tied = {id(tensor) for position, tensor in enumerate(before.tensors()) if position in before.aliases}
    of_module = {leaf.path for leaf in before.leaves() if id(leaf.value) in tied}
    return not of_module.issuperset(changed_values(before, after))


def changed_values(before: Inputs, after: Inputs) -> list[str]:
    """The paths of the values that differ between two copies of the same inputs, or that only one of them has."""
    earlier, later = ({leaf.path: leaf.value for leaf in inputs.leaves()} for inputs in (before, after))
    return [
        path
        for path in dict.fromkeys([*earlier, *later])
        if path not in earlier or path not in later or not _same_value(earlier[path], later[path])
    ]


def _same_value(one: Any, other: Any) -> bool:
    """Whether two values are alike; NaNs are equal, and so are two objects of a type without a comparison."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return _same_tensor(one, other)
    if isinstance(one, torch.Generator) and isinstance(other, torch.Generator):
        return torch.equal(one.get_state(), other.get_state())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if isinstance(one, tree.PRIMITIVES) or isinstance(other, tree.PRIMITIVES):
        return type(one) is type(other) and (one == other or one != one)
    return True


def _same_tensor(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.is_quantized or (one.is_nested and one.layout is torch.strided):
        return bool(one._version == other._version)
    if one.layout is not torch.strided:
        one, other = (t.values() if t.is_nested else t.to_dense() for t in (one, other))
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def differentiable(output: Any, distinct: bool = True) -> list[torch.Tensor]:
    """The tensors in *output*, wherever it holds them, that require a gradient; each once if *distinct*."""
    tensors = [leaf.value for leaf in tree.leaves(output) if isinstance(leaf.value, torch.Tensor)]
    return [tensor for tensor in (tree.tensors(output) if distinct else tensors) if tensor.requires_grad]


def cold_cache(device: torch.device) -> Callable[[], None]:
    """A callable that evicts the last-level cache of *device*, by overwriting a buffer twice its size."""
    driven = driver(device)
    buffer = torch.empty(2 * cache_bytes(device), dtype=torch.uint8, device=device)

    def flush() -> None:
        buffer.fill_(1)
        driven.synchronise()

    return flush
