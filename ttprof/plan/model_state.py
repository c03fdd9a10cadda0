"""Restores a model after its code has run: modes, parameters, buffers, gradients and plain attributes.

Modes are restored by the module's own ``train``, because a class may do more there than set a flag (LoRA layers merge
their weights in eval mode). Parameters are saved just before an operator writes to them, so nothing is copied for the
many models that never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ttprof.errors import InputsError
from ttprof.plan.at_rest import is_backed, memory_of
from ttprof.plan.attributes import Attributes, ClassAttributes, classes_of
from ttprof.plan.autocast import without_autocast
from ttprof.plan.compiled import TransparentMode, unless_compiled
from ttprof.plan.sharded import is_sharded

LANES = 61
"""Interleaved parts of a tensor with a checksum each: a prime, which no usual size is a multiple of."""


class WriteWatch(TransparentMode):
    """A mode that saves the content of watched tensors just before an operator writes to their memory."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self._watched: dict[int, list[torch.Tensor]] = {}
        for tensor in tensors:
            if (memory := memory_of(tensor)) is not None:
                self._watched.setdefault(memory, []).append(tensor.detach())
        self.saved: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            for position, argument in enumerate(schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._save(args[position] if position < len(args) else kwargs.get(argument.name))
        return func(*args, **kwargs)

    def _save(self, written: Any) -> None:
        for tensor in written if isinstance(written, (list, tuple)) else [written]:
            memory = memory_of(tensor) if isinstance(tensor, torch.Tensor) else None
            if memory is not None and memory in self._watched and memory not in self.saved:
                backed = [watched for watched in self._watched[memory] if is_backed(watched)]
                self.saved[memory] = [(watched, watched.clone()) for watched in backed]

    def restore(self) -> set[int]:
        """Write the saved contents back. Returns the ids of the memories whose content had changed."""
        changed = set()
        for memory, contents in self.saved.items():
            for tensor, before in contents:
                if is_backed(tensor) and not _equal(tensor, before):
                    changed.add(memory)
                    tensor.copy_(before)
        self.saved.clear()
        return changed


@dataclass(eq=False)
class ModelState:
    """The state of a model before a test, and the watch over its parameters.

    The contents of parameters are not saved here: those that are written while ``watch`` is active are saved then.
    """

    model: nn.Module
    watch: WriteWatch
    modes: list[tuple[nn.Module, bool]]
    parameters: list[_SavedParameter]
    buffers: list[tuple[str, torch.Tensor, torch.Tensor]]
    attributes: list[tuple[str, Attributes]]
    of_classes: list[ClassAttributes]
    changed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module, plain_attributes: bool = True) -> ModelState:
        """Save the state of *model*, with or without its plain attributes."""
        model = without_autocast(model)
        entered: set[int] = set()
        sharded = any(is_sharded(module) for module in model.modules())  # FSDP keeps its own state in attributes
        attributes = [
            (f"{name}." if name else "", Attributes.of(module, entered, plain_attributes))
            for name, module in model.named_modules()
            if not isinstance(module, torch.jit.ScriptModule) and not sharded
        ]
        held = [tensor for _, attributes_ in attributes for tensor in attributes_.tensors()]
        parameters = {name: p for name, p in model.named_parameters() if not is_lazy(p)}
        gradients = [p.grad for p in parameters.values() if p.grad is not None]
        buffers = {name: buffer for name, buffer in model.named_buffers() if not is_lazy(buffer)}
        return cls(
            model=model,
            watch=WriteWatch([*parameters.values(), *gradients, *buffers.values(), *held]),
            modes=[(m, m.training) for m in model.modules() if hasattr(m, "training")],
            parameters=[_SavedParameter.of(name, p) for name, p in parameters.items()],
            buffers=[(name, buffer, buffer.detach().clone()) for name, buffer in buffers.items()],
            attributes=attributes,
            of_classes=[ClassAttributes.of(k, entered) for k in classes_of(model.modules())]
            if plain_attributes
            else [],
        )

    def watching(self) -> Any:
        """A context manager in which the first write to a parameter saves it, unless compiled code writes."""
        return unless_compiled(self.watch, self.model)

    def written(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The tensors that were written while ``watch`` was active, and copies of what they held before."""
        return [(tensor, before.clone()) for contents in self.watch.saved.values() for tensor, before in contents]

    def buffers_now(self) -> tuple[dict[str, torch.Tensor], set[str]]:
        """The buffers that the model now has, by name, and the names of those whose content has changed."""
        before = {name: saved for name, _, saved in self.buffers}
        now = {name: buffer for name, buffer in self.model.named_buffers() if not is_lazy(buffer)}
        changed = {n for n, buffer in now.items() if n not in before or not _is_unchanged(buffer, before[n])}
        return {n: b.detach().clone() if n in changed else b for n, b in now.items()}, changed

    def restore(self) -> None:
        """Restore the model, and list in ``changed`` the parameters and attributes that had changed."""
        for module, training in self.modes:
            set_mode(module, training)
        changed = [f"{path}{name}" for path, attributes in self.attributes for name in attributes.restore()]
        changed += [name for attributes in self.of_classes for name in attributes.restore()]
        changed += [saved.name for saved in self.parameters if saved.restore()]
        memories = self.watch.restore()
        by_memory = {memory: saved.name for saved in self.parameters for memory in saved.memories()}
        of_buffers = {memory_of(buffer) for _, buffer, _ in self.buffers}  # these are part of an outcome, and compared
        changed += [by_memory.get(memory, "a tensor attribute") for memory in memories - of_buffers]
        for _, buffer, before in self.buffers:
            if buffer.shape != before.shape or buffer.dtype != before.dtype or buffer.device != before.device:
                buffer.data = before
            elif not _is_unchanged(buffer, before):
                buffer.detach().copy_(before)  # in place: other tensors may share its memory
        self.changed = list(dict.fromkeys(changed))

    def replaces_parameters(self) -> bool:
        """Whether the memory of a parameter has been replaced."""
        return any(saved.is_replaced() for saved in self.parameters)

    def reset_parameters(self) -> None:
        """Give the parameters back the memory that they had."""
        for saved in self.parameters:
            saved.restore()

    def reset_buffers(self) -> None:
        """Write the saved contents of the buffers back, in place."""
        for _, buffer, before in self.buffers:
            if buffer.shape == before.shape and buffer.layout is torch.strided:
                buffer.detach().copy_(before)


@dataclass(frozen=True, eq=False)
class _SavedParameter:
    """A parameter with its gradient, whether it requires one, and the tensor that its memory is."""

    name: str
    parameter: nn.Parameter
    gradient: torch.Tensor | None
    requires_grad: bool
    data: torch.Tensor

    @classmethod
    def of(cls, name: str, parameter: nn.Parameter) -> _SavedParameter:
        return cls(name, parameter, parameter.grad, parameter.requires_grad, parameter.data)

    def memories(self) -> list[int]:
        """The identities of the memory of the parameter and of its gradient."""
        tensors = [self.data, *([] if self.gradient is None else [self.gradient])]
        return [memory for tensor in tensors if (memory := memory_of(tensor)) is not None]

    def is_replaced(self) -> bool:
        """Whether the parameter has another memory or another dtype now."""
        memory = memory_of(self.data)
        return self.parameter.dtype != self.data.dtype or (memory is not None and memory_of(self.parameter) != memory)

    def restore(self) -> bool:
        """Restore the parameter. Returns whether its memory or its ``requires_grad`` had been replaced."""
        replaced = self.is_replaced()
        if replaced:
            self.parameter.data = self.data
        changed = replaced or self.parameter.requires_grad != self.requires_grad
        self.parameter.requires_grad_(self.requires_grad)
        self.parameter.grad = self.gradient
        return changed


def _is_unchanged(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether a tensor has the content of *before*; False if they can't be compared: sparse or quantised ones."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.shape == before.shape and tensor.dtype == before.dtype and _equal(tensor, before)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same values, NaNs being equal."""
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())


