"""ttprof tests the speed, memory and numerics of each module of a PyTorch model, with the trace as evidence.

Public names are imported lazily, so that reading a saved trace or result does not import torch.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from ttprof.system.process import no_gc

if TYPE_CHECKING:
    from ttprof.bounds import at_least, at_most, exactly, within
    from ttprof.errors import SuiteFailed, TtprofError
    from ttprof.result import CaseResult, SuiteResult
    from ttprof.result import CaseResult as TestResult
    from ttprof.result_file import load
    from ttprof.suite import TestSuite, test_model
    from ttprof.verdict import Status

_MODULES = {
    "CaseResult": ("ttprof.result", "CaseResult"),
    "Status": ("ttprof.verdict", "Status"),
    "SuiteFailed": ("ttprof.errors", "SuiteFailed"),
    "SuiteResult": ("ttprof.result", "SuiteResult"),
    "TestResult": ("ttprof.result", "CaseResult"),
    "TestSuite": ("ttprof.suite", "TestSuite"),
    "TtprofError": ("ttprof.errors", "TtprofError"),
    "at_least": ("ttprof.bounds", "at_least"),
    "at_most": ("ttprof.bounds", "at_most"),
    "exactly": ("ttprof.bounds", "exactly"),
    "load": ("ttprof.result_file", "load"),
    "test_model": ("ttprof.suite", "test_model"),
    "within": ("ttprof.bounds", "within"),
}

__all__ = [
    "CaseResult",
    "Status",
    "SuiteFailed",
    "SuiteResult",
    "TestResult",
    "TestSuite",
    "TtprofError",
    "at_least",
    "at_most",
    "exactly",
    "load",
    "test_model",
    "within",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("ttprof")
    if name not in _MODULES:
        raise AttributeError(f"module 'ttprof' has no attribute {name!r}")
    module, attribute = _MODULES[name]
    with no_gc():
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
