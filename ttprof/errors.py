"""Every exception that ttprof raises on purpose, and the one place where exceptions of the user's code become ours.

Messages say what was wrong, where, and how to mend it. Only the command line and the pytest plugin print them or turn
them into exit codes.
"""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ttprof.codes import TraceErrorCode


def printable(text: str) -> str:
    """*text* as every terminal and file takes it: bytes of a path that are no characters become question marks."""
    return text.encode(errors="replace").decode()


class TtprofError(Exception):
    """Base of all errors raised by ttprof."""


class SpecError(TtprofError, ValueError):
    """A wrong argument, raised at the line that wrote it."""


class UnknownNameError(SpecError, KeyError):
    """A name that nothing answers to; the message lists the nearest valid ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        super().__init__(f"unknown {kind} {name!r}; {nearest(name, known)}" + (f" ({where})" if where else ""))

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would put it in quotes


class InputsError(TtprofError):
    """The inputs of a module could not be captured or synthesised."""


class ModuleRaised(TtprofError):
    """The user's own code (a module, a reference, an input factory) raised an exception."""


class TraceError(TtprofError):
    """A trace file that is missing, truncated, or not a trace; ``code`` says which."""

    def __init__(self, message: str, code: TraceErrorCode) -> None:
        super().__init__(message, code)  # both, so that it can be pickled
        self.code = code

    @classmethod
    def from_os(cls, path: object, error: OSError) -> TraceError:
        """The error for a file at *path* that the operating system did not open or read."""
        missing = isinstance(error, FileNotFoundError)
        code = TraceErrorCode.NOT_FOUND if missing else TraceErrorCode.UNREADABLE
        return cls(f"{path}: {error.strerror or error}", code)

    def __str__(self) -> str:
        return str(self.args[0])


class NsightError(TtprofError):
    """A tool of Nsight that is missing, too old or not permitted, or that wrote nothing."""


class ResultFileError(TtprofError):
    """A saved result that is missing, broken, or of a newer format."""


class SuiteFailed(AssertionError, TtprofError):
    """Raised on leaving a suite of which a case failed or could not be judged.

    ``result`` is the complete ``SuiteResult``; the message is the table of failures.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result

    @property
    def failures(self) -> list[Any]:
        """The cases that failed; none where somebody else raised this without a result."""
        return list(getattr(self.result, "failures", []))


def nearest(name: str, known: Iterable[str]) -> str:
    """One clause that names the valid names closest to *name*, or some of them when none is close."""
    names = sorted(set(known))
    if not names:
        return "there are none"
    close = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    close += [n for n in names if n.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1] and n not in close]
    if close:
        return "did you mean " + ", ".join(repr(n) for n in close[:5]) + "?"
    return "valid are " + ", ".join(repr(n) for n in names[:12]) + (", …" if len(names) > 12 else "")


def end_at_the_user(error: BaseException) -> None:
    """Drop our own and the standard library's frames from the end of a traceback: it ends at the user's line."""
    last, entry = None, error.__traceback__
    while entry is not None:
        room = entry.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if room != "ttprof" and room not in sys.stdlib_module_names:
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None


class ControlFlow(BaseException):
    """Base of private exceptions that unwind through the user's code and are caught by ttprof itself."""


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Run the user's code: whatever it raises becomes ``ModuleRaised`` and says where it came from.

    That includes SystemExit, which would end a CI job with a code that says nothing of the suite. Errors of ttprof
    itself and KeyboardInterrupt pass unchanged.
    """
    try:
        yield
    except (TtprofError, ControlFlow, KeyboardInterrupt):
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" (at {frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""
        text = " ".join(str(error).split()) or "no message"
        text = text if len(text) <= 400 else text[:400] + " …"
        raise ModuleRaised(f"{what} raised {type(error).__name__}: {text}{place}") from error
