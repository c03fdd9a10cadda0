"""The subject of a case: its module in the case's dtype and its reference, as calls to time and workloads to record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ttprof.plan.aliases import parts_of
from ttprof.plan.autocast import UnderAutocast
from ttprof.plan.compiled import is_compiled_whole
from ttprof.plan.inputs import Inputs
from ttprof.plan.state import cast, dtype_of, uncompiled
from ttprof.plan.surroundings import Context
from ttprof.plan.trials import Trial
from ttprof.run.base import Workload
from ttprof.run.casts import in_dtype
from ttprof.run.workload import Changes, RepeatableCall, changes_of, cold_cache, forward_call, training_call
from ttprof.spec import CaseSpec
from ttprof.trial_key import Side


@dataclass(frozen=True, eq=False)
class Subject:
    """The module of a case in the case's dtype, and the reference in the same dtype (None without one).

    Both run under ``autocast``, if it is not None.
    """

    case: CaseSpec
    module: nn.Module
    reference: Callable[..., Any] | None
    autocast: torch.dtype | None = None
    _changes: dict[tuple[int, int], Changes] = field(default_factory=dict)
    _variants: dict[torch.dtype | None, Subject] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, case: CaseSpec, trials: Sequence[Trial]) -> Iterator[Subject]:
        """The subject of *case*, within the context with the attributes that the model sets before its call.

        Raises:
            ModuleRaised: The module can't be copied to another dtype.
        """
        with trials[0].inputs.context.applied():
            reference = case.reference
            if isinstance(reference, nn.Module):
                reference = in_dtype(reference, case.dtype)
            yield cls(case, in_dtype(case.module, case.dtype), reference)

    def at(self, trial: Trial) -> Subject:
        """This subject under the autocast of its case, or else under that in which the model makes this call."""
        autocast = self.case.autocast or trial.inputs.context.autocast
        if autocast not in self._variants:
            reference = self.reference
            if isinstance(reference, nn.Module):
                reference = UnderAutocast.of(reference, autocast)
            module = UnderAutocast.of(self.module, autocast)
            self._variants[autocast] = replace(self, module=module, reference=reference, autocast=autocast)
        return self._variants[autocast]

    def dtype(self, trial: Trial, outputs: list[torch.Tensor]) -> torch.dtype:
        """The dtype under test: the least precise one among parameters, inputs, *outputs* and autocast."""
        tensors = [*self.module.parameters(), *self.inputs(trial).tensors(), *outputs]
        dtypes = {t.dtype for t in tensors if t.is_floating_point()} or {dtype_of(self.module)}
        dtypes |= {self.autocast} if self.autocast else set()
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)

    def inputs(self, trial: Trial) -> Inputs:
        """The inputs of *trial* in the case's dtype, with their context for the module."""
        return self._inputs_of(self.module, trial)

    def _inputs_of(self, side: Callable[..., Any], trial: Trial) -> Inputs:
        inputs = trial.inputs.floating(self.case.dtype) if self.case.dtype else trial.inputs
        return replace(inputs, context=self._context(side, trial)) if isinstance(side, nn.Module) else inputs

    def _context(self, side: nn.Module, trial: Trial) -> Context:
        """What the model changes around this call, for the module, the reference, or a copy of them."""
        dtype = self.case.dtype if side in (self.module, self.reference) else None
        return trial.inputs.context.onto(side, lambda t: cast(t, dtype) if dtype else t.clone())

    @contextmanager
    def applied(self, trial: Trial) -> Iterator[None]:
        """Apply the surroundings of this call to the module and the reference, and to their copies."""
        sides = (self.case.module, self.module, self.case.reference, self.reference)
        with ExitStack() as stack:
            for side in {id(side): side for side in sides if isinstance(side, nn.Module)}.values():
                stack.enter_context(self._context(side, trial).applied())
            yield

    def call(self, trial: Trial) -> RepeatableCall:
        """One iteration of the module."""
        return self._iteration(self.module, trial)

    def reference_call(self, trial: Trial) -> RepeatableCall | None:
        """One iteration of the reference, or None without one."""
        return self._iteration(self.reference, trial) if self.reference is not None else None

    def workload(self, trial: Trial, device: torch.device) -> Workload:
        """The module as a workload, with its submodules by their dotted paths in the model.

        A compiled module is annotated as a whole, because its compiled code does not call its submodules.
        """
        prefix = self.case.path or self.case.name
        submodules = [] if is_compiled_whole(self.module) else [(n, m) for n, m in self.module.named_modules() if n]
        compiled = tuple(f"{name}." for name, module in submodules if is_compiled_whole(module))
        eager = [(f"{prefix}.{name}", m) for name, m in submodules if not name.startswith(compiled)]
        modules = ((prefix, self.module), *eager)
        what = self._describe(self.case.module, trial)
        call = self.call(trial)
        return Workload(trial.key(), self.case.name, call, device, modules, self._before(call, device), what)

    def reference_workload(self, trial: Trial, device: torch.device) -> Workload | None:
        """The reference as a workload, or None without one."""
        call = self.reference_call(trial)
        if call is None:
            return None
        what = self._describe(self.case.reference, trial)
        name = f"{self.case.name} (reference)"
        return Workload(trial.key(Side.REFERENCE), name, call, device, (), self._before(call, device), what)

    def flush(self, device: torch.device) -> Callable[[], None] | None:
        """The callable that evicts the device's cache before each iteration for ``.cache("cold")``, else None."""
        return cold_cache(device) if self.case.cache == "cold" else None

    def _before(self, call: RepeatableCall, device: torch.device) -> Callable[[], None]:
        """The callable to run before each recorded iteration: it resets the inputs, then evicts the cache."""
        flush = self.flush(device)

        def prepare() -> None:
            call.reset()
            if flush is not None:
                flush()

        return prepare

    def changes_inputs(self, trial: Trial) -> bool:
        """Whether the module changes its inputs in place; each iteration then gets a fresh copy of them."""
        return self._changes_of(self.module, trial).inputs

    def reference_changes_inputs(self, trial: Trial) -> bool:
        """Whether the reference changes its inputs in place; False without one."""
        return self.reference is not None and self._changes_of(self.reference, trial).inputs

    def needs_grad(self, trial: Trial) -> bool:
        """Whether the module's forward runs only with gradients enabled."""
        return self._changes_of(self.module, trial).needs_grad

    def changes_parameters(self, trial: Trial) -> bool:
        """Whether the module changes its parameters; each timed iteration then gets them as they were."""
        return self._changes_of(self.module, trial).parameters

    def parts_out_of_mode(self, trial: Trial) -> list[str]:
        """The parts of the module that did not follow it into train or eval mode, but for those that the model sets."""
        set_by_model = {a.module for a in trial.inputs.context.attributes if a.kind == "mode"}
        parts = parts_of(self.module).items()
        others = [(path, part) for path, part in parts if getattr(part, "training", self.case.train) != self.case.train]
        return [path or type(part).__name__ for path, part in others if part not in set_by_model]

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Restore on exit the parameters that the calls made within the context write to."""
        try:
            yield
        finally:
            for changes in self._changes.values():
                changes.undo()

    def _changes_of(self, side: Callable[..., Any], trial: Trial) -> Changes:
        """What a forward of the module or the reference changes; cached, because it takes a forward."""
        key = (id(side), id(trial))
        if key not in self._changes:
            with self.applied(trial):
                self._changes[key] = changes_of(side, self._inputs_of(side, trial), self.case.backward)
        return self._changes[key]

    def _describe(self, side: Any, trial: Trial) -> str:
        """The module or reference and its inputs in words, the same in every process that runs the script."""
        on = f"on {trial.inputs.describe()}"
        if not isinstance(side, nn.Module):
            return f"{getattr(side, '__qualname__', type(side).__name__)} {on}"
        return f"{type(uncompiled(side)).__name__} with {sum(p.numel() for p in side.parameters())} parameters {on}"

    def _iteration(self, module: Callable[..., Any], trial: Trial) -> RepeatableCall:
        inputs, changes = self._inputs_of(module, trial), self._changes_of(module, trial)
        if self.case.backward:
            return training_call(module, inputs, changes, self.case.gradients_of_inputs)
        return forward_call(module, inputs, changes)
