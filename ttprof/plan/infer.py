"""Infers inputs with which a module really runs, without any configuration.

In this order: the user's own inputs, those that the model's forward passes to the module, and guesses from the module's
type and attributes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import decoding, model_inputs
from ttprof.plan.capture import BUDGET_BYTES, EVAL, Captured, ForwardMode, Parked, Wanted, capture, cut_after
from ttprof.plan.inputs import Inputs, Size, as_inputs, follows_sizes, from_factory, is_factory
from ttprof.plan.model_state import evaluating
from ttprof.plan.process_state import as_written
from ttprof.plan.surroundings import Context
from ttprof.spec import PREFILL, TOKENS

DEFAULT_SEQ_LEN = 2048
MIN_GUESSED_SEQ_LEN = 16

WITHIN_SCRIPT = "it runs inside a TorchScript module, where no hook sees its calls"

MAX_PROBLEM = 200
"""Characters of the reason why a model does not run in a note on guessed inputs; the case of the model has all."""

MAX_REASONS = 2
"""Different exceptions that the error about a model that runs with no guess quotes."""


class ModelDoesNotRunError(InputsError):
    """A model whose kind of inputs is known raises with them; no guess for its modules may hide that."""


@dataclass(eq=False)
class ModelInputs:
    """The inputs of one model, and those that it passes to its modules, at any size; found once and kept.

    ``given`` is the suite's ``inputs=`` argument: fixed inputs, or a factory of (batch_size, seq_len). ``wanted`` lists
    the calls that the cases of the suite need at a size, in each mode: one forward captures them all. With ``cut``
    there is one for each call, which stops there: a whole forward has ended the process, or did not end. Then a guess
    is tried as far as the end of the module *until*.
    """

    model: nn.Module
    device: torch.device
    given: Any = None
    wanted: Mapping[tuple[Size, ForwardMode], Wanted] = field(default_factory=dict)
    cut: bool = False
    until: nn.Module | None = None
    _inputs: dict[Size, Inputs | Parked | InputsError] = field(default_factory=dict)
    _captured: dict[tuple[Size, ForwardMode], list[Captured]] = field(default_factory=dict)

    def cut_at(self, target: nn.Module | None) -> ModelInputs:
        """The same for one module of the model, if forwards are cut."""
        return replace(self, until=target, _inputs={}, _captured={}) if self.cut else self

    def at(self, size: Size) -> Inputs:
        """The model's inputs at *size*. Raises InputsError, listing the guesses, if the model runs with none."""
        if size not in self._inputs:
            try:
                self._inputs[size] = self._infer(size)
            except InputsError as error:
                self._inputs[size] = error
        inputs = self._inputs[size]
        if isinstance(inputs, InputsError):
            raise inputs
        return inputs.inputs_on_device() if isinstance(inputs, Parked) else inputs

    def whole_sequence(self, size: Size) -> Inputs:
        """The inputs of one forward over the tokens of the decode at *size* and of the prefill before it."""
        whole = decoding.whole_sequence(self.model, size)
        return decoding.cut(self.model, self.at(whole), 0, whole.seq_len)

    def calls_of(self, target: nn.Module, size: Size, call: int, mode: ForwardMode = EVAL) -> Captured:
        """A capture that has the inputs of the *call*-th call of *target*, if the model's forward makes it.

        Raises:
            InputsError: The model runs with none of the guesses, or an argument can't be copied.
        """
        mode = replace(mode, cut=self.cut)
        known = self._captured.setdefault((size, mode), [])
        settled = next((captured for captured in known if captured.settles(target, call)), None)
        if settled is not None:
            return settled
        used = sum(captured.nbytes for captures in self._captured.values() for captured in captures)
        wanted = {module: set(calls) for module, calls in self.wanted.get((size, mode), {}).items()}
        for captured in known:
            for module, number in captured.inputs:
                wanted.get(module, set()).discard(number)
        wanted.setdefault(target, set()).add(call)
        left = max(0, BUDGET_BYTES - used)
        captured = capture(self.model, self.at(size), wanted, target, left, mode)
        if captured.error is not None and not mode.grad and not self.cut:  # the forward may compute gradients itself
            with_gradients = capture(self.model, self.at(size), wanted, target, left, replace(mode, grad=True))
            captured = captured if with_gradients.error is not None else with_gradients
        if used + captured.nbytes <= BUDGET_BYTES:
            known.append(captured)
        return captured

    def follows(self, axis: str) -> bool:
        """Whether the model's inputs change with the size called *axis*."""
        axis = "seq_len" if axis in (PREFILL, TOKENS) else axis
        return self.given is None or (is_factory(self.given) and follows_sizes(self.given, axis))

    def _infer(self, size: Size) -> Inputs | Parked:
        if size.cached is not None:
            whole = self.at(decoding.whole_sequence(self.model, size))
            return Parked.of(decoding.inputs_with_cache(self.model, whole, size))
        if self.given is not None:
            inputs = from_factory(self.given, size) if is_factory(self.given) else as_inputs(self.given)
            return inputs.given_to(self.model).map(lambda t: t.to(self.device))
        try:
            return _first_that_runs(self.model, _model_candidates(self.model, size), self.device, self.until)
        except InputsError as error:
            if model_inputs.declares_inputs(self.model):
                limit = model_inputs.length_limit(self.model)
                longer = limit is not None and size.seq_len > limit
                allowed = f"; its config allows seq_len={limit}, not {size.seq_len}" if longer else ""
                raise ModelDoesNotRunError(f"{error}{allowed}") from error
            raise


