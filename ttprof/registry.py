"""The cases of a suite while it is written: the builder edits their specs here, by key."""

from __future__ import annotations

import torch
from torch import nn

from ttprof.errors import SpecError, UnknownNameError
from ttprof.plan.state import dotted_path
from ttprof.spec import CaseSpec, SourceLine
from ttprof.system.escape import visible


class CaseRegistry:
    """The specs by key, and the model's modules by name.

    A target that the model does not have may be followed by ``.if_exists()``, so its error waits: ``check`` raises it,
    which every other call of the suite or of a builder does first.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        self._model = model
        self._dtype = dtype
        self._cases: dict[int, CaseSpec] = {}
        self._errors: dict[int, SpecError] = {}
        self._unresolved: int | None = None
        self._next_key = 0

    @property
    def cases(self) -> tuple[CaseSpec, ...]:
        """The specs in the order in which they were registered."""
        return tuple(self._cases.values())

    def register(self, module: nn.Module | None, path: str | None, name: str, source: SourceLine) -> int:
        """Add a case and return its key; a name that is taken gets a number."""
        name = visible(name)
        taken = {spec.name for spec in self.cases}
        count, unique = 1, name
        while unique in taken:
            count += 1
            unique = f"{name}#{count}"
        key, self._next_key = self._next_key, self._next_key + 1
        self._cases[key] = CaseSpec(name=unique, module=module, path=path, source=source, dtype=self._dtype)
        return key

    def register_missing(self, name: str, source: SourceLine, error: SpecError) -> int:
        """Add a case whose module the model lacks; unless ``accept_missing`` follows, ``check`` raises *error*."""
        key = self.register(None, None, name, source)
        self._errors[key], self._unresolved = error, key
        return key

    def accept_missing(self, key: int) -> None:
        """Let a case without a module be a SKIP."""
        if self._unresolved == key:
            self._unresolved = None

    def check(self) -> None:
        """Raise the error of a missing module that nothing has accepted, and forget its case."""
        if self._unresolved is not None:
            key, self._unresolved = self._unresolved, None
            del self._cases[key]
            raise self._errors[key]

    def spec(self, key: int) -> CaseSpec:
        """The spec with a key. Raises the error of a case that was forgotten."""
        if key not in self._cases:
            raise self._errors[key]
        return self._cases[key]

    def replace(self, key: int, spec: CaseSpec) -> None:
        """Put another spec in the place of one."""
        self._cases[key] = spec

    def remove(self, key: int) -> None:
        """Forget a case."""
        del self._cases[key]

    def module(self, name: str, where: str = "") -> nn.Module:
        """The model's module with a dotted name; UnknownNameError lists the nearest names and says *where* it was."""
        named = self._model.named_modules(remove_duplicate=False)
        modules: dict[str, nn.Module] = {dotted_path(path): module for path, module in named if path}
        if name not in modules:
            raise UnknownNameError("module", name, modules, where)
        return modules[name]
