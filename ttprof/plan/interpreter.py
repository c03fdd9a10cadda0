"""What Python has one of in a process: the working directory, the environment, hooks, signals, streams and limits.

Each row of ``PYTHON`` is a name for messages, how to read the setting, and how to restore what was read. An unnamed one
is restored without a word: libraries change it when they are first used.
"""

from __future__ import annotations

import builtins
import gc
import io
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

MONITORING_IDS = 6
"""The number of ids that sys.monitoring has for tools."""

LAZILY_REPLACED = frozenset({"manual_seed"})
"""Functions that torch itself replaces when torch.compile is first used."""

STREAMS = {1: "stdout", 2: "stderr"}
"""The file descriptors of the standard streams, and their names in ``sys``."""


def monitoring_tools() -> tuple[str | None, ...]:
    """The names of the tools of sys.monitoring by their ids, None where there is none; empty before Python 3.12."""
    monitoring = getattr(sys, "monitoring", None)
    return () if monitoring is None else tuple(monitoring.get_tool(number) for number in range(MONITORING_IDS))


def _free_tools(before: tuple[str | None, ...]) -> None:
    """Unregister the tools that were not there before; one that is gone can't be brought back."""
    monitoring: Any = getattr(sys, "monitoring", None)
    for number, (old, new) in enumerate(zip(before, monitoring_tools(), strict=True)):
        if old is None and new is not None:
            monitoring.set_events(number, 0)
            monitoring.free_tool_id(number)


def _set_profile(before: Any) -> None:
    """Set a profiling function again; until Python 3.11, cProfile is an object that enables itself."""
    if before is None or callable(before):
        sys.setprofile(before)
    else:
        before.enable()


def _working_directory() -> str | None:
    """The working directory; None if it was deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 - what chdir takes
    except FileNotFoundError:
        return None


def _change_directory(before: str | None) -> None:
    if before is not None:
        with suppress(OSError):  # it may be gone
            os.chdir(before)


def _set_environment(before: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


class _AtLeast(dict[str, Any]):
    """Variables, equal to others that they contain: libraries add some when they are first used."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and all(name in self and self[name] == other[name] for name in other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def _set_gc(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _umask() -> int:
    """The umask of this process, which the system only tells when it is set."""
    before = os.umask(0o077)
    os.umask(before)
    return before


def _handlers() -> dict[signal.Signals, Any]:
    """The signal handlers of Python; DataLoader keeps that of SIGCHLD for good."""
    kept = {getattr(signal, "SIGCHLD", None), getattr(signal, "SIGKILL", None), getattr(signal, "SIGSTOP", None)}
    numbers = (number for number in signal.Signals if number not in kept)
    return {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}


def _set_handlers(before: Mapping[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other thread may set them
        now = _handlers()
        for number, handler in before.items():
            if now.get(number) != handler:
                signal.signal(number, handler)


def _is_alarm_set() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _cancel_alarm(before: bool) -> None:
    """Cancel an alarm that the module set; one of the caller's can't be set again, as nobody knows when it was due."""
    if not before:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limits() -> dict[int, tuple[int, int]]:
    """The resource limits of the process; empty on Windows."""
    try:
        import resource
    except ImportError:
        return {}
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in sorted(numbers)}


def _set_limits(before: Mapping[int, tuple[int, int]]) -> None:
    import resource

    for number, limit in before.items():
        with suppress(ValueError, OSError):  # only root may raise a hard limit again
            if resource.getrlimit(number) != limit:
                resource.setrlimit(number, limit)


def _namespace(module: Any) -> tuple[str, Callable[[], Any], Callable[[Any], Any]]:
    """The public functions of a Python module: whoever replaces time.perf_counter, or torch.equal, does so for all."""
    space = vars(module)
    public = {name: value for name, value in space.items() if name[0] != "_" and name not in LAZILY_REPLACED}
    names = [name for name, value in public.items() if callable(value) and not isinstance(value, type)]
    return (
        f"a function of {module.__name__}",
        lambda: tuple(map(space.get, names)),
        lambda before: space.update(zip(names, before, strict=True)),
    )


def _attribute(name: str, owner: Any, attribute: str) -> tuple[str, Callable[[], Any], Callable[[Any], Any]]:
    return name, lambda: getattr(owner, attribute), lambda value: setattr(owner, attribute, value)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # tells warnings that they have changed
    warnings.filters.pop()  # type: ignore[attr-defined]


PYTHON: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
    *(_namespace(module) for module in (builtins, time, os, json, torch, torch.nn.functional)),
    ("the tracing function", sys.gettrace, sys.settrace),
    ("the profiling function", sys.getprofile, _set_profile),
    ("the tools of sys.monitoring", monitoring_tools, _free_tools),
    ("the tracing function of threads", threading.gettrace, threading.settrace),
    ("the profiling function of threads", threading.getprofile, threading.setprofile),
    ("the working directory", _working_directory, _change_directory),
    ("the environment variables", lambda: _AtLeast(os.environ), _set_environment),
    ("", lambda: dict(os.environ), _set_environment),
    ("the switch of the garbage collector", gc.isenabled, _set_gc),
    ("the thresholds of the garbage collector", gc.get_threshold, lambda value: gc.set_threshold(*value)),
    ("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ("the signal handlers", _handlers, _set_handlers),
    ("the alarm clock", _is_alarm_set, _cancel_alarm),
    _attribute("sys.excepthook", sys, "excepthook"),
    _attribute("sys.unraisablehook", sys, "unraisablehook"),
    _attribute("threading.excepthook", threading, "excepthook"),
    *(_attribute(f"sys.{name}", sys, name) for name in STREAMS.values()),
    ("the umask", _umask, os.umask),
    ("the limits of the process", _limits, _set_limits),
    ("", _filters, _set_filters),
)


@contextmanager
def preserved_streams() -> Iterator[None]:
    """Open standard output and standard error again on exit if code within the context closed or replaced them."""
    saved = {number: copy for number in STREAMS if (copy := _copied(number)) is not None}
    streams = {name: getattr(sys, name) for name in STREAMS.values()}
    try:
        yield
    finally:
        for number, copy in saved.items():
            if _identity(number) != _identity(copy):
                os.dup2(copy, number)
            os.close(copy)
        for number, name in STREAMS.items():
            if number in saved:
                _reopen(streams[name], number)


def _copied(number: int) -> int | None:
    """A second descriptor of an open file; None if the process has none with that number."""
    try:
        return os.dup(number)
    except OSError:
        return None


def _identity(number: int) -> tuple[int, int] | None:
    """The file behind a descriptor; None if it is closed."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reopen(stream: Any, number: int) -> None:
    """Open a closed stream of the interpreter again, in place, since others hold it too: the report, and logging."""
    if type(stream) is io.TextIOWrapper and stream.closed and stream in (sys.__stdout__, sys.__stderr__):
        settings = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": stream.line_buffering}
        raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        stream.__init__(raw, **settings)  # type: ignore[misc]
