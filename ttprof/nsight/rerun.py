"""Re-runs the script under Nsight: the request to the second process, and its answer. Must not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ttprof import rerun
from ttprof.errors import NsightError
from ttprof.system import files

ANSWER = "recorded.json"
"""The file name of the answer."""

SCRIPT_HINT = "put the suite into a script and type: ttprof run --backend {} SCRIPT"


class Recorded(msgspec.Struct, frozen=True):
    """A recorded trial: *what* describes its workload; the peaks, in bytes per iteration, are null without CUDA."""

    what: str
    iterations: int
    peak_allocated: list[int] | None = None
    peak_reserved: list[int] | None = None
    peak_added: list[int] | None = None


class Answer(msgspec.Struct):
    """The recorded trials by ``str(TrialKey)``, the errors by case, and an error of the entire suite."""

    trials: dict[str, Recorded] = {}
    errors: dict[str, str] = {}
    error: str | None = None

    def save(self, folder: Path) -> None:
        """Write the answer to *folder*, where the first process reads it."""
        save(folder / ANSWER, msgspec.json.encode(self))


def save(path: Path, data: bytes | str) -> None:
    """Write a file of the recording. Raises NsightError if that fails."""
    try:
        files.replace(path, data)
    except OSError as error:
        raise NsightError(f"{path}: {error.strerror or error}") from error


def read_answer(folder: Path) -> Answer | None:
    """The answer of the second process in *folder*; None if it wrote none."""
    try:
        return msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None


def write_request(folder: Path, suite: str, cases: Sequence[str], replayed: bool = False) -> dict[str, str]:
    """Write a request, delete any old answer, and return the environment variables for the second process."""
    (folder / ANSWER).unlink(missing_ok=True)
    request = rerun.RecordRequest(
        folder=str(folder.resolve()),
        suite=suite,
        cases=list(cases),
        earlier=list(rerun.finished()),
        raises=rerun.raises(),
        shard=rerun.shard(),
        replayed=replayed,
    )
    file = folder / "request.json"
    try:
        return rerun.save(request, file)
    except OSError as error:
        raise NsightError(f"{file}: {error.strerror or error}") from error


def command(backend: str) -> list[str]:
    """The command that re-runs this script. Raises NsightError, with a way out, if that is not safe."""
    try:
        if rerun.is_of_test():
            raise rerun.NotRepeatable("a session of pytest is not run twice for one suite")
        return rerun.command()
    except rerun.NotRepeatable as why:
        raise NsightError(
            f"backend={backend!r} runs the script a second time, and {why}; {SCRIPT_HINT.format(backend)}"
        ) from why