def set_mode(module: nn.Module, training: bool) -> None:
    """Put *module* into train or eval mode, by its own ``train`` and with its children if it overrides that."""
    if getattr(module, "training", training) == training:
        return
    if _overrides_train(module):
        _train(module, training)
    else:
        module.training = training


def switch_mode(module: nn.Module, training: bool) -> None:
    """Put *module* and its parts into train or eval mode, by their own ``train`` where they override it."""
    if _overrides_train(module):
        _train(module, training)
        return
    module.training = training
    for child in module.children():
        switch_mode(child, training)


def train_as_in(model: nn.Module, module: nn.Module) -> None:
    """Put *module* into the modes that its parts have when *model* trains, whose own ``train`` may freeze some."""
    own = set(module.modules())
    others = [part for part in model.modules() if part not in own]
    if module not in set(model.modules()) or not any(map(_overrides_train, others)):
        switch_mode(module, training=True)
        return
    before = [(part, part.training) for part in others if hasattr(part, "training")]
    switch_mode(model, training=True)
    modes = [(part, part.training) for part in own if hasattr(part, "training")]
    for part, training in (*before, *modes):
        set_mode(part, training)


def _overrides_train(module: nn.Module) -> bool:
    return type(module).train is not nn.Module.train or not {"train", "eval"}.isdisjoint(vars(module))


