"""A value that holds within a context, for every thread of the process.

A ContextVar would not do: a thread that a script starts has a context of its own, and would not see the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Held = TypeVar("Held")


class Ambient(Generic[Held]):
    """A *value* that ``set_to`` replaces within a context."""

    def __init__(self, value: Held) -> None:
        self.value = value

    @contextmanager
    def set_to(self, value: Held) -> Iterator[Held]:
        """Hold *value* within the context."""
        before, self.value = self.value, value
        try:
            yield value
        finally:
            self.value = before
