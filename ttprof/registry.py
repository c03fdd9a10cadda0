"""Stores the specs of a suite's cases while the builders edit them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ttprof.errors import SpecError, UnknownNameError
from ttprof.plan.state import dotted_path
from ttprof.spec import CaseSpec, SourceLine
from ttprof.system.escape import visible


class CaseRegistry:
    """Case specs by key, and the model's modules by name.

    A test of a missing module may still be followed by ``.if_exists()``, so its error is deferred: every other call of
    the suite or of a builder starts with ``check``, which raises it.
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
        """The specs in registration order."""
        return tuple(self._cases.values())

    def register(self, module: nn.Module | None, path: str | None, name: str, source: SourceLine) -> int:
        """Add a case and return its key; a duplicate name gets a numeric suffix (``name#2``)."""
        spec = CaseSpec(name=self._unique(visible(name)), module=module, path=path, source=source, dtype=self._dtype)
        return self._add(spec)

    def register_variant(self, spec: CaseSpec, name: str) -> int:
        """Add a case like *spec* under another name and return its key."""
        return self._add(replace(spec, name=self._unique(name)))

    def rename(self, key: int, name: str) -> None:
        """Give a case another name, with a suffix if another case has it."""
        self._cases[key] = replace(self._cases[key], name=self._unique(name))

    def _add(self, spec: CaseSpec) -> int:
        key, self._next_key = self._next_key, self._next_key + 1
        self._cases[key] = spec
        return key

    def _unique(self, name: str) -> str:
        taken = {spec.name for spec in self.cases}
        count, unique = 1, name
        while unique in taken:
            count += 1
            unique = f"{name}#{count}"
        return unique

    def register_missing(self, name: str, source: SourceLine, error: SpecError) -> int:
        """Add a case for a missing module; ``check`` raises *error* unless ``accept_missing`` is called first."""
        key = self.register(None, None, name, source)
        self._errors[key], self._unresolved = error, key
        return key

    def accept_missing(self, key: int) -> None:
        """Skip a case whose module is missing instead of raising its error."""
        if self._unresolved == key:
            self._unresolved = None

    def check(self) -> None:
        """Raise the deferred error of a missing module, if any, and remove its case."""
        if self._unresolved is not None:
            key, self._unresolved = self._unresolved, None
            del self._cases[key]
            raise self._errors[key]

    def spec(self, key: int) -> CaseSpec:
        """Return the spec of *key*; raise the deferred error again if ``check`` removed the case."""
        if key not in self._cases:
            raise self._errors[key]
        return self._cases[key]

    def replace(self, key: int, spec: CaseSpec) -> None:
        """Replace the spec of *key*."""
        self._cases[key] = spec

    def remove(self, key: int) -> None:
        """Remove a case."""
        del self._cases[key]

    def module(self, name: str, where: str = "") -> nn.Module:
        """Return the model's module with a dotted name; of one that torch.compile wraps, the wrapper.

        Raises:
            UnknownNameError: the model has no such module; the message lists the closest names and *where* it was used.
        """
        modules: dict[str, nn.Module] = {}
        for path, module in self._model.named_modules(remove_duplicate=False):
            if path:
                modules.setdefault(dotted_path(path), module)  # the wrapper of torch.compile comes before its module
        if name not in modules:
            raise UnknownNameError("module", name, modules, where)
        return modules[name]
