"""Captures the real inputs of submodules from one forward of the model, for as many modules as fit into a budget.

A module is seen however the model runs it: by calling it or by calling its ``forward``.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ttprof.errors import ControlFlow, InputsError, ModuleRaised, user_code
from ttprof.plan import tree
from ttprof.plan.at_rest import Attribute
from ttprof.plan.autocast import autocast_around
from ttprof.plan.copies import Memory
from ttprof.plan.hooks import ModuleCall
from ttprof.plan.inputs import Inputs
from ttprof.plan.model_state import in_mode
from ttprof.plan.process_state import as_written
from ttprof.plan.surroundings import Context, Surroundings

Wanted = Mapping[nn.Module, set[int]]
"""The calls of each module, counted from 0 within one forward of the model, whose inputs are wanted."""

BUDGET_BYTES = 2**30
"""The most memory that captured inputs are kept in, for use in both passes; further modules are captured one by one."""


@dataclass(frozen=True)
class ForwardMode:
    """How the model runs when calls are captured: with gradients enabled or not, in train or in eval mode.

    ``cut``: only up to the wanted call, since what the model does after it ends the process, or never ends.
    """

    grad: bool = False
    train: bool = False
    cut: bool = False


EVAL = ForwardMode()


class _Reached(ControlFlow):
    """Raised at the wanted call of a forward that is cut there."""


@contextmanager
def cut_after(module: nn.Module | None) -> Iterator[None]:
    """End a forward within the context after the first call of *module*; None lets it run to its end."""
    if module is None:
        yield
        return

    def reached(*_: object) -> None:
        raise _Reached

    handle = module.register_forward_hook(reached)
    try:
        yield
    except _Reached:
        pass
    finally:
        handle.remove()


@dataclass(frozen=True)
class Parked:
    """Captured inputs in the host's memory, so that they add nothing to what a device reports."""

    inputs: Inputs
    devices: tuple[torch.device, ...]
    nbytes: int

    @classmethod
    def of(cls, inputs: Inputs) -> Parked:
        """Copy the inputs of a call to the host. Raises InputsError if an argument can't be copied."""
        memory = Memory.of((inputs.args, inputs.kwargs))
        devices = tuple(block.content.device for block in memory.blocks)
        args, kwargs = memory.map(lambda t: t.cpu() if t.device.type != "cpu" else t.clone())
        taken_over = tree.tensors([attribute.value for attribute in inputs.context.attributes])
        size = sum(t.numel() * t.element_size() for t in (*(block.content for block in memory.blocks), *taken_over))
        return cls(replace(inputs, args=args, kwargs=kwargs), devices, size)

    def inputs_on_device(self) -> Inputs:
        """Copies of the inputs on the devices that they were captured on."""
        devices = iter(self.devices)
        return self.inputs.map(lambda t: t.to(next(devices), copy=True))

    def within(self, change: Callable[[Context], Context]) -> Parked:
        """These inputs with their context changed."""
        return replace(self, inputs=replace(self.inputs, context=change(self.inputs.context)))

    def but(self, clause: str) -> Parked:
        """These inputs with one more *clause* on what a test with them lacks."""
        return self.within(lambda context: context.but(clause))


@dataclass
class Captured:
    """The calls of modules in one forward of the model, and the inputs of the wanted ones that fitted the budget.

    Attributes:
        observed: The modules that were watched, called or not.
        calls: How often each of them ran.
        inputs: The inputs of the wanted calls.
        signatures: The signature of each call, in order.
        direct: The calls that ran the module's ``forward`` without calling the module.
        failures: Why the inputs of a wanted call could not be copied.
        error: What the forward raised, after the calls that are listed here.
        cut: Whether the forward was cut off at a wanted call.
    """

    observed: frozenset[nn.Module]
    calls: dict[nn.Module, int] = field(default_factory=dict)
    inputs: dict[tuple[nn.Module, int], Parked] = field(default_factory=dict)
    signatures: dict[nn.Module, list[str]] = field(default_factory=dict)
    direct: set[tuple[nn.Module, int]] = field(default_factory=set)
    failures: dict[tuple[nn.Module, int], InputsError] = field(default_factory=dict)
    error: ModuleRaised | None = None
    cut: bool = False

    @property
    def lacking(self) -> str:
        """A clause on what the forward did not do after the calls that are listed; empty if it ran to its end."""
        if self.cut:
            return "what the model's forward does after this call ends the process, or does not end"
        return f"the model's forward raises after this call: {self.error}" if self.error is not None else ""

    def settles(self, module: nn.Module, call: int) -> bool:
        """Whether these are the inputs of that call, or show that the forward does not make it."""
        if (module, call) in self.inputs or (module, call) in self.failures:
            return True
        return module in self.observed and call >= self.calls.get(module, 0)

    @property
    def nbytes(self) -> int:
        """The memory that the inputs take."""
        return sum(parked.nbytes for parked in self.inputs.values())


