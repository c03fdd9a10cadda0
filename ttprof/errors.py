"""The exceptions that ttprof raises, and the conversion of exceptions from user code into ``ModuleRaised``.

A message says what went wrong, where, and how to fix it. Only the command line and the pytest plugin print errors or
turn them into exit codes.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ttprof.codes import TraceErrorCode
from ttprof.system.ambient import Ambient
from ttprof.system.children import end_if_forked


def printable(text: str) -> str:
    """Return *text* with undecodable bytes of a path replaced by question marks, so that it can always be encoded."""
    return text.encode(errors="replace").decode()


class TtprofError(Exception):
    """Base of all errors raised by ttprof. They can be pickled, as worker processes need it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.args, vars(self))


def _unpickled(kind: type[TtprofError], args: tuple[Any, ...], attributes: dict[str, Any]) -> TtprofError:
    """The error with this message; the arguments of its class made the message, and are gone."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


class SpecError(TtprofError, ValueError):
    """An invalid argument, raised at the line that passed it."""


class UnknownNameError(SpecError, KeyError):
    """A name that does not exist; the message lists the closest valid names."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], where: str = "") -> None:
        super().__init__(f"unknown {kind} {name!r}; {nearest(name, valid)}" + (f" ({where})" if where else ""))

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class UnknownMethodError(SpecError, AttributeError):
    """A method that a suite or a builder lacks; the message lists the closest ones."""

    def __init__(self, cls: type, name: str) -> None:
        public = (attribute for attribute in dir(cls) if not attribute.startswith("_"))
        super().__init__(f"{cls.__name__} has no method {name!r}; {nearest(name, public)}")


class ProfilerRunningError(TtprofError):
    """A profiler that ttprof did not start records this thread: nothing can be timed or recorded under it."""


class InputsError(TtprofError):
    """The inputs of a module could not be captured or synthesised."""


class ModuleRaised(TtprofError):
    """The user's own code (a module, a reference, an input factory) raised an exception."""


class TraceError(TtprofError):
    """A trace file that is missing, truncated, or not a trace; ``code`` says which.

    The message is the ``reason``, after the ``path`` of the file if one is given.
    """

    def __init__(self, reason: str, code: TraceErrorCode, path: object = None) -> None:
        super().__init__(reason, code, path)  # all of them, so that the error can be pickled
        self.reason = reason
        self.code = code
        self.path = path

    @classmethod
    def from_os(cls, path: object, error: OSError) -> TraceError:
        """Build the error for a file at *path* that could not be opened or read."""
        missing = isinstance(error, FileNotFoundError)
        code = TraceErrorCode.NOT_FOUND if missing else TraceErrorCode.UNREADABLE
        return cls(error.strerror or str(error), code, path)

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


class NsightError(TtprofError):
    """An Nsight tool that is missing, too old or not permitted, or that wrote no output."""


class ResultFileError(TtprofError):
    """A saved result that is missing, damaged, or in a newer format.

    The message is the ``reason``, after the ``path`` of the file if one is given.
    """

    def __init__(self, reason: str, path: object = None) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Raise ResultFileError, with the path and the system's reason, for an OSError within the context."""
    try:
        yield
    except OSError as error:
        raise ResultFileError(error.strerror or str(error), path) from error


class SuiteFailed(AssertionError, TtprofError):
    """At least one case of a suite failed or could not be judged. Raised at the end of the suite's ``with`` block.

    The message is the table of failures. It is an AssertionError, so that test runners count it as a failure.

    ```python
    try:
        with TestSuite(model, seq_len=128) as suite:
            suite.test(model.attention).expect(latency_ms=5.0)
    except SuiteFailed as failed:
        failed.result.save("failed.json")
        print([case.module_name for case in failed.failures])
    ```
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result
        """The complete ``SuiteResult``."""

    @property
    def failures(self) -> list[Any]:
        """The cases that fail the run, as in ``SuiteResult.failures``; empty if the error has no result."""
        return list(getattr(self.result, "failures", []))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Describe the valid names closest to *name*, or some of the valid names if none is close."""
    names = sorted(set(valid))
    if not names:
        return "there are none"
    close = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    close += [n for n in names if n.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1] and n not in close]
    if close:
        return "did you mean " + ", ".join(repr(n) for n in close[:5]) + "?"
    return "valid are " + ", ".join(repr(n) for n in names[:12]) + (", …" if len(names) > 12 else "")


def end_at_the_user(error: BaseException) -> None:
    """Drop trailing frames of ttprof and the standard library, so that the traceback ends at the user's line."""
    last, entry = None, error.__traceback__
    while entry is not None:
        package = entry.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package != "ttprof" and package not in sys.stdlib_module_names:
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None


_INTERNAL = tuple(
    str(Path(spec.origin).parent)
    for spec in (importlib.util.find_spec(name) for name in ("torch", "ttprof"))
    if spec is not None and spec.origin is not None
)
"""The folders of torch and of this package: an exception is reported at the user's line that led there."""

_STANDARD = str(Path(traceback.__file__).parent)
"""The folder of the standard library, which is left out too, but for the packages that are installed in it."""


def is_users(file: str) -> bool:
    """Whether a file of Python code is the user's or a library's, not of ttprof, torch or the standard library."""
    standard = file.startswith(("<frozen", _STANDARD)) and "-packages" not in file
    return not standard and not file.startswith(_INTERNAL)


class ControlFlow(BaseException):
    """Base of internal exceptions that unwind through user code and that ttprof catches itself."""


_ends_a_run: Ambient[tuple[type[BaseException], ...]] = Ambient((KeyboardInterrupt,))


def ending_runs(kinds: tuple[type[BaseException], ...]) -> AbstractContextManager[object]:
    """Let these exceptions end a run within the context, by default KeyboardInterrupt; any other ends its case only."""
    return _ends_a_run.set_to(kinds)


def ends_a_run() -> tuple[type[BaseException], ...]:
    """The exceptions that end a run."""
    return _ends_a_run.value


def users_line(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line of the user's or a library's code, such as ``model.py:12``; that of any code without one."""
    users = [frame for frame in frames if is_users(frame.filename)]
    last = (users or frames)[-1] if frames else None
    return f"{last.filename}:{last.lineno}" if last is not None else ""


def _message(error: BaseException) -> str:
    """The message of an exception, whose class may be too broken to tell it."""
    try:
        return str(error)
    except Exception as broken:
        return f"(its text raised {type(broken).__name__})"


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Run user code and convert any exception into ``ModuleRaised`` with its location.

    This includes SystemExit, whose exit code would otherwise end a CI job without reporting the suite. ttprof's own
    errors and the exceptions that end a run propagate unchanged.

    Args:
        what: the code that runs, as the subject of the message: "the forward of Attention".

    Raises:
        ModuleRaised: the user code raised an exception.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, (TtprofError, ControlFlow, *ends_a_run())):
            raise
        line = users_line(traceback.extract_tb(error.__traceback__)[1:])
        place = f" (at {line})" if line else ""
        text = " ".join(_message(error).split()) or "no message"
        text = text if len(text) <= 400 else text[:400] + " …"
        raise ModuleRaised(f"{what} raised {type(error).__name__}: {text}{place}") from error
    finally:
        end_if_forked()
