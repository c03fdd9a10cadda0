"""Parts of a module that torch.compile runs, and dispatch modes that leave them compiled.

Under a dispatch mode torch gives up compiling a function, for good: the model would run other code after a test than
before it. Modes that say that they do not look into compiled code are excepted, where torch knows of that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ttprof.plan.autocast import without_autocast

MAX_FUNCTIONS = 10_000
"""Functions that are looked at in search of a compiled one."""

_COMPILED = "_torchdynamo_orig_callable"
"""The attribute by which torch.compile marks the functions that it returns."""

COMPILES_UNDER_MODES = hasattr(TorchDispatchMode, "ignore_compile_internals")
"""Whether this torch lets a mode say that code may be compiled under it."""


class TransparentMode(TorchDispatchMode):
    """A dispatch mode under which compiled code stays compiled; its operators are not seen then."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip dynamo torch would have to import it."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return True: what is compiled under this mode is not marked as uncompilable."""
        return True


def unless_compiled(mode: TransparentMode, *modules: Any) -> AbstractContextManager[Any]:
    """*mode*, or no mode where it would end the compilation of a part of *modules*."""
    if COMPILES_UNDER_MODES:
        return mode
    compiled = any(has_compiled_parts(module) for module in modules if isinstance(module, nn.Module))
    return nullcontext() if compiled else mode


def has_compiled_parts(module: nn.Module) -> bool:
    """Whether torch.compile has compiled *module*, a part of it, or a function that their methods refer to."""
    if "torch._dynamo" not in sys.modules:
        return False
    parts = list(without_autocast(module).modules())
    if any(map(is_compiled_whole, parts)):
        return True
    return any(hasattr(function, _COMPILED) for function in _functions_of(parts))


def is_compiled_whole(module: nn.Module) -> bool:
    """Whether *module* is the wrapper that torch.compile returns, or has compiled its own call by ``compile()``."""
    whole = without_autocast(module)
    return "_orig_mod" in whole._modules or getattr(whole, "_compiled_call_impl", None) is not None


def entry_hooks(modules: Iterable[nn.Module]) -> list[list[Callable[[], Callable[[], object]]]]:
    """The lists of hooks that torch runs at each entry into what it has compiled of *modules*, one list for each.

    A hook returns what torch runs on the way out. Dynamo puts no guard on these lists, and does not trace the hooks.
    """
    if "torch._dynamo" not in sys.modules:
        return []
    seen: set[nn.Module] = set()
    parts = [part for module in modules for _, part in without_autocast(module).named_modules(seen)]
    contexts = [vars(part).get("dynamo_ctx") for part in parts]
    calls = [vars(part).get("_compiled_call_impl") for part in parts]
    compiled = [function for function in (*calls, *_functions_of(parts)) if hasattr(function, _COMPILED)]
    contexts += [_context_of(function) for function in compiled]
    hooks = [getattr(context, "enter_exit_hooks", None) for context in contexts]
    return list({id(listed): listed for listed in hooks if isinstance(listed, list)}.values())


def _context_of(function: Any) -> Any:
    """The context of torch.compile in which *function*, which it has returned, runs; None without one."""
    names: tuple[str, ...] = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return function.__closure__[names.index("self")].cell_contents if "self" in names else None


def compiled_methods(module: nn.Module) -> dict[str, MethodType]:
    """The attributes of *module* that are compiled methods, as the methods that were compiled.

    A copy of the compiled function would still be bound to the module that was copied. The wrapper that torch.compile
    makes of a module rebinds its own.
    """
    if "_orig_mod" in module._modules:
        return {}
    originals = {name: getattr(value, _COMPILED, None) for name, value in vars(module).items()}
    return {name: original for name, original in originals.items() if isinstance(original, MethodType)}


def loses_compilation(module: nn.Module) -> bool:
    """Whether a copy of *module* would run eagerly what *module* runs compiled."""
    parts = list(module.modules())
    by_call = any(getattr(part, "_compiled_call_impl", None) is not None for part in parts)
    return by_call or any(compiled_methods(part) for part in parts)


def _functions_of(parts: list[nn.Module]) -> Iterator[Any]:
    """The functions that *parts* hold, their own methods, and those that these refer to, outside torch."""
    classes = {kind for part in parts for kind in type(part).__mro__ if not _belongs_to_torch(kind.__module__)}
    pending = [value for part in parts if not isinstance(part, torch.jit.ScriptModule) for value in vars(part).values()]
    pending += [value for kind in classes for value in vars(kind).values()]
    entered: set[int] = set()
    while pending and len(entered) < MAX_FUNCTIONS:
        value = pending.pop()
        value = value.__func__ if isinstance(value, (MethodType, staticmethod, classmethod)) else value
        if not isinstance(value, FunctionType) or id(value) in entered:
            continue
        entered.add(id(value))
        yield value
        if not _belongs_to_torch(value.__module__ or ""):
            pending += _referred_to(value)


def _belongs_to_torch(name: str) -> bool:
    return name.partition(".")[0] in ("torch", "builtins")


def _referred_to(function: FunctionType) -> Iterator[Any]:
    """The globals and the closure of *function* by the names in its code, also as ``module.name``."""
    names = set(_names_in(function.__code__))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if not isinstance(value, ModuleType):
            yield value
        elif not _belongs_to_torch(value.__name__):
            yield from (vars(value)[attribute] for attribute in names & vars(value).keys())
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
