"""Expands a case into trials, one per sweep point, and checks that their inputs follow the sweep."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch

from ttprof.errors import InputsError, SpecError
from ttprof.plan import candidates, tree
from ttprof.plan.capture import ForwardMode
from ttprof.plan.infer import DEFAULT_SEQ_LEN, ModelInputs, of_target
from ttprof.plan.inputs import Inputs, Size, as_inputs, follows_sizes, from_factory
from ttprof.plan.model_inputs import length_limit
from ttprof.spec import AXES, PREFILL, TOKENS, CaseSpec, GivenInputs, SuiteSpec, Sweep
from ttprof.trial_key import Point, Side, TrialKey

AXIS_DIMENSION = {"batch_size": 0, "seq_len": 1}
"""The dimension of a given ``input_shape`` that a sweep replaces, if the shape has no named dimension."""


CALL = "call"
"""The axis of the trials of ``.every_call()``."""

MAX_COUNTS = 16
"""Integer tensors of up to this size may hold sizes, such as the lengths of sequences."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A case at one sweep point, with its inputs; the point is empty without a sweep.

    The decode of a whole model also has the inputs of the ``whole`` sequence, prompt and decoded tokens, without cache.
    """

    case: CaseSpec
    point: Point
    inputs: Inputs
    whole: Inputs | None = None

    def key(self, side: Side = Side.MODULE) -> TrialKey:
        """The key that identifies one *side* of this trial in a run."""
        return TrialKey(self.case.name, self.point, side)


def default_size(suite: SuiteSpec) -> Size:
    """The suite's sizes, without a sweep."""
    return Size(suite.batch_size, suite.seq_len or DEFAULT_SEQ_LEN, explicit=suite.seq_len is not None)


def usual_seq_len(suite: SuiteSpec) -> int:
    """The suite's sequence length: the user's, else the default, capped at the longest that the model takes."""
    size = default_size(suite)
    limit = None if size.explicit else length_limit(suite.model)
    return min(size.seq_len, limit or size.seq_len)


def size_of_decode(trial: Trial) -> Size:
    """The tokens in the cache and those decoded at the point of a decode."""
    return Size(1, trial.point[TOKENS], cached=trial.point[PREFILL])


def sweeps_of(case: CaseSpec, suite: SuiteSpec) -> tuple[Sweep, ...]:
    """The sweeps of a case.

    An expected scaling without a sweep gets a default one of four doubling sizes: up to the suite's sequence length, or
    starting at its batch size.
    """
    if case.scaling is None or any(sweep.axis == case.scaling_axis for sweep in case.sweeps):
        return case.sweeps
    sweep = _default_sweep(case.scaling_axis, suite)
    sweep.check_separates_laws()
    return (*case.sweeps, sweep)


