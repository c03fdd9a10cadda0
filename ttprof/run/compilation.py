"""Observes code compiled by torch.compile: how much was compiled, and when compiled code is entered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ttprof.plan.compiled import entry_hooks
from ttprof.run.iteration import Ranged
from ttprof.trace.iterations import COMPILED


def compilations() -> int:
    """The functions that this process has compiled so far."""
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["frames"]["total"]) if dynamo is not None else 0


@contextmanager
def entries_in_range(modules: Iterable[nn.Module], ranged: Ranged) -> Iterator[None]:
    """Within the context, each call from Python of what torch.compile made of *modules* runs inside a range.

    The functions stay as they are: replacing one would make torch compile again what calls it.
    """

    def enter() -> Callable[[], object]:
        entry = ranged(COMPILED)
        entry.__enter__()
        return lambda: entry.__exit__(None, None, None)

    marked = entry_hooks(modules)
    for hooks in marked:
        hooks.append(enter)
    try:
        yield
    finally:
        for hooks in marked:
            hooks.remove(enter)