def capture(
    model: nn.Module,
    inputs: Inputs,
    wanted: Wanted,
    first: nn.Module | None = None,
    budget: int = 0,
    mode: ForwardMode = EVAL,
) -> Captured:
    """Capture the inputs of the *wanted* calls in one forward of *model* on *inputs*.

    Args:
        model: The model, which is left as it was.
        inputs: The model's inputs, which are left as they were.
        wanted: The calls to capture.
        first: The module whose inputs are captured whatever their size.
        budget: The bytes that the inputs of the other modules may take.
        mode: How to run it. With gradients enabled, each input requires a gradient as it does in training.
    """
    originals = _originals(model)
    running = next(iter(originals)) if originals else model
    copies = {original: module for module, original in originals.items()}
    watch = _Watch(wanted, originals, first, budget)
    watch.cuts = mode.cut
    observed = [copies.get(module, module) for module in wanted]
    with in_mode(running, mode.train) as state, _observed(running, observed, watch.note_call):
        watch.surroundings = Surroundings.of(running, state.watch, mode.grad, originals)
        try:
            run_forward(running, inputs.cloned(running), mode.grad)
        except ModuleRaised as error:
            watch.captured.error = error
        except _Reached:
            watch.captured.cut = True
        if not watch.captured.lacking and watch.begin_again(running):
            with suppress(ModuleRaised):
                run_forward(running, inputs.cloned(running), mode.grad)
    return watch.finish()


class _Watch:
    """Notes the calls of the wanted modules in a forward and, in a second one, what the model resets before them."""

    surroundings: Surroundings
    cuts = False

    def __init__(
        self, wanted: Wanted, originals: Mapping[nn.Module, nn.Module], first: nn.Module | None, budget: int
    ) -> None:
        self.captured = Captured(frozenset(wanted))
        self._wanted, self._originals, self._first, self._budget = wanted, originals, first, budget
        self._again: Counter[nn.Module] | None = None
        self._kept: list[Attribute] = []

    def note_call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> None:
        """Note the start of a call of *module*."""
        original, captured = self._originals.get(module, module), self.captured
        if self._again is not None:
            self._note_reset((original, self._again[original]), module)
            self._again[original] += 1
            return
        number = captured.calls.get(original, 0)
        captured.calls[original] = number + 1
        inputs = Inputs("captured", args, kwargs)
        captured.signatures.setdefault(original, []).append(f"{inputs.signature()}; autocast={autocast_around(module)}")
        if direct:
            captured.direct.add((original, number))
        if number in self._wanted[original] and (original is self._first or captured.nbytes < self._budget):
            self._keep((original, number), module, inputs)
            if self.cuts:
                raise _Reached

    def _keep(self, call: ModuleCall, module: nn.Module, inputs: Inputs) -> None:
        try:
            context, aliases = self.surroundings.around(call, module, (inputs.args, inputs.kwargs))
            self.captured.inputs[call] = Parked.of(replace(inputs, context=context, aliases=aliases))
        except InputsError as error:
            self.captured.failures[call] = error
        except RuntimeError as error:  # tensors within vmap or grad have no memory of their own
            reason = f"its inputs can't be captured within torch.func: {error}"
            self.captured.failures[call] = InputsError(reason)

    def begin_again(self, model: nn.Module) -> bool:
        """Whether the forward has left attributes changed, so that a second one shows which of them *model* resets."""
        self._kept = [a for a in self.surroundings.at_rest.changed(model) if a.kind == "plain"]
        self._again = Counter()
        return bool(self._kept)

    def _note_reset(self, call: ModuleCall, module: nn.Module) -> None:
        if call in self.captured.inputs:
            change = self.surroundings.but_reset(module, self._kept)
            self.captured.inputs[call] = self.captured.inputs[call].within(change)

    def finish(self) -> Captured:
        """What was captured; calls whose hooks changed something say so."""
        captured = self.captured
        for call in self.surroundings.hooks.changed_calls() & captured.inputs.keys():
            clause = "hooks of the model change what it takes or returns at this call"
            captured.inputs[call] = captured.inputs[call].but(clause)
        return captured


