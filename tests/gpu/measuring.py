"""Runs one module through ttprof on the device of the kit, and keeps what the checks need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttprof import TestSuite
from ttprof.builder import CaseBuilder
from ttprof.result import CaseResult

SCHEDULE = {"warmup": 5, "iterations": 10}
"""Of recordings: short, so that their traces are small."""


@dataclass
class Bench:
    """Where and on what to measure. *traces* collects a trace by the name of its check."""

    device: torch.device
    folder: Path
    seconds: float = 0.5
    traces: dict[str, Path] = field(default_factory=dict)

    def ones(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor of ones on the device."""
        return torch.ones(shape, dtype=dtype, device=self.device)

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor of random numbers on the device, the same in every run."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(self.device, dtype)

    def suite(self, module: nn.Module, x: Any) -> TestSuite:
        """A quiet suite that only reports."""
        return TestSuite(
            module,
            inputs=x,
            device=self.device,
            seconds_per_case=self.seconds,
            trace_dir=self.folder,
            on_failure="report",
            quiet=True,
        )

    def measure(self, name: str, module: nn.Module, x: Any, **options: Any) -> CaseResult:
        """Measure *module* on *x* and keep its trace. *options*: ``timed``, else a short schedule; builder methods."""
        timed = options.pop("timed", False)
        with self.suite(module, x) as suite:
            case = suite.test(module, name=name)
            if not timed:
                case = case.profile(**SCHEDULE)
            _apply(case, options)
        return self.kept(name, suite)

    def kept(self, name: str, suite: TestSuite) -> CaseResult:
        """The only case of a suite that has run; its trace is kept."""
        assert suite.result is not None
        (result,) = suite.result
        if result.trace_path is not None:
            self.traces[name] = Path(result.trace_path)
        return result


def _apply(case: CaseBuilder, methods: dict[str, Any]) -> None:
    """Call builder methods by name: ``backward=()``, ``cache=("cold",)``, ``expect={"leak_mb": 0}``."""
    for method, arguments in methods.items():
        if isinstance(arguments, dict):
            getattr(case, method)(**arguments)
        else:
            getattr(case, method)(*arguments)
