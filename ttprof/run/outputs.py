"""The outcome of a forward of a module and of its reference, for comparison.

The reference runs in float64 if it can. Other dtypes run on copies, so the model itself is never cast.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ttprof.errors import ModuleRaised, user_code
from ttprof.plan import tree
from ttprof.plan.copies import Memory
from ttprof.plan.inputs import Inputs
from ttprof.plan.model_state import ModelState, preserved
from ttprof.plan.process_state import eagerly, seeded
from ttprof.run.casts import TensorChange, cast_reference, cast_together, state_of
from ttprof.run.narrow_watch import run_watched
from ttprof.run.workload import changed_values


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one forward computes: its output, and the inputs and buffers that it changes.

    Attributes:
        output: The return value.
        inputs: The tensors, numbers and strings in the inputs after the forward, by name (``input[0]``).
        buffers: The buffers after the forward, by name (``buffer running_mean``).
        changed_inputs: The names of inputs whose value differs from before; not of those that are the output too, as
            of an operation in place.
        changed_buffers: The names of buffers whose value differs from before.
        model_changes: Parameters and plain attributes of the module that the forward changed; they are restored.
    """

    output: Any
    inputs: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)
    changed_inputs: frozenset[str] = frozenset()
    changed_buffers: frozenset[str] = frozenset()
    model_changes: tuple[str, ...] = ()

    def state_of(self, name: str) -> Any:
        """The value of an input or a buffer after the forward; None if there is no such name."""
        return self.inputs.get(name, self.buffers.get(name))


@dataclass(frozen=True, eq=False)
class OutputReference:
    """The outcome to compare with, usually in float64.

    ``same_dtype`` is the reference's outcome in the dtype under test; its error is the reference's own. ``narrow`` is
    the dtype below 64 bits in which the reference computes parts whatever its inputs, or None.
    """

    outcome: Outcome
    described: str
    same_dtype: Outcome | None = None
    narrow: torch.dtype | None = None


def forward_once(
    module: Callable[..., Any],
    inputs: Inputs,
    description: str,
    seed: int = 0,
    preserve: Callable[[nn.Module], AbstractContextManager[ModelState]] = preserved,
) -> Outcome:
    """The outcome of one forward on copies of *inputs*, the generators seeded with *seed*.

    Gradients are disabled, unless the forward raises without them. *preserve* restores the module afterwards, so that
    every forward starts from the same state.

    Raises:
        ModuleRaised: The forward of *description* raised.
    """
    try:
        return _forward(module, inputs, description, seed, preserve, grad=False)
    except ModuleRaised as error:
        with suppress(ModuleRaised):  # the forward may compute gradients itself, such as forces from an energy
            return _forward(module, inputs, description, seed, preserve, grad=True)
        raise error


def _forward(
    module: Callable[..., Any],
    inputs: Inputs,
    description: str,
    seed: int,
    preserve: Callable[[nn.Module], AbstractContextManager[ModelState]],
    grad: bool,
) -> Outcome:
    used = inputs.cloned(module)
    devices = [t.device for t in used.tensors()] or [torch.device("cpu")]
    state = preserve(module) if isinstance(module, nn.Module) else nullcontext()
    with (
        torch.set_grad_enabled(grad),
        state as saved,
        seeded(seed, devices[0]),
        user_code(f"the forward of {description}"),
    ):
        returned = module(*used.args, **used.kwargs)
        after = {f"input{leaf.path}": leaf.value for leaf in used.leaves() if isinstance(leaf.value, _COMPARED)}
        changed = {f"input{path}" for path in changed_values(inputs, used)}
        output, values = _apart_from(module, (returned, after))
        buffers, changed_buffers = saved.buffers_now() if saved is not None else ({}, set())
    returned = {_memory(tensor) for tensor in tree.tensors(output)}
    return Outcome(
        output,
        values,
        {f"buffer {name}": value for name, value in buffers.items()},
        frozenset(name for name in changed if _memory(values.get(name)) not in returned),
        frozenset(f"buffer {name}" for name in changed_buffers),
        tuple(saved.changed) if saved is not None else (),
    )


_COMPARED = (*tree.ARRAYS, bool, int, float, str)
"""Types of values in the inputs that are compared with the reference's after the forward."""


def _apart_from(module: Callable[..., Any], values: Any) -> Any:
    """*values*, copied if they share memory with the state of *module*, which is about to be restored."""
    if not isinstance(module, nn.Module):
        return values
    state = {_memory(tensor) for tensor in state_of(module)}
    if all(_memory(tensor) not in state for tensor in tree.tensors(values)):
        return values
    return Memory.of(values).map(torch.clone)


def _memory(value: Any) -> int:
    """The identity of the memory of a tensor, or of any other value."""
    plain = isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested
    return value.untyped_storage()._cdata if plain else id(value)


def default_reference(module: nn.Module, inputs: Inputs, dtype: torch.dtype, seed: int = 0) -> OutputReference:
    """The outcome of the same module in float64 on up-cast inputs.

    If it does not run in float64 and *dtype*, the dtype under test, is narrower than float32, then in float32.

    Raises:
        ModuleRaised: The module runs in no wider dtype than *dtype*.
    """
    try:
        outcome, watch = run_watched(lambda watch: outcome_in(module, inputs, torch.float64, seed, watch))
        described = f"the same module in float64{watch.describe()}"
        return OutputReference(outcome, described, narrow=watch.dtype)
    except ModuleRaised as error:
        if torch.finfo(dtype).bits >= 32:
            raise
        outcome = outcome_in(module, inputs, torch.float32, seed)
        return OutputReference(outcome, f"the same module in float32, since it does not run in float64 ({error})")


def given_reference(
    reference: Callable[..., Any], described: str, inputs: Inputs, dtype: torch.dtype, seed: int = 0
) -> OutputReference:
    """The outcome of the user's reference in float64, together with that in *dtype*, the dtype under test.

    A reference that does not run in float64 is its own reference in *dtype*, and described so.

    Raises:
        ModuleRaised: The reference does not run.
    """
    same_dtype = forward_once(*cast_together(reference, inputs, dtype), described, seed)
    try:
        outcome, watch = run_watched(lambda watch: outcome_in(reference, inputs, torch.float64, seed, watch))
        return OutputReference(outcome, f"{described} in float64{watch.describe()}", same_dtype, watch.dtype)
    except ModuleRaised as error:
        return OutputReference(same_dtype, f"{described} in {dtype}, since it does not run in float64 ({error})")


def outcome_in(
    module: Callable[..., Any],
    inputs: Inputs,
    dtype: torch.dtype,
    seed: int = 0,
    mode: AbstractContextManager[Any] | None = None,
    change: TensorChange | None = None,
) -> Outcome:
    """The outcome of a copy of *module* in *dtype* on *inputs* in that dtype.

    Args:
        module: The module, or a function.
        inputs: Its inputs.
        dtype: The dtype of the copies.
        seed: The seed of the generators.
        mode: A dispatch mode to run under.
        change: Applied to every tensor of the module and the inputs after the cast.

    Raises:
        ModuleRaised: The module can't be copied, or does not run in *dtype*.
    """
    description = f"{getattr(module, '__name__', type(module).__name__)} in {dtype}"
    module, inputs = cast_reference(module, inputs, dtype, change)  # outside the mode, which would see the old dtype
    with eagerly(), mode or nullcontext():  # torch.compile gives up for good on code that runs under a mode
        return forward_once(module, inputs, description, seed)
