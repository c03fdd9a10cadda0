"""Zero configuration: finding inputs with which a module really runs.

A module, its model and sizes enter; inputs leave that a forward has succeeded with. The order is: what the user
gave, what the model's own forward passes to the module, what the module's type and attributes suggest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import candidates, model_inputs
from ttprof.plan.capture import called_modules, capture
from ttprof.plan.inputs import Inputs, Size, as_inputs, follows_sizes, from_factory
from ttprof.plan.state import as_written, evaluating

DEFAULT_SEQ_LEN = 2048
SHORTEST_GUESS = 16


@dataclass(eq=False)
class ModelInputs:
    """The inputs of one model at any size; each size is inferred once.

    ``given`` is what the user passed as ``inputs=``: fixed inputs, or a factory of (batch_size, seq_len).
    """

    model: nn.Module
    device: torch.device
    given: Any = None
    _known: dict[Size, Inputs | InputsError] = field(default_factory=dict)

    def at(self, size: Size) -> Inputs:
        """The model's inputs at *size*; InputsError says what was tried when none works."""
        if size not in self._known:
            try:
                self._known[size] = self._find(size)
            except InputsError as error:
                self._known[size] = error
        found = self._known[size]
        if isinstance(found, InputsError):
            raise found
        return found

    def follows(self, axis: str) -> bool:
        """Whether the model's inputs change with a size."""
        return self.given is None or (callable(self.given) and follows_sizes(self.given, axis))

    def _find(self, size: Size) -> Inputs:
        if self.given is not None:
            made = from_factory(self.given, size) if callable(self.given) else as_inputs(self.given)
            return made.map(lambda t: t.to(self.device))
        return _first_that_runs(self.model, _shortening(self.model, size), self.device)


def _shortening(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidates at *size*; where the user chose no length, shorter ones after it."""
    limit = model_inputs.length_limit(model)
    if limit is not None and size.seq_len > limit:
        if size.explicit:
            raise InputsError(
                f"seq_len={size.seq_len} is longer than {type(model).__name__} takes: its config allows {limit}; "
                f"use TestSuite(..., seq_len={limit}) or shorter lengths in the sweep"
            )
        size = replace(size, seq_len=limit)
        note = f"seq_len {limit}, the most that the model takes"
        yield from (replace(c, note=note) for c in model_inputs.of_model(model, size))
    else:
        yield from model_inputs.of_model(model, size)
    while not size.explicit and size.seq_len > SHORTEST_GUESS:
        size = replace(size, seq_len=size.seq_len // 2)
        yield from (replace(c, note=f"seq_len {size.seq_len}") for c in model_inputs.of_model(model, size))


def _first_that_runs(module: nn.Module, tries: Iterable[Inputs], device: torch.device) -> Inputs:
    """The first candidate with which the module's forward succeeds; InputsError says what was tried when none does."""
    failures: dict[str, list[str]] = {}
    count = 0
    for candidate in tries:
        placed = candidate.map(lambda t: t.to(device))
        count += 1
        try:
            with torch.no_grad(), as_written(), evaluating(module), user_code("it"):
                fresh = placed.cloned()
                module(*fresh.args, **fresh.kwargs)
            return placed
        except ModuleRaised as error:
            failures.setdefault(str(error), []).append(placed.describe())
    reasons = [f"with {' or '.join(tried[:2])} {error}" for error, tried in failures.items()]
    shown = "; ".join(reasons[:3]) or "nothing about it suggests a shape"
    raise InputsError(
        f"no inputs found for {type(module).__name__} after {count} guesses ({shown}); "
        "give them with .inputs(...), .input_shape(...), .input_factory(fn) or TestSuite(inputs=...)"
    )


def of_target(target: nn.Module, source: ModelInputs, size: Size, call: int) -> Inputs:
    """Inputs of *target*: captured from the model's forward where it is called there, else synthesised.

    Raises InputsError when the model calls it, but not as often as *call* asks, or when no guess works.
    """
    if target is source.model:
        if call:
            raise InputsError(f".call({call}) selects a call inside the model's forward, and this is the model itself")
        return source.at(size)
    problem = ""
    if any(module is target for module in source.model.modules()):
        try:
            whole = source.at(size)
            inputs, calls = capture(source.model, whole, target, call)
        except (InputsError, ModuleRaised) as error:
            if source.given is not None:
                raise InputsError(f"the model does not run with TestSuite(inputs=...): {error}") from error
            problem = f"the model itself could not be run: {error}"
        else:
            if inputs is not None:
                return replace(inputs, note=whole.note)
            if calls:
                raise InputsError(f".call({call}): the model's forward calls this module {calls} times, counted from 0")
    if call:
        uncalled = f".call({call}): the model's forward does not call this module"
        raise InputsError("; ".join(filter(None, [uncalled, problem])))
    return _synthesised(target, size, source.device, problem)


def _synthesised(target: nn.Module, size: Size, device: torch.device, problem: str) -> Inputs:
    try:
        inputs = _first_that_runs(target, candidates.of_module(target, size), device)
    except InputsError as error:
        raise InputsError("; ".join(filter(None, [str(error), problem]))) from error
    return replace(inputs, note=f"its inputs are a guess, because {problem}" if problem else inputs.note)


def called_by(source: ModelInputs, size: Size, modules: Iterable[nn.Module]) -> set[nn.Module]:
    """Those of *modules* that the model's own forward calls."""
    return called_modules(source.model, source.at(size), modules)