def _train(module: nn.Module, training: bool) -> None:
    """Call the module's own ``train``. One that raises leaves the mode, as of programs that torch.export has made."""
    with suppress(Exception):
        module.train(training)


def preserved(module: nn.Module) -> AbstractContextManager[ModelState]:
    """Restore *module* on exit; the ``changed`` of the yielded state then lists what had changed."""
    return _restored(ModelState.of(module))


def preserved_but_memory(module: nn.Module) -> AbstractContextManager[ModelState]:
    """Like ``preserved``, but plain attributes keep what the forward writes to them: it may remember earlier calls."""
    return _restored(ModelState.of(module, plain_attributes=False))


@contextmanager
def _restored(state: ModelState) -> Iterator[ModelState]:
    try:
        with state.watching():
            yield state
    finally:
        state.restore()


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[ModelState]:
    """Put *module* into train or eval mode for a forward that is not measured; restore it on exit."""
    with preserved(module) as state:
        switch_mode(module, training)
        yield state


def evaluating(module: nn.Module) -> AbstractContextManager[ModelState]:
    """Put *module* into eval mode for a forward that is not measured; restore it on exit."""
    return in_mode(module, training=False)


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Like ``evaluating``, without a watch over the parameters within the context: it would slow what is measured."""
    state = ModelState.of(module)
    try:
        with state.watching():
            switch_mode(module, training=False)
        yield
    finally:
        state.restore()


@contextmanager
def unchanged_behind_torch(module: nn.Module) -> Iterator[None]:
    """Check on exit that the parameters of *module* in the host's memory hold what they held before.

    Operators of torch are undone; NumPy and C code can write to a parameter unseen.

    Raises:
        InputsError: A parameter holds something else.
    """
    before = _checksums(module)
    yield
    changed = [name for name, checksum in _checksums(module).items() if before.get(name, checksum) != checksum]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise InputsError(
            f"its forward writes to {changed[0]}{more} without torch, as NumPy does through .numpy(): such writes "
            "can't be undone, so the model has changed and the test measured several states of it"
        )


def _checksums(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """A checksum of each parameter that NumPy could write to."""
    plain = {
        name: p.detach() for name, p in module.named_parameters() if not is_lazy(p) and memory_of(p) and is_backed(p)
    }
    return {name: _checksum(p) for name, p in plain.items() if p.device.type == "cpu" and p.numel()}


def _checksum(tensor: torch.Tensor) -> tuple[int, ...]:
    """The sums of the words, as integers, in each of ``LANES`` interleaved lanes, so that moved values are seen too."""
    words = tensor.contiguous().view(-1).view(torch.int32 if tensor.element_size() >= 4 else torch.uint8)
    whole = len(words) // LANES * LANES
    lanes = words[:whole].view(-1, LANES).sum(dim=0, dtype=torch.int64)
    return (*lanes.tolist(), int(words[whole:].sum(dtype=torch.int64)))


def check_initialised(module: nn.Module) -> None:
    """Raise InputsError if *module* has parameters without data.

    They are lazy ones, which the first forward would create for good, or they are on the meta device.
    """
    for name, submodule in module.named_modules():
        tensors = [*submodule.parameters(recurse=False), *submodule.buffers(recurse=False)]
        where = f"{name} ({type(submodule).__name__})" if name else type(submodule).__name__
        if any(is_lazy(t) for t in tensors):
            raise InputsError(f"{where} has uninitialised parameters: run the model once before the suite")
        if any(t.device.type == "meta" for t in tensors):
            raise InputsError(f"{where} has parameters on the meta device, without data: load the model first")
