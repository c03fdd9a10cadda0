"""Loads saved results, of the current format version and of earlier ones. Must not import torch.

An older ttprof ignores fields that it does not know, and rejects values that it does not know. So ``FORMAT_VERSION``
goes up, once per release, if a field was renamed, removed, made required or given another meaning or type, or if an
enumeration of the file (``Status``, ``Kind``, ``VerdictCode``, ``NoteCode``, ``Throttle``) has a new member; an
optional field alone leaves it.
"""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import msgspec

from ttprof.codes import Kind, NoteCode, VerdictCode
from ttprof.errors import ResultFileError
from ttprof.result import FORMAT_VERSION, RESULT_FILE, SuiteResult, TrialResult
from ttprof.system.budget import WHOLE_BYTES
from ttprof.system.escape import visible_struct
from ttprof.system.files import open_regular
from ttprof.system.process import no_gc
from ttprof.trial_key import as_point
from ttprof.verdict import Status


class _ResultHeader(msgspec.Struct):
    version: int


class _Coded(msgspec.Struct):
    """The codes of a verdict or a note, known or not."""

    code: str
    kind: str = Kind.UNSTATED.value
    status: str = Status.SKIP.value


class _TrialCodes(msgspec.Struct):
    notes: list[_Coded] = []


class _CaseCodes(msgspec.Struct):
    status: str
    verdicts: list[_Coded] = []
    trials: list[_TrialCodes] = []


class _ResultCodes(msgspec.Struct):
    cases: list[_CaseCodes]


def decode(data: bytes | str) -> SuiteResult:
    """Decode the JSON of a result, of the current format version or an earlier one, with every text made visible.

    Raises:
        msgspec.MsgspecError: the data is not a result.
        ResultFileError: a newer ttprof wrote it, or it contains codes that this one does not know.
    """
    version = msgspec.json.decode(data, type=_ResultHeader).version
    check_version(version, FORMAT_VERSION)
    if version == 1:
        with no_gc():  # a hostile file may have millions of values, which it would visit over and over
            whole = _from_version_1(msgspec.json.decode(data))
            return visible_struct(msgspec.convert(whole, SuiteResult, dec_hook=as_point))
    try:
        return visible_struct(msgspec.json.decode(data, type=SuiteResult, dec_hook=as_point))
    except msgspec.ValidationError as error:
        unknown = _unknown_codes(data)
        if not unknown:
            raise
        raise ResultFileError(
            f"unknown {', '.join(unknown)}: written by a newer ttprof (also format {version}), or edited; update ttprof"
        ) from error


def check_version(version: int, newest: int, path: str | Path | None = None) -> None:
    """Check that a file's format version is one from 1 to the *newest* that this ttprof reads.

    Raises:
        ResultFileError: it is not.
    """
    if version > newest:
        raise ResultFileError(
            f"written by a newer ttprof (format {version}, this one reads up to {newest}): update ttprof", path
        )
    if version < 1:
        raise ResultFileError(f"not a ttprof file: the format is 1 or more, got {version}", path)


def _unknown_codes(data: bytes | str) -> list[str]:
    """Describe the codes of a result that this ttprof does not know; empty if its cases have another structure."""
    try:
        cases = msgspec.json.decode(data, type=_ResultCodes).cases
    except msgspec.ValidationError:
        return []
    verdicts = [verdict for case in cases for verdict in case.verdicts]
    used: list[tuple[str, type[enum.Enum], list[str]]] = [
        ("status", Status, [case.status for case in cases] + [verdict.status for verdict in verdicts]),
        ("kind", Kind, [verdict.kind for verdict in verdicts]),
        ("verdict code", VerdictCode, [verdict.code for verdict in verdicts]),
        ("note code", NoteCode, [note.code for case in cases for trial in case.trials for note in trial.notes]),
    ]
    return [
        f"{what} {value!r}"
        for what, known, values in used
        for value in dict.fromkeys(values)
        if value not in {member.value for member in known}
    ]


