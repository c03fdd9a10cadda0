"""What a case runs: its module in the dtype asked for, beside its reference.

A case spec enters; a subject leaves that makes the calls to time and the workloads to record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ttprof.plan.inputs import Inputs
from ttprof.plan.state import device_of, dtype_of, is_compiled, uncompiled
from ttprof.plan.trials import Trial
from ttprof.run.base import Workload
from ttprof.run.outputs import in_dtype
from ttprof.run.workload import changes_inputs, cold_cache, forward_call, training_call
from ttprof.spec import CaseSpec
from ttprof.trial_key import Side


class _InAutocast(nn.Module):
    """A module whose forward runs under torch.autocast; its parts, and their names, are those of the module."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._parameters, self._buffers, self._modules = module._parameters, module._buffers, module._modules
        self.training = module.training
        self._inside = [module]  # in a list, so that it is no submodule of itself
        self._dtype = dtype

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
        """The module itself where no dtype is asked for."""
        return module if dtype is None else cls(module, dtype)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        device = device_of(self) or next((a.device for a in args if isinstance(a, torch.Tensor)), torch.device("cpu"))
        with torch.autocast(device.type, self._dtype):
            return self._inside[0](*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Subject:
    """The module of a case, in the case's dtype, and the reference in the same dtype (None without one)."""

    case: CaseSpec
    module: nn.Module
    reference: Callable[..., Any] | None
    _changing: dict[tuple[int, int], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, case: CaseSpec) -> Subject:
        """The subject of a case; ModuleRaised when its module can't be copied to another dtype."""
        reference = case.reference
        if isinstance(reference, nn.Module):
            reference = _InAutocast.of(in_dtype(reference, case.dtype), case.autocast)
        return cls(case, _InAutocast.of(in_dtype(case.module, case.dtype), case.autocast), reference)

    def dtype(self, trial: Trial, outputs: list[torch.Tensor]) -> torch.dtype:
        """The dtype under test: the least precise of the module's own, its inputs' and its outputs'."""
        tensors = [*self.module.parameters(), *self.inputs(trial).tensors(), *outputs]
        found = {t.dtype for t in tensors if t.is_floating_point()} or {dtype_of(self.module)}
        found |= {self.case.autocast} if self.case.autocast else set()
        return max(found, key=lambda dtype: torch.finfo(dtype).eps)

    def inputs(self, trial: Trial) -> Inputs:
        """The inputs of a trial in the case's dtype."""
        return trial.inputs.floating(self.case.dtype) if self.case.dtype else trial.inputs

    def call(self, trial: Trial) -> Callable[[], Any]:
        """One iteration of the module."""
        return self._iteration(self.module, trial)

    def reference_call(self, trial: Trial) -> Callable[[], Any] | None:
        """One iteration of the reference, or None without one."""
        return self._iteration(self.reference, trial) if self.reference is not None else None

    def workload(self, trial: Trial, device: torch.device) -> Workload:
        """The module as a workload, its submodules named by their dotted paths in the model.

        Compiled code has no submodules any more: a compiled module is annotated as a whole.
        """
        prefix = self.case.path or self.case.name
        inside = [] if is_compiled(self.module) else [(n, m) for n, m in self.module.named_modules() if n]
        compiled = tuple(f"{name}." for name, module in inside if is_compiled(module))
        open_ = [(f"{prefix}.{name}", m) for name, m in inside if not name.startswith(compiled)]
        modules = ((prefix, self.module), *open_)
        what = self._told(self.case.module, trial)
        return Workload(trial.key(), self.case.name, self.call(trial), device, modules, self.before(device), what)

    def reference_workload(self, trial: Trial, device: torch.device) -> Workload | None:
        """The reference as a workload, or None without one."""
        call = self.reference_call(trial)
        if call is None:
            return None
        what = self._told(self.case.reference, trial)
        name = f"{self.case.name} (reference)"
        return Workload(trial.key(Side.REFERENCE), name, call, device, (), self.before(device), what)

    def before(self, device: torch.device) -> Callable[[], None] | None:
        """What precedes each iteration of the module and of the reference: a flush for a cold cache, or nothing."""
        return cold_cache(device) if self.case.cache == "cold" else None

    def changes_inputs(self, trial: Trial) -> bool:
        """Whether the module changes its inputs in place; then each iteration works on a fresh copy of them."""
        return self._changes(self.module, trial)

    def reference_changes_inputs(self, trial: Trial) -> bool:
        """As ``changes_inputs``, of the reference; False without one."""
        return self.reference is not None and self._changes(self.reference, trial)

    def _changes(self, module: Callable[..., Any], trial: Trial) -> bool:
        """As ``changes_inputs``, found out once for each module and trial: it takes a forward."""
        key = (id(module), id(trial))
        if key not in self._changing:
            self._changing[key] = changes_inputs(module, self.inputs(trial))
        return self._changing[key]

    def _told(self, side: Any, trial: Trial) -> str:
        """What a side of the case is, and what it is called with."""
        on = f"on {trial.inputs.describe()}"
        if not isinstance(side, nn.Module):
            return f"{getattr(side, '__qualname__', type(side).__name__)} {on}"
        return f"{type(uncompiled(side)).__name__} with {sum(p.numel() for p in side.parameters())} parameters {on}"

    def _iteration(self, module: Callable[..., Any], trial: Trial) -> Callable[[], Any]:
        make = training_call if self.case.backward else forward_call
        return make(module, self.inputs(trial), self._changes(module, trial))
