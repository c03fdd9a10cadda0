"""Infers inputs with which a module really runs, without any configuration.

In this order: the user's own inputs, those that the model's forward passes to the module, and guesses from the module's
type and attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import candidates, model_inputs
from ttprof.plan.capture import called_modules, capture
from ttprof.plan.inputs import Inputs, Size, as_inputs, follows_sizes, from_factory
from ttprof.plan.state import as_written, evaluating

DEFAULT_SEQ_LEN = 2048
MIN_GUESSED_SEQ_LEN = 16


@dataclass(eq=False)
class ModelInputs:
    """The inputs of one model at any size, inferred once per size.

    ``given`` is the suite's ``inputs=`` argument: fixed inputs, or a factory of (batch_size, seq_len).
    """

    model: nn.Module
    device: torch.device
    given: Any = None
    _cache: dict[Size, Inputs | InputsError] = field(default_factory=dict)

    def at(self, size: Size) -> Inputs:
        """The model's inputs at *size*. Raises InputsError, listing the guesses, if the model runs with none."""
        if size not in self._cache:
            try:
                self._cache[size] = self._infer(size)
            except InputsError as error:
                self._cache[size] = error
        inputs = self._cache[size]
        if isinstance(inputs, InputsError):
            raise inputs
        return inputs

    def follows(self, axis: str) -> bool:
        """Whether the model's inputs change with the size called *axis*."""
        return self.given is None or (callable(self.given) and follows_sizes(self.given, axis))

    def _infer(self, size: Size) -> Inputs:
        if self.given is not None:
            inputs = from_factory(self.given, size) if callable(self.given) else as_inputs(self.given)
            return inputs.map(lambda t: t.to(self.device))
        return _first_that_runs(self.model, _model_candidates(self.model, size), self.device)


def _model_candidates(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidates at *size*, followed by ever shorter ones if *size* has the default length."""
    limit = model_inputs.length_limit(model)
    if limit is not None and size.seq_len > limit:
        if size.explicit:
            raise InputsError(
                f"seq_len={size.seq_len} is longer than {type(model).__name__} accepts: its config allows {limit}; "
                f"use TestSuite(..., seq_len={limit}) or shorter lengths in the sweep"
            )
        size = replace(size, seq_len=limit)
        yield from _noted(f"seq_len reduced to {limit}, the longest that the model's config allows", model, size)
    else:
        yield from model_inputs.of_model(model, size)
    while not size.explicit and size.seq_len > MIN_GUESSED_SEQ_LEN:
        size = replace(size, seq_len=size.seq_len // 2)
        yield from _noted(f"seq_len reduced to {size.seq_len}: the model does not run with longer inputs", model, size)


def _noted(text: str, model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidates whose note says that they are shorter than the default."""
    note = Note(NoteCode.SEQ_LEN_SHORTENED, text)
    return (replace(candidate, note=note) for candidate in model_inputs.of_model(model, size))


def _first_that_runs(module: nn.Module, guesses: Iterable[Inputs], device: torch.device) -> Inputs:
    """The first of *guesses* with which the module's forward succeeds. Raises InputsError if none does."""
    failures: dict[str, list[str]] = {}
    count = 0
    for guess in guesses:
        placed = guess.map(lambda t: t.to(device))
        count += 1
        try:
            with torch.no_grad(), as_written(), evaluating(module), user_code("it"):
                fresh = placed.cloned()
                module(*fresh.args, **fresh.kwargs)
            return placed
        except ModuleRaised as error:
            failures.setdefault(str(error), []).append(placed.describe())
    reasons = [f"with {' or '.join(shapes[:2])} {error}" for error, shapes in failures.items()]
    details = "; ".join(reasons[:3]) or "nothing about it suggests a shape"
    raise InputsError(
        f"no inputs found for {type(module).__name__} after {count} guesses ({details}); "
        "pass them with .inputs(...), .input_shape(...), .input_factory(fn) or TestSuite(inputs=...)"
    )


def of_target(target: nn.Module, source: ModelInputs, size: Size, call: int) -> Inputs:
    """Inputs of *target* on the source's device: captured if the model's forward calls it, else synthesised.

    Raises:
        InputsError: *call* is past the last call that the model's forward makes, the model does not run with the
            suite's ``inputs=``, or *target* runs with none of the guesses.
    """
    if target is source.model:
        if call:
            raise InputsError(f".call({call}) selects a call inside the model's forward, but this is the model itself")
        return source.at(size)
    problem = ""
    if any(module is target for module in source.model.modules()):
        try:
            model_level = source.at(size)
            inputs, calls = capture(source.model, model_level, target, call)
        except (InputsError, ModuleRaised) as error:
            if source.given is not None:
                raise InputsError(f"the model does not run with TestSuite(inputs=...): {error}") from error
            problem = f"the model itself does not run: {error}"
        else:
            if inputs is not None:
                return replace(inputs, note=model_level.note)
            if calls:
                raise InputsError(f".call({call}): the model's forward calls this module {calls} times, counted from 0")
    if call:
        not_called = f".call({call}): the model's forward does not call this module"
        raise InputsError("; ".join(filter(None, [not_called, problem])))
    return _synthesised(target, size, source.device, problem)


def _synthesised(target: nn.Module, size: Size, device: torch.device, problem: str) -> Inputs:
    try:
        inputs = _first_that_runs(target, candidates.of_module(target, size), device)
    except InputsError as error:
        raise InputsError("; ".join(filter(None, [str(error), problem]))) from error
    if not problem:
        return inputs
    return replace(inputs, note=Note(NoteCode.INPUTS_GUESSED, f"the inputs are a guess, because {problem}"))


def called_by(source: ModelInputs, size: Size, modules: Iterable[nn.Module]) -> set[nn.Module]:
    """The modules among *modules* that the model's own forward calls at *size*."""
    return called_modules(source.model, source.at(size), modules)
