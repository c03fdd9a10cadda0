"""Baselines: the part of a result that later runs are compared with, in a small file.

The file is versioned JSON, sorted and with one value per line, so that version control can merge it. Samples are
delta-encoded and compressed int64: a thousand take a line of one or two kilobytes. Must not import torch.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof.errors import ResultFileError, writing
from ttprof.machine import MachineUse
from ttprof.measurement import Measurement
from ttprof.operators import OperatorUse
from ttprof.result import RESULT_FILE, CaseResult, Environment, SuiteResult
from ttprof.result_file import check_version, load, load_all, read_file
from ttprof.system import files
from ttprof.system.budget import Budget, OverBudget
from ttprof.system.escape import make_visible, visible_struct
from ttprof.system.instants import instant
from ttprof.thresholds import Thresholds
from ttprof.trial_key import Point, TrialKey, as_point
from ttprof.verdict import Status

Key = TypeVar("Key", TrialKey, str)

FORMAT_VERSION = 1
"""Version of the file format, which goes up as that of results does (``result_file``). History: 1 (2026-11)."""

LARGEST = 2.0**62
"""The size from which a sample is not stored: no time in ns and no count is as large."""

BUSY = 0.1
"""The part of the timed iterations in which others had the CPU from which a baseline was recorded on a busy machine."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one trial. ``value`` is in ``unit``; ``samples`` are in base units, compressed.

    ``values`` has the value in each process if several recorded it (``pooling``); ``samples`` are then those of all,
    one process after the other, and ``counts`` says how many each took.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    statistic: str
    value: float
    samples: str = ""
    values: list[float] = []
    counts: list[int] = []

    @property
    def unpacked(self) -> NDArray[np.int64]:
        """The samples; empty if none are stored. Raises ResultFileError if they are damaged."""
        return _unpacked(self, Budget(len(self.samples)))


class StoredTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, the status of its case, and the thresholds by which it is compared.

    ``disturbed`` is the part of its timed iterations in which other processes had the CPU, ``yardstick`` has the times
    of a fixed workload between them, in ns. ``left_out`` counts the processes whose times are not among them, because
    the machine was slower meanwhile.
    """

    case: str
    point: Point
    status: Status
    inputs: str = ""
    measurements: list[Stored]
    thresholds: Thresholds = Thresholds()
    disturbed: float = 0.0
    yardstick: dict[str, float] = {}
    left_out: int = 0
    operators: list[OperatorUse] = []

    def __post_init__(self) -> None:
        make_visible(self, "case", "inputs")

    @property
    def key(self) -> TrialKey:
        """The key by which trials of two runs are paired."""
        return TrialKey(self.case, self.point)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a run that later runs are compared with; ``processes`` recorded it."""

    ttprof_baseline: int = FORMAT_VERSION
    name: str
    started: str
    environment: Environment
    trials: list[StoredTrial]
    processes: int = 1

    @property
    def caveat(self) -> str:
        """A clause on other processes that disturbed many of the timed iterations; empty if they did not."""
        return caveat([trial.disturbed for trial in self.trials if trial.measurements])

    def save(self, path: str | Path) -> Path:
        """Write the file, creating its folder if needed, and return the path.

        Raises ResultFileError on failure; an existing file is then as it was.
        """
        with writing(path):
            return files.replace(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


class _BaselineHeader(msgspec.Struct):
    ttprof_baseline: int | None = None


def caveat(disturbed: Sequence[float]) -> str:
    """A clause on trials of a baseline, from the part of each that other processes disturbed; empty if it was small."""
    share = sum(disturbed) / len(disturbed) if disturbed else 0.0
    if share < BUSY:
        return ""
    percent = f"{100 * share:.0f} %"
    return f"recorded on a busy machine: other processes had the CPU in or around {percent} of its timed iterations"


def of(result: SuiteResult) -> Baseline:
    """Return the baseline of a result."""
    trials = [trial for case in result for trial in trials_of(case)]
    return Baseline(
        name=result.name,
        started=result.started,
        environment=result.environment,
        trials=sorted(trials, key=_order),
    )


def read(path: str | Path) -> Baseline:
    """Read a baseline.

    Args:
        path: a baseline file, a result file, the folder of a run, or a file of several results, which are merged.

    Raises:
        ResultFileError: the file is missing, is none of these, or was written by a newer ttprof.
    """
    file = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
    if file != Path(path) and not file.exists():
        raise ResultFileError(f"this folder has no {RESULT_FILE}, so it is not the folder of a run", path)
    data = read_file(file)
    if data.lstrip().startswith(b"["):
        return _merged(load_all(file), path)
    try:
        version = msgspec.json.decode(data, type=_BaselineHeader).ttprof_baseline
        if version is None:
            return of(load(file))
        check_version(version, FORMAT_VERSION, path)
        baseline = visible_struct(msgspec.json.decode(data, type=Baseline, dec_hook=as_point))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResultFileError(f"not a ttprof baseline: {error}", path) from error
    _check(baseline, Budget(len(data)), path)
    return baseline


def history(path: str | Path) -> tuple[list[Baseline], list[str]]:
    """Read all runs of a folder: baselines, results, and the folders of runs.

    Returns:
        The runs, the oldest first, and an error message for each file that can't be read.

    Raises:
        ResultFileError: the folder contains no run.
    """
    runs, errors = [], []
    for file in sorted([*Path(path).glob("*.json"), *Path(path).glob("*/result.json")]):
        try:
            runs.append(read(file))
        except ResultFileError as error:
            errors.append(str(error))
    if not runs:
        raise ResultFileError("this folder has no result and no baseline", path)
    return sorted(runs, key=lambda run: instant(run.started)), errors


def read_for(path: str | Path, suite: str) -> Baseline | None:
    """Read the baseline of a suite: of a file of several results the one of that name, or None if there is none.

    Raises:
        ResultFileError: as for ``read``.
    """
    if Path(path).is_file() and read_file(path).lstrip().startswith(b"["):
        return next((of(result) for result in load_all(path) if result.name == suite), None)
    return read(path)


def results_of(path: str | Path) -> list[SuiteResult]:
    """The results that a result file, a file of several, or the folder of a run contains; none if it is a baseline.

    Raises:
        ResultFileError: as for ``read``.
    """
    file = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
    return load_all(file) if file.exists() and is_result(file) else []


def is_result(path: str | Path) -> bool:
    """Whether a file contains one or more results, and not a baseline. Raises ResultFileError if it is neither."""
    data = read_file(path)
    try:
        return data.lstrip().startswith(b"[") or msgspec.json.decode(data, type=_BaselineHeader).ttprof_baseline is None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResultFileError(f"not a ttprof result or baseline: {error}", path) from error


def reason_unfit(result: SuiteResult) -> str | None:
    """Why a run can't be a baseline, because later runs would not be compared with the missing parts; or None."""
    if result.interrupted:
        return "the run was interrupted"
    if result.shard:
        return f"it is shard {result.shard} of its suite; ttprof merge makes one result of all shards"
    names = [case.module_name for case in result if case.status is Status.ERROR]
    return f"these cases ended as ERROR: {', '.join(names)}" if names else None


def _merged(results: list[SuiteResult], path: str | Path) -> Baseline:
    """Merge results into one baseline; if there is more than one, case names get the name of their suite as prefix."""
    if not results:
        raise ResultFileError("the file contains no result", path)
    if len(results) == 1:
        return of(results[0])
    trials = [
        msgspec.structs.replace(trial, case=case_name(result, trial.case, results))
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


def case_name(result: SuiteResult, case: str, results: Sequence[SuiteResult]) -> str:
    """The name of a case of one of several *results* in the baseline of all of them."""
    return case if len(results) == 1 else f"{result.name}: {case}"


def _unpacked(stored: Stored, budget: Budget) -> NDArray[np.int64]:
    """The samples of a measurement, which may be damaged or unpack to far more than they should."""
    unpack = zlib.decompressobj()
    try:
        packed = base64.b64decode(stored.samples, validate=True)
        data = unpack.decompress(packed, budget.samples_left + 1) if packed else b""
        budget.samples(len(data))
        if packed and not unpack.eof:
            raise zlib.error("incomplete data")
        return np.cumsum(np.frombuffer(data, dtype="<i8"), dtype=np.int64)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ResultFileError(f"the stored samples of {stored.name} are damaged: {error}") from error
    except OverBudget as error:
        raise ResultFileError(f"the stored samples of {stored.name} are damaged: {error.reason}") from error


def _check(baseline: Baseline, budget: Budget, path: str | Path) -> None:
    """Raise ResultFileError for what no run records: the leftovers of a careless merge, and damage."""
    twice = sorted({key.case for key in _twice(trial.key for trial in baseline.trials)})
    if twice:
        raise ResultFileError(f"the file contains the same trial twice: {', '.join(twice)}", path)
    if baseline.processes < 1:
        raise ResultFileError(f"processes must be at least 1, got {baseline.processes}", path)
    for trial in baseline.trials:
        if twice := _twice(stored.name for stored in trial.measurements):
            raise ResultFileError(f"the file contains {', '.join(twice)} of {trial.case} twice", path)
        if not 0 <= trial.disturbed <= 1:
            raise ResultFileError(f"disturbed must be from 0 to 1, got {trial.disturbed} of {trial.case}", path)
        for stored in trial.measurements:
            try:
                _check_stored(stored, len(_unpacked(stored, budget)))
            except ResultFileError as error:
                raise ResultFileError(error.reason, path) from error


def _check_stored(stored: Stored, samples: int) -> None:
    """Raise ResultFileError unless the numbers of a measurement fit each other and its number of *samples*."""
    if not all(map(math.isfinite, (stored.value, *stored.values))):
        raise ResultFileError(f"the stored values of {stored.name} are not all finite")
    if stored.counts and (sum(stored.counts) != samples or min(stored.counts) < 0):
        raise ResultFileError(f"the stored samples of {stored.name} are not as many as its counts say")
    if stored.counts and len(stored.counts) != len(stored.values):
        raise ResultFileError(f"{stored.name} has {len(stored.values)} values, but counts of {len(stored.counts)}")


def _twice(keys: Iterable[Key]) -> list[Key]:
    """What occurs more than once."""
    return [key for key, count in Counter(keys).items() if count > 1]


def _order(trial: StoredTrial) -> tuple[str, list[tuple[str, int]]]:
    """Sort key for the trials of a file."""
    return trial.case, sorted(trial.point.items())


def trials_of(case: CaseResult) -> list[StoredTrial]:
    """Return the trials of a case for a baseline; a case without trials gets one without measurements."""
    if not case.trials:
        return [StoredTrial(case=case.module_name, point=Point(), status=case.status, measurements=[])]
    return [
        StoredTrial(
            case=case.module_name,
            point=trial.point,
            status=case.status,
            inputs=trial.inputs,
            thresholds=case.thresholds,
            operators=trial.operators,
            disturbed=len(trial.machine.disturbed) / trial.iterations if trial.machine and trial.iterations else 0.0,
            yardstick=trial.machine.yardstick if trial.machine else {},
            measurements=sorted((stored(m, trial.machine) for m in trial.measurements), key=lambda m: m.name),
        )
        for trial in case.trials
    ]


def stored(measurement: Measurement, machine: MachineUse | None) -> Stored:
    """A measurement for a baseline, its times without what disturbed iterations waited for other processes."""
    samples = measurement.samples
    return stored_samples(measurement, samples if machine is None else machine.counted(samples, measurement.timed))


def stored_samples(measurement: Measurement, counted: list[float]) -> Stored:
    """A measurement with these samples."""
    samples = np.asarray(counted, dtype=np.float64)
    storable = len(samples) > 0 and bool((np.abs(samples) < LARGEST).all())  # false for NaN too
    whole = storable and (measurement.timed != "never" or bool((samples == np.rint(samples)).all()))
    return Stored(
        name=measurement.name,
        unit=measurement.unit,
        better=measurement.better,
        statistic=measurement.statistic,
        value=measurement.value,
        samples=pack(np.rint(samples).astype(np.int64)) if whole else "",
    )


def pack(samples: NDArray[np.int64]) -> str:
    """Pack samples for ``Stored.samples``: delta-encoded, compressed, base64. ``Stored.unpacked`` reverses it."""
    differences = np.diff(samples, prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()