def _default_sweep(axis: str, suite: SuiteSpec) -> Sweep:
    if axis == "batch_size":
        return Sweep("batch_size", tuple(suite.batch_size * k for k in (1, 2, 4, 8)))
    longest = usual_seq_len(suite)
    return Sweep("seq_len", tuple(sorted({max(1, longest // k) for k in (1, 2, 4, 8)})))


def expand(case: CaseSpec, suite: SuiteSpec, source: ModelInputs) -> list[Trial]:
    """The trials of *case*, in the order of their points.

    Raises:
        InputsError: No inputs could be found, or a swept size changes no input of the module.
    """
    sweeps = sweeps_of(case, suite)
    axes = [sweep.axis for sweep in sweeps]
    swept = [Point(zip(axes, values, strict=True)) for values in itertools.product(*(s.values for s in sweeps))]
    calls = {point: _calls_at(point, case, suite, source) for point in swept}
    if max(map(len, calls.values())) > 1:
        if case.scaling is not None:
            raise InputsError("the model calls it in several ways, and a scaling is of one: choose it by .call(k)")
        swept = [point.at(CALL, call) for point in swept for call in calls[point]]
    trials = [trial_at(case, point, suite, source) for point in swept]
    for sweep in sweeps:
        _check_changes_inputs(sweep, trials, source)
    return trials


def _calls_at(point: Point, case: CaseSpec, suite: SuiteSpec, source: ModelInputs) -> list[int]:
    """For ``.every_call()``, the first call with each distinct signature at a sweep point; else just the chosen one."""
    if not case.every_call:
        return [case.call]
    size = _size_at(point, default_size(suite))
    signatures = source.calls_of(case.module, size, 0, _mode(case)).signatures.get(case.module, [])
    return [signatures.index(signature) for signature in dict.fromkeys(signatures)] or [case.call]


def _mode(case: CaseSpec) -> ForwardMode:
    """How the model runs when the inputs of *case* are captured."""
    return ForwardMode(grad=case.backward, train=case.train)


def wanted_captures(suite: SuiteSpec) -> dict[tuple[Size, ForwardMode], dict[Any, set[int]]]:
    """The calls whose inputs the cases of *suite* need, by size and mode."""
    wanted: dict[tuple[Size, ForwardMode], dict[Any, set[int]]] = {}
    for case in suite.cases:
        if case.given is not None or case.skip_reason is not None or case.module is suite.model:
            continue
        try:
            sweeps = sweeps_of(case, suite)
        except SpecError:  # the case ends with this error when it is expanded
            continue
        for values in itertools.product(*(sweep.values for sweep in sweeps)):
            point = Point(zip((sweep.axis for sweep in sweeps), values, strict=True))
            size = _size_at(point, default_size(suite))
            wanted.setdefault((size, _mode(case)), {}).setdefault(case.module, set()).add(case.call)
    return wanted


def trial_at(case: CaseSpec, point: Point, suite: SuiteSpec, source: ModelInputs) -> Trial:
    """The trial of *case* at *point*. Raises InputsError if no inputs can be found."""
    size = _size_at(point, default_size(suite))
    inputs = _inputs(case, size, point, source)
    decodes = bool(size.cached) and case.module is source.model
    return Trial(case, point, inputs, source.whole_sequence(size) if decodes else None)


def _size_at(point: Point, default: Size) -> Size:
    """The sizes at a sweep point; a swept length counts as explicit."""
    size = Size(
        batch_size=point.get("batch_size", default.batch_size),
        seq_len=point.get("seq_len", default.seq_len),
        explicit=default.explicit or "seq_len" in point,
        named=tuple((axis, value) for axis, value in point.items() if axis not in (*AXES, CALL)),
    )
    if PREFILL not in point:
        return size
    named = tuple((axis, value) for axis, value in size.named if axis not in (PREFILL, TOKENS))
    prompt, tokens = point[PREFILL], point.get(TOKENS)
    seq_len, cached = (prompt, 0) if tokens is None else (tokens, prompt)
    return replace(size, seq_len=seq_len, explicit=True, named=named, cached=cached)


def _inputs(case: CaseSpec, size: Size, point: Point, source: ModelInputs) -> Inputs:
    if case.given is not None:
        inputs = _given(case, case.given, size, point).given_to(case.module).map(lambda t: t.to(source.device))
        synthesised = case.given.shape is not None
        return inputs.as_activations() if synthesised and case.backward and case.module is not source.model else inputs
    return of_target(case.module, source, size, point.get(CALL, case.call), _mode(case))


def _given(case: CaseSpec, given: GivenInputs, size: Size, point: Point) -> Inputs:
    if given.factory is not None:
        return from_factory(given.factory, size)
    if given.shape is None:
        return as_inputs((given.args, given.kwargs))
    shape = _shape(given.shape, size.by_name, point)
    return replace(candidates.of_shape(case.module, shape), source="given")


def _shape(given: tuple[int | str, ...], sizes: dict[str, int], point: Point) -> tuple[int, ...]:
    """The given shape at a sweep point: named dimensions get their size, other swept axes replace their dimension."""
    unknown = [name for name in given if isinstance(name, str) and name not in sizes]
    if unknown:
        raise InputsError(f"input_shape {given} names {unknown[0]!r}: sweep it, with_sweep({unknown[0]}=[...])")
    shape = [sizes[entry] if isinstance(entry, str) else entry for entry in given]
    for axis, value in point.items():
        if axis in given:
            continue
        dimension = AXIS_DIMENSION.get(axis, len(shape))
        if dimension >= len(shape):
            raise InputsError(f"input_shape {given} has no dimension for a sweep over {axis}: name it {axis!r} there")
        shape[dimension] = value
    return tuple(shape)


def _check_changes_inputs(sweep: Sweep, trials: list[Trial], source: ModelInputs) -> None:
    """Raise InputsError if *sweep* changes no input: every point would measure the same thing."""
    if len(sweep.values) < 2:
        return
    fixed = trials[0].point.without(sweep.axis)
    along = [trial for trial in trials if trial.point.without(sweep.axis) == fixed]
    equal = next((pair for pair in itertools.combinations(along, 2) if _seem_equal(*(t.inputs for t in pair))), None)
    if equal is None:
        return
    case, axis = along[0].case, sweep.axis
    if case.given is not None and case.given.factory is not None and not follows_sizes(case.given.factory, axis):
        why = f"its input factory does not take {axis}"
    elif case.given is None and not source.follows(axis):
        why = f"TestSuite(inputs=...) is fixed; pass a function of {axis} instead"
    elif case.given is None and axis not in (*AXES, PREFILL, TOKENS):
        names = " and ".join(AXES)
        why = f"inferred inputs know only {names}; name it in .input_shape((..., {axis!r})) or .input_factory(fn)"
    else:
        sizes = " and ".join(str(trial.point[axis]) for trial in equal)
        why = f"its input is {equal[0].inputs.describe()} at {sizes}"
    raise InputsError(f"{axis} has no effect on this module: {why}")


def _seem_equal(one: Inputs, other: Inputs) -> bool:
    """Whether nothing that can be seen tells two inputs apart: sizes, arguments, and integers in tensors.

    Values of an unknown type may differ, so with one of them the answer is no.
    """
    if one.signature() != other.signature():
        return False
    pairs = list(zip(one.leaves(), other.leaves(), strict=True))
    if any(not isinstance(leaf.value, (torch.Tensor, *tree.PRIMITIVES)) for leaf, _ in pairs):
        return False
    tensors = [(a.value, b.value) for a, b in pairs if isinstance(a.value, torch.Tensor)]
    counts = [(a, b) for a, b in tensors if not a.is_floating_point() and a.numel() <= MAX_COUNTS]
    return all(torch.equal(a, b) for a, b in counts)
