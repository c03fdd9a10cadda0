"""A base of the classes that users call methods of: a misspelled method raises an error with the nearest names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttprof.errors import UnknownMethodError


class NearMisses:
    """Raises UnknownMethodError for an attribute that a class lacks.

    Names with an underscore raise a plain AttributeError, because copy, pickle and IPython ask for such.
    """

    if not TYPE_CHECKING:  # else mypy would accept any method

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if hasattr(type(self), name):  # a property that raised an AttributeError: raise it again
                return object.__getattribute__(self, name)
            raise UnknownMethodError(type(self), name)
