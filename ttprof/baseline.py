"""Baselines: the part of a result that later results are compared with, as a small file.

It is JSON with a version, sorted and with one value per line, so that version control can merge it. Samples are int64,
delta-encoded and compressed: a thousand of them take one line of one or two kilobytes. No torch.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof.errors import ResultFileError
from ttprof.result import RESULT_FILE, CaseResult, Environment, Measurement, SuiteResult, load, load_all
from ttprof.system.escape import make_visible
from ttprof.trial_key import Point, TrialKey, as_point
from ttprof.verdict import Status

FORMAT_VERSION = 1
"""Version of the file. History: 1 (2026-11), the first."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one trial; ``samples`` are in base units, packed."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    statistic: str
    value: float
    samples: str = ""

    @property
    def unpacked(self) -> NDArray[np.int64]:
        """The samples; none where they were not stored. Raises ResultFileError where they are damaged."""
        try:
            data = zlib.decompress(base64.b64decode(self.samples, validate=True)) if self.samples else b""
            return np.cumsum(np.frombuffer(data, dtype="<i8"), dtype=np.int64)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise ResultFileError(f"the stored samples of {self.name} are damaged: {error}") from error


class StoredTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A case at one sweep point, with how the case ended."""

    case: str
    point: Point
    status: Status
    inputs: str = ""
    measurements: list[Stored]

    def __post_init__(self) -> None:
        make_visible(self, "case", "inputs")

    @property
    def key(self) -> TrialKey:
        """What pairs it with the trial of another run."""
        return TrialKey(self.case, self.point)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as far as later runs are compared with it."""

    ttprof_baseline: int = FORMAT_VERSION
    name: str
    started: str
    environment: Environment
    trials: list[StoredTrial]

    def save(self, path: str | Path) -> Path:
        """Write the file, making its folder; returns the path. Raises ResultFileError when that fails."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        except OSError as error:
            raise ResultFileError(f"{path}: {error.strerror or error}") from error
        return target


class _BaselineHeader(msgspec.Struct):
    ttprof_baseline: int | None = None


def of(result: SuiteResult) -> Baseline:
    """What is kept of a result."""
    trials = [trial for case in result for trial in trials_of(case)]
    return Baseline(
        name=result.name,
        started=result.started,
        environment=result.environment,
        trials=sorted(trials, key=_order),
    )


def read(path: str | Path) -> Baseline:
    """A baseline file, a result.json, the folder of a run, or a file of several results, all of them as one.

    Raises ResultFileError when it is missing, is none of these, or was written by a newer ttprof.
    """
    file = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
    if file != Path(path) and not file.exists():
        raise ResultFileError(f"{path}: this folder holds no {RESULT_FILE}, so it is not that of a run")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}") from error
    if data.lstrip().startswith(b"["):
        return _merged(load_all(file), path)
    try:
        version = msgspec.json.decode(data, type=_BaselineHeader).ttprof_baseline
        if version is None:
            return of(load(file))
        if not 1 <= version <= FORMAT_VERSION:
            raise ResultFileError(f"{path}: baseline format {version}, and this ttprof reads up to {FORMAT_VERSION}")
        found = msgspec.json.decode(data, type=Baseline, dec_hook=as_point)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultFileError(f"{path}: not a ttprof baseline: {error}") from error
    _check(found, path)
    return found


def history(path: str | Path) -> tuple[list[Baseline], list[str]]:
    """The runs in a folder, the oldest first: its baselines and results, and the folders of runs in it.

    Also the sentences on files of it that can't be read. Raises ResultFileError when it holds no run.
    """
    found, left_out = [], []
    for file in sorted([*Path(path).glob("*.json"), *Path(path).glob("*/result.json")]):
        try:
            found.append(read(file))
        except ResultFileError as error:
            left_out.append(str(error))
    if not found:
        raise ResultFileError(f"{path}: it holds no result and no baseline")
    return sorted(found, key=lambda run: run.started), left_out


def read_for(path: str | Path, suite: str) -> Baseline | None:
    """What a run named *suite* is compared with: of a file of several results its own, or None where it has none.

    Raises ResultFileError like ``read``.
    """
    if Path(path).is_file() and Path(path).read_bytes().lstrip().startswith(b"["):
        return next((of(result) for result in load_all(path) if result.name == suite), None)
    return read(path)


def is_result(path: str | Path) -> bool:
    """Whether a file that can be read is a result, or several, rather than a baseline."""
    data = Path(path).read_bytes()
    return data.lstrip().startswith(b"[") or msgspec.json.decode(data, type=_BaselineHeader).ttprof_baseline is None


def unfit(result: SuiteResult) -> str | None:
    """Why a run can't be a baseline, or None: what it did not measure, no later run would be compared with."""
    if result.interrupted:
        return "the run was interrupted"
    broken = [case.module_name for case in result if case.status is Status.ERROR]
    return f"these cases ended as ERROR: {', '.join(broken)}" if broken else None


def _merged(results: list[SuiteResult], path: str | Path) -> Baseline:
    """Several results as one; where there are more than one, the names of suites go before those of their cases."""
    if not results:
        raise ResultFileError(f"{path}: it holds no result")
    if len(results) == 1:
        return of(results[0])
    trials = [
        msgspec.structs.replace(trial, case=f"{result.name}: {trial.case}")
        for result in results
        for trial in of(result).trials
    ]
    first = results[0]
    return Baseline(
        name=", ".join(result.name for result in results),
        started=first.started,
        environment=first.environment,
        trials=sorted(trials, key=_order),
    )


def _check(found: Baseline, path: str | Path) -> None:
    """Raise ResultFileError for what a careless merge leaves: trials twice, or damaged samples."""
    counts = Counter(trial.key for trial in found.trials)
    twice = sorted({key.case for key, count in counts.items() if count > 1})
    if twice:
        raise ResultFileError(f"{path}: it holds the same trial twice: {', '.join(twice)}")
    for trial in found.trials:
        for stored in trial.measurements:
            _ = stored.unpacked


def _order(trial: StoredTrial) -> tuple[str, list[tuple[str, int]]]:
    """Sorts the trials of a file, so that version control can merge it."""
    return trial.case, sorted(trial.point.items())


def trials_of(case: CaseResult) -> list[StoredTrial]:
    """What a baseline keeps of a case; one trial without measurements for a case that has none."""
    if not case.trials:
        return [StoredTrial(case=case.module_name, point=Point(), status=case.status, measurements=[])]
    return [
        StoredTrial(
            case=case.module_name,
            point=trial.point,
            status=case.status,
            inputs=trial.inputs,
            measurements=sorted(map(_stored, trial.measurements), key=lambda stored: stored.name),
        )
        for trial in case.trials
    ]


def _stored(measurement: Measurement) -> Stored:
    samples = np.asarray(measurement.samples, dtype=np.float64)
    whole = len(samples) > 0 and bool((samples == np.rint(samples)).all())
    return Stored(
        name=measurement.name,
        unit=measurement.unit,
        better=measurement.better,
        statistic=measurement.statistic,
        value=measurement.value,
        samples=pack(samples.astype(np.int64)) if whole else "",
    )


def pack(samples: NDArray[np.int64]) -> str:
    """Pack samples for ``Stored.samples``: delta-encoded, compressed, base64. ``Stored.unpacked`` reverses it."""
    differences = np.diff(samples, prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()