def _from_version_1(result: dict[str, Any]) -> dict[str, Any]:
    """Convert a result of version 1 to the current schema; its verdicts and notes get the code "unstated"."""
    for case in result.get("cases", []):
        trials = case.get("trials", [])
        better = {m["name"]: m["better"] for trial in trials for m in trial.get("measurements", [])}
        for verdict in case.get("verdicts", []):
            verdict |= {"kind": Kind.UNSTATED.value, "code": VerdictCode.UNSTATED.value}
            limit = verdict.pop("limit", None)
            if verdict.get("bound") is None and limit is not None:
                at_least = better.get(verdict.get("metric")) == "higher"
                verdict["bound"] = [limit, None] if at_least else [None, limit]
        for trial in trials:
            trial["notes"] = [{"code": NoteCode.UNSTATED.value, "text": text} for text in trial.get("notes", [])]
    return {**result, "version": FORMAT_VERSION}


def load(path: str | Path) -> SuiteResult:
    """Load a saved result. Needs neither torch nor the device that the result was measured on.

    Args:
        path: a file written by ``SuiteResult.save``, or the ``result.json`` of a run's folder. If that folder was
            moved, the paths of its traces are updated.

    Returns:
        The result, equal to the one that was saved (but for the paths of moved traces).

    Raises:
        ResultFileError: the file is missing, is not a result, or was written by a newer ttprof.

    ```python
    path = result.save("result.json")
    print(load(path)["attention"].metrics["latency_ms"])
    ```
    """
    return _decode_file(read_file(path), path)


def load_all(path: str | Path) -> list[SuiteResult]:
    """Load every result of a file that contains one result or a list of them.

    Raises:
        ResultFileError: as for ``load``.
    """
    data = read_file(path)
    if not data.lstrip().startswith(b"["):
        return [_decode_file(data, path)]
    try:
        parts = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResultFileError(f"not a list of ttprof results: {error}", path) from error
    return [_decode_file(bytes(part), path) for part in parts]


def read_file(path: str | Path) -> bytes:
    """The bytes of a result or a baseline. Raises ResultFileError if it can't be read, or is too large."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            if size > WHOLE_BYTES:
                raise ResultFileError(f"{size} bytes, more than the {WHOLE_BYTES} of any result or baseline", path)
            file.seek(0)
            return file.read(size)
    except OSError as error:
        raise ResultFileError(error.strerror or str(error), path) from error


def moved(result: SuiteResult, folder: Path) -> SuiteResult:
    """Return the result with *folder* as its run folder; trace paths below the old folder are moved along."""
    old = Path(result.run_dir)

    def relocate(trial: TrialResult) -> TrialResult:
        path = Path(trial.trace_path) if trial.trace_path is not None else None
        if path is None or not path.is_relative_to(old):
            return trial
        return msgspec.structs.replace(trial, trace_path=str(folder / path.relative_to(old)))

    cases = [msgspec.structs.replace(case, trials=[relocate(trial) for trial in case.trials]) for case in result]
    return msgspec.structs.replace(result, cases=cases, run_dir=str(folder))


def _relocated(result: SuiteResult, file: Path) -> SuiteResult:
    """Update the trace paths of a result whose run folder was moved together with its traces."""
    if file.name != RESULT_FILE or Path(result.run_dir) == file.parent:
        return result
    relocated = moved(result, file.parent)
    pairs = zip(_trace_paths(result), _trace_paths(relocated), strict=True)
    return relocated if any(new != old and _exists(new) for old, new in pairs) else result


def _exists(path: str) -> bool:
    """Whether there is such a file; False for what can't be a path."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _trace_paths(result: SuiteResult) -> list[str]:
    return [trial.trace_path for case in result for trial in case.trials if trial.trace_path is not None]


def _decode_file(data: bytes, path: str | Path) -> SuiteResult:
    try:
        return _relocated(decode(data), Path(path))
    except ResultFileError as error:
        raise ResultFileError(error.reason, path) from error
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ResultFileError(f"not a ttprof result: {error}", path) from error