def _originals(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """The modules of a copy of *model*, root first, with their originals, if it has lazy parameters; else nothing.

    The first forward creates lazy parameters for good, so it must not run on the user's model.
    """
    if not any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        return {}
    lazy = [t for t in (*model.parameters(), *model.buffers()) if is_lazy(t)]
    copied = copy.deepcopy(model, {id(t): _uninitialised_like(t) for t in lazy})
    return dict(zip(copied.modules(), model.modules(), strict=True))


def _uninitialised_like(tensor: Any) -> Any:
    """A lazy parameter or buffer like *tensor*, for copy.deepcopy, which supports only the parameters."""
    kind: Any = type(tensor)
    options = {"device": tensor.device, "dtype": tensor.dtype}
    is_parameter = isinstance(tensor, nn.UninitializedParameter)
    return kind(requires_grad=tensor.requires_grad, **options) if is_parameter else kind(**options)


@contextmanager
def _observed(model: nn.Module, modules: Iterable[nn.Module], note_call: Callable[..., None]) -> Iterator[None]:
    """Report each call of *modules*, and each run of their forward without a call, before it begins."""
    handles, patched, replaced = [], [], []
    called: set[nn.Module] = set()  # those whose call has begun, and whose forward is about to run

    def before_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        note_call(module, args, kwargs, direct=False)
        called.add(module)

    def observe_forward(module: nn.Module) -> Callable[..., Any]:
        forward = module.forward

        @functools.wraps(forward)
        def observed(*args: Any, **kwargs: Any) -> Any:
            if module in called:
                called.discard(module)
            else:
                note_call(module, args, kwargs, direct=True)
            return forward(*args, **kwargs)

        return observed

    try:
        for module in dict.fromkeys(modules):
            if isinstance(module, torch.jit.ScriptModule):
                replaced += _replace(module, model, note_call)
                continue
            handles.append(module.register_forward_pre_hook(before_call, prepend=True, with_kwargs=True))
            patched.append((module, vars(module).get("forward")))
            vars(module)["forward"] = observe_forward(module)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, before in patched:
            if before is None:
                vars(module).pop("forward", None)  # the model may have deleted it
            else:
                vars(module)["forward"] = before
        for parent, name, module in replaced:
            parent._modules[name] = module


class _Observer(nn.Module):
    """Stands in for a scripted module, which can't be hooked, and reports its calls."""

    def __init__(self, module: nn.Module, note_call: Callable[..., None]) -> None:
        super().__init__()
        vars(self).update(_observed_module=module, _note_call=note_call)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_observed_module"], name)

    def train(self, mode: bool = True) -> _Observer:
        vars(self)["_observed_module"].train(mode)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        module = vars(self)["_observed_module"]
        vars(self)["_note_call"](module, args, kwargs, direct=False)
        return module(*args, **kwargs)


def _replace(
    module: nn.Module, model: nn.Module, note_call: Callable[..., None]
) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace a scripted module by its observer wherever an eager parent holds it. Returns what to put back."""
    parents = [
        (parent, name) for parent in model.modules() for name, child in parent._modules.items() if child is module
    ]
    eager = [(parent, name) for parent, name in parents if not isinstance(parent, torch.jit.ScriptModule)]
    for parent, name in eager:
        parent._modules[name] = _Observer(module, note_call)
    return [(parent, name, module) for parent, name in eager]


def run_forward(model: nn.Module, inputs: Inputs, grad: bool) -> Any:
    """The output of one forward of *model* on *inputs* themselves.

    Raises:
        ModuleRaised: The forward raised.
    """
    with (
        as_written(),
        torch.set_grad_enabled(grad),
        user_code(f"the forward of {type(model).__name__}"),
    ):
        return model(*inputs.args, **inputs.kwargs)