def _model_candidates(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidates at *size*, followed by those at ever shorter lengths that differ from them: images do not.

    At an explicit length there are no others: another size must not be tested in its place.
    """
    tried: set[str] = set()
    for guesses in _by_length(model, size):
        new = set()
        for guess in guesses:
            if guess.signature() not in tried:
                yield guess
            new.add(guess.signature())
        tried |= new


def _by_length(model: nn.Module, size: Size) -> Iterator[Iterator[Inputs]]:
    """The candidates at *size*, and if that has the default length those at each shorter one."""
    limit = model_inputs.length_limit(model)
    if limit is not None and size.seq_len > limit and not size.explicit:
        size = replace(size, seq_len=limit)
        yield _noted(f"seq_len reduced to {limit}, the longest that the model's config allows", model, size)
    else:
        yield model_inputs.of_model(model, size)
    while not size.explicit and size.seq_len > MIN_GUESSED_SEQ_LEN:
        size = replace(size, seq_len=size.seq_len // 2)
        yield _noted(f"seq_len reduced to {size.seq_len}: the model does not run with longer inputs", model, size)


def _noted(text: str, model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidates whose note says that they are shorter than the default."""
    note = Note(NoteCode.SEQ_LEN_SHORTENED, text)
    return (replace(candidate, notes=(note, *candidate.notes)) for candidate in model_inputs.of_model(model, size))


def _first_that_runs(
    module: nn.Module, guesses: Iterable[Inputs], device: torch.device, until: nn.Module | None = None
) -> Inputs:
    """The first of *guesses* with which the module's forward succeeds, or comes to the end of its part *until*.

    Raises InputsError if none does.
    """
    failures: dict[str, list[str]] = {}
    count = 0
    for guess in guesses:
        placed = guess.map(lambda t: t.to(device))
        count += 1
        try:
            with torch.no_grad(), as_written(), evaluating(module), user_code("it"), cut_after(until):
                fresh = placed.cloned()
                module(*fresh.args, **fresh.kwargs)
            return placed
        except ModuleRaised as error:
            failures.setdefault(str(error), []).append(placed.describe())
    reasons = [f"with {' or '.join(shapes[:2])} {error}" for error, shapes in failures.items()]
    more = f"; and {len(reasons) - MAX_REASONS} other errors" if len(reasons) > MAX_REASONS else ""
    details = "; ".join(reasons[:MAX_REASONS]) + more or "nothing about it suggests a shape"
    raise InputsError(
        f"no inputs found for {type(module).__name__} after {count} guesses ({details}); "
        "pass them with .inputs(...), .input_shape(...), .input_factory(fn) or TestSuite(inputs=...)"
    )


def of_target(target: nn.Module, source: ModelInputs, size: Size, call: int = 0, mode: ForwardMode = EVAL) -> Inputs:
    """Inputs of *target* on the source's device: captured if the model's forward runs it, else synthesised.

    Args:
        target: The module under test.
        source: The model and its inputs.
        size: The sizes to test at.
        call: Which call of the module within the model's forward, counted from 0.
        mode: How the model runs when they are captured: with gradients enabled they require gradients as in training.

    Raises:
        InputsError: *call* is past the last call that the model's forward makes, the model does not run at an explicit
            size or with the suite's ``inputs=``, or *target* runs with none of the guesses.
    """
    if target is source.model:
        if call:
            raise InputsError(f".call({call}) selects a call inside the model's forward, but this is the model itself")
        inputs = source.at(size)
        inputs = replace(inputs, notes=(*inputs.notes, *decoding.note_on_dropped_cache(target, target, inputs)))
        if source.given is not None or model_inputs.declares_inputs(target):
            return inputs
        text = f"the inputs are a guess: nothing but its layers says what {type(target).__name__} takes"
        return replace(inputs, notes=(*inputs.notes, Note(NoteCode.INPUTS_GUESSED, text)))
    if is_within_script(source.model, target):
        raise InputsError(f"{WITHIN_SCRIPT}: pass its inputs with .inputs(...), or test the scripted module")
    problem = "it is not a part of the model"
    if any(module is target for module in source.model.modules()):
        problem = ""
        try:
            model_level = source.at(size)
        except InputsError as error:
            if source.given is not None and size.cached is None:
                raise InputsError(f"the model does not run with TestSuite(inputs=...): {error}") from error
            if size.explicit or isinstance(error, ModelDoesNotRunError):
                raise
            problem = f"the model itself does not run: {textwrap.shorten(str(error), MAX_PROBLEM, placeholder=' …')}"
        else:
            captured, context_differs = _captured_in(source, target, size, call, mode)
            if (target, call) in captured.inputs:
                context_differs = captured.lacking or context_differs
                inputs = captured.inputs[target, call].but(context_differs).inputs_on_device()
                of_cache = decoding.note_on_dropped_cache(target, source.model, model_level)
                on_calls = _notes_on_calls(captured, target, call, inputs.context)
                return replace(inputs, notes=(*model_level.notes, *_note_on_guess(source), *of_cache, *on_calls))
            if (failure := captured.failures.get((target, call))) is not None:
                raise failure
            if captured.error is not None:
                which = "with TestSuite(inputs=...)" if source.given is not None else f"with {model_level.describe()}"
                raise InputsError(f"the model does not run {which}: {captured.error}")
            if calls := captured.calls.get(target, 0):
                times = f"{calls} time{'' if calls == 1 else 's'}"
                raise InputsError(f".call({call}): the model's forward calls this module {times}, counted from 0")
    if call:
        not_called = f".call({call}): the model's forward does not call this module"
        raise InputsError("; ".join(filter(None, [not_called, problem])))
    problem = problem or "the model's forward does not run this module"
    if size.cached is not None:
        raise InputsError(f"a prefill or a decode is captured, never guessed, and {problem}")
    inputs = _synthesised(target, size, source.device, problem)
    return inputs.as_activations() if mode.grad else inputs


def _captured_in(
    source: ModelInputs, target: nn.Module, size: Size, call: int, mode: ForwardMode
) -> tuple[Captured, str]:
    """A capture of *target* in *mode*, or in eval mode if the model does not run in train mode; and what that lacks."""
    captured = source.calls_of(target, size, call, mode)
    if captured.error is None or not mode.train or (target, call) in captured.inputs:
        return captured, ""
    evaluated = source.calls_of(target, size, call, replace(mode, train=False))
    if evaluated.error is not None:
        return captured, ""
    return evaluated, f"the model does not run in train mode ({captured.error}), so its inputs are those of eval mode"


def _notes_on_calls(captured: Captured, target: nn.Module, call: int, context: Context) -> list[Note]:
    """Notes that the model runs a module several times, in surroundings of its own, or by its ``forward``."""
    notes = []
    if (calls := captured.calls[target]) > 1:
        notes.append(
            Note(NoteCode.SEVERAL_CALLS, f"called {calls} times in one forward of the model; this is call {call}")
        )
    if context.described:
        notes.append(Note(NoteCode.CONTEXT_TAKEN_OVER, f"tested as the model runs it: {context.described}"))
    if context.missing:
        notes.append(Note(NoteCode.CONTEXT_DIFFERS, f"tested alone, but {context.missing}"))
    if (target, call) in captured.direct:
        text = "the model runs its forward directly, without the hooks that calling the module runs"
        notes.append(Note(NoteCode.FORWARD_CALLED_DIRECTLY, text))
    return notes


def _note_on_guess(source: ModelInputs) -> list[Note]:
    """A note that the captured inputs come from a forward of the model on guessed ones."""
    if source.given is not None or model_inputs.declares_inputs(source.model):
        return []
    what = f"nothing but its layers says what {type(source.model).__name__} takes"
    return [Note(NoteCode.MODEL_INPUTS_GUESSED, f"captured from the model on inputs that are a guess: {what}")]


def is_within_script(model: nn.Module, module: nn.Module) -> bool:
    """Whether a scripted module, other than itself, contains *module*."""
    scripts = (m for m in model.modules() if isinstance(m, torch.jit.ScriptModule) and m is not module)
    return any(part is module for script in scripts for part in script.modules())


def _synthesised(target: nn.Module, size: Size, device: torch.device, problem: str) -> Inputs:
    try:
        inputs = _first_that_runs(target, model_inputs.of_model(target, size), device)
    except InputsError as error:
        raise InputsError(f"{error}; {problem}") from error
    return replace(inputs, notes=(Note(NoteCode.INPUTS_GUESSED, f"the inputs are a guess: {problem}"),))


def called_by(source: ModelInputs, size: Size, modules: Iterable[nn.Module]) -> set[nn.Module]:
    """The modules among *modules* that the model's own forward runs at *size*.

    Raises:
        InputsError: The model runs with none of the guesses.
        ModuleRaised: The model's forward raised.
    """
    if source.cut:
        raise ModuleRaised("a whole forward of the model ends the process, or does not end")
    captured = capture(source.model, source.at(size), {module: set() for module in modules})
    if captured.error is not None:
        raise captured.error
    return set(captured.calls)
