"""The result schema that every report reads: frozen data that is JSON and back without loss.

A result carries its format version and copies each metric's label, unit and direction, so that old files still render.
No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.errors import ResultFileError, UnknownNameError
from ttprof.system.escape import make_visible, visible
from ttprof.trial_key import Point, as_point
from ttprof.verdict import Status, Verdict

RESULT_FILE = "result.json"
"""The file of a result in the folder of its run."""

FORMAT_VERSION = 2
"""Version of the JSON. History:

1. 2026-11, the first; ``TrialResult.worst`` was added later and is null in earlier files.
2. 2026-11: verdicts and notes have codes, verdicts have a ``kind``, and ``Verdict.limit`` is gone: ``bound`` says it.
"""

Number = float | Literal["nan", "inf", "-inf"]
"""A value of a tensor: JSON has no other word for those three."""

ALWAYS_SHOWN = ("latency_ms", "kernel_time_ms", "memory_mb", "rel_error", "speedup")
"""The metrics that every table of cases begins with, as far as they were measured."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one trial: ``value`` in the public ``unit``, ``samples`` in base units (ns, bytes, counts).

    A statistic of samples that another metric keeps has none of its own: ``samples_of`` names that one.
    """

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    statistic: str
    value: float
    samples: list[float] = []
    samples_of: str = ""


def with_samples(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of one side of a trial, each with the samples that it is a statistic of."""
    kept = {m.name: m.samples for m in measurements}
    return [msgspec.structs.replace(m, samples=kept.get(m.samples_of, m.samples)) for m in measurements]


class LawFit(msgspec.Struct, frozen=True, kw_only=True):
    """One law fitted to the values of a sweep: ``intercept + factor * shape(size)``, both at least 0, in base units.

    ``r2`` is the adjusted R² of the logarithms, at most 1: the share of their variance that the law explains.
    """

    law: str
    intercept: float
    factor: float
    r2: float


class ScalingFit(msgspec.Struct, frozen=True, kw_only=True):
    """The fit of a metric over a sweep: its samples by size (``rounds``) and their minima (``values``), in base units.

    ``exponent`` is the log-log slope of what is above the intercept of the best law, ``interval`` holds it with 95 %
    confidence. ``laws`` are fitted each, the best first. ``overhead`` and ``quadratic`` are the shares of the largest
    value that do not grow, and that grow with the square of the size; ``crossover`` is the size from which the
    quadratic term is larger than the linear one, null where one of them is missing. ``coefficients`` are those of the
    polynomial, constant first, where the values follow one exactly. ``heap_kept``: while it was measured, the
    allocator gave no memory back to the system. ``extended`` tells what was measured beyond
    what was asked for, because the verdict was open.
    """

    metric: str
    axis: str
    law: str
    at_most: bool = False
    sizes: list[int]
    values: list[float]
    rounds: list[list[float]] = []
    exponent: float
    interval: tuple[float, float]
    laws: list[LawFit] = []
    overhead: float = 0.0
    quadratic: float = 0.0
    crossover: float | None = None
    threads: int = 0
    heap_kept: bool = False
    coefficients: list[float] | None = None
    extended: list[str] = []

    def __post_init__(self) -> None:
        """Raise ValueError for what no sweep gives, so that a damaged file is no result."""
        if not self.sizes or min(self.sizes) < 1 or len(self.values) != len(self.sizes):
            raise ValueError(f"a fit of {self.metric} needs sizes from 1 on, and a value for each")
        if self.rounds and len(self.rounds) != len(self.sizes):
            raise ValueError(f"a fit of {self.metric} has {len(self.rounds)} rounds for {len(self.sizes)} sizes")


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """The element of an output that is furthest from its ``reference``: where it is, its value and the expected one."""

    reference: str
    path: str
    index: list[int]
    value: Number
    expected: Number


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """A case at one sweep point: which inputs it had, how it was timed, and what was measured on it.

    The iterations were ``interleaved`` with those of so many workloads in all (sweep points, references), after
    ``warmup`` calls that were ``steady`` at their end, until ``stopped`` says why. ``worst`` is null where nothing was
    compared with a reference.
    """

    point: Point
    inputs: str
    inputs_source: str
    measurements: list[Measurement] = []
    warmup: int = 0
    iterations: int = 0
    recorded: int = 0
    threads: int = 0
    interleaved: int = 1
    steady: bool = True
    stopped: str = ""
    trace_path: str | None = None
    worst: Element | None = None
    top_ops: list[tuple[str, float]] = []
    reference: list[Measurement] = []
    notes: list[Note] = []

    def __post_init__(self) -> None:
        make_visible(self, "inputs")

    @property
    def metrics(self) -> dict[str, float]:
        """Public metric names and their values in public units."""
        return {m.name: m.value for m in self.measurements}


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One case: its status, its verdicts, and a trial for each sweep point (the largest point last)."""

    __test__: ClassVar[bool] = False

    module_name: str
    module_type: str
    status: Status
    source: str
    verdicts: list[Verdict] = []
    trials: list[TrialResult] = []
    scaling: ScalingFit | None = None

    def __post_init__(self) -> None:
        make_visible(self, "module_name", "module_type", "source")

    @property
    def passed(self) -> bool:
        """Whether the status is PASS."""
        return self.status is Status.PASS

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the largest sweep point (of the only one where there is no sweep)."""
        return self.trials[-1].metrics if self.trials else {}

    @property
    def trace_path(self) -> str | None:
        """The trace of the largest sweep point."""
        return self.trials[-1].trace_path if self.trials else None

    def verdicts_at(self, point: Point) -> list[Verdict]:
        """The verdicts that hold for the trial at *point*: those of the point, and those of the case as a whole."""
        return [verdict for verdict in self.verdicts if not verdict.point or verdict.point == point]

    @property
    def interrupted(self) -> bool:
        """Whether an interrupt came before the case was finished."""
        return any(verdict.code is VerdictCode.INTERRUPTED for verdict in self.verdicts)

    @property
    def further(self) -> int:
        """How many verdicts, besides the one that stands for the case, ended as badly; FAIL and ERROR count alike."""
        bad = (Status.FAIL, Status.ERROR) if self.status in (Status.FAIL, Status.ERROR) else (Status.INCONCLUSIVE,)
        return max(0, sum(v.status in bad for v in self.verdicts) - 1)

    @property
    def errors(self) -> list[str]:
        """The sentence of each expectation that failed or could not be judged."""
        return [v.reason for v in self.verdicts if v.status in (Status.FAIL, Status.ERROR)]


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was measured: enough to tell whether two results may be compared."""

    device: str
    device_name: str
    hostname: str
    platform: str
    cpu: str
    cpu_count: int
    threads: int
    load_average: float | None
    versions: dict[str, str]
    git_commit: str | None
    clocks: dict[str, Any] = {}


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. Iterating gives its cases."""

    name: str
    started: str
    environment: Environment
    cases: list[CaseResult]
    run_dir: str
    strict: bool = False
    interrupted: bool = False
    backend: str = "torch"
    seconds: dict[str, float] = {}
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        make_visible(self, "name")

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: int | str) -> CaseResult:
        """The case at an index, or with a name; UnknownNameError, which is a KeyError, lists the nearest names."""
        if isinstance(key, int):
            return self.cases[key]
        name = visible(key)
        for case in self.cases:
            if case.module_name == name:
                return case
        raise UnknownNameError("case", key, (case.module_name for case in self.cases))

    @property
    def failing(self) -> frozenset[Status]:
        """The statuses that fail this run."""
        lenient = frozenset({Status.FAIL, Status.ERROR})
        return lenient | {Status.INCONCLUSIVE} if self.strict else lenient

    @property
    def failures(self) -> list[CaseResult]:
        """The cases that fail the run: FAIL and ERROR, and INCONCLUSIVE when strict."""
        return [case for case in self.cases if case.status in self.failing]

    @property
    def passed(self) -> bool:
        """Whether no case fails the run; a run without a case has shown nothing."""
        return bool(self.cases) and not self.failures

    def only(self, cases: Sequence[CaseResult]) -> SuiteResult:
        """The same run with some of its cases."""
        return msgspec.structs.replace(self, cases=list(cases))

    def count(self, status: Status) -> int:
        """The number of cases with *status*."""
        return sum(case.status is status for case in self.cases)

    def plot_scaling(self, case: CaseResult | int | str) -> Any:
        """The scaling of a case, or of that with a name, as a plotly figure; ResultFileError where it has none."""
        from ttprof.report import notebook  # here, because reports stand above results

        return notebook.plot_scaling(self._case(case))

    def plot_timeline(self, case: CaseResult | int | str) -> Any:
        """The typical iteration of a case, or of that with a name, as a figure; TraceError where there is no trace."""
        from ttprof.report import notebook  # here, because reports stand above results

        return notebook.plot_timeline(self, self._case(case))

    def _case(self, case: CaseResult | int | str) -> CaseResult:
        return case if isinstance(case, CaseResult) else self[case]

    def to_dataframe(self) -> Any:
        """One row for each measurement, as a pandas data frame; TtprofError where pandas is not installed."""
        from ttprof.report import notebook  # here, because reports stand above results

        return notebook.to_dataframe(self)

    def _repr_html_(self) -> str:
        from ttprof.report import notebook  # here, because reports stand above results

        return notebook.table(self)

    def to_json(self) -> str:
        """The result as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    def save(self, path: str | Path) -> Path:
        """Write the JSON to *path*, making its folder; returns the path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.to_json() + "\n", encoding="utf-8")
        return target


class _ResultHeader(msgspec.Struct):
    version: int


def decode(data: bytes | str) -> SuiteResult:
    """The result that ``SuiteResult.to_json`` wrote, of this version or an earlier one.

    Raises msgspec.MsgspecError when it is not a result, ResultFileError when a newer ttprof wrote it.
    """
    version = msgspec.json.decode(data, type=_ResultHeader).version
    if version > FORMAT_VERSION:
        raise ResultFileError(f"result format {version} is newer than this ttprof reads ({FORMAT_VERSION}); upgrade it")
    if version == 1:
        return msgspec.convert(_from_version_1(msgspec.json.decode(data)), SuiteResult, dec_hook=as_point)
    return msgspec.json.decode(data, type=SuiteResult, dec_hook=as_point)


def _from_version_1(result: dict[str, Any]) -> dict[str, Any]:
    """A result of version 1 in this version's schema; its verdicts and notes get the code "unstated"."""
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
    """Read a saved result.

    Raises ResultFileError when the file is missing, is not a result, or was written by a newer ttprof.
    """
    return _decoded(_read(path), path)


def load_all(path: str | Path) -> list[SuiteResult]:
    """Read a file that holds a result, or a list of them. Raises ResultFileError like ``load``."""
    data = _read(path)
    if not data.lstrip().startswith(b"["):
        return [_decoded(data, path)]
    try:
        parts = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultFileError(f"{path}: not a list of ttprof results: {error}") from error
    return [_decoded(bytes(part), path) for part in parts]


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ResultFileError(error.strerror or str(error), path) from error


def moved(result: SuiteResult, folder: Path) -> SuiteResult:
    """A result that lies in *folder* now, with its traces: paths below the folder that it was saved in are below it."""
    recorded = Path(result.run_dir)

    def here(trial: TrialResult) -> TrialResult:
        stated = Path(trial.trace_path) if trial.trace_path is not None else None
        if stated is None or not stated.is_relative_to(recorded):
            return trial
        return msgspec.structs.replace(trial, trace_path=str(folder / stated.relative_to(recorded)))

    cases = [msgspec.structs.replace(case, trials=[here(trial) for trial in case.trials]) for case in result]
    return msgspec.structs.replace(result, cases=cases, run_dir=str(folder))


def _where_it_lies(result: SuiteResult, file: Path) -> SuiteResult:
    """The result of a run's folder, which may have been moved: its traces are looked for beside it."""
    if file.name != RESULT_FILE or Path(result.run_dir) == file.parent:
        return result
    here = moved(result, file.parent)
    pairs = zip(_trace_paths(result), _trace_paths(here), strict=True)
    return here if any(new != old and Path(new).exists() for old, new in pairs) else result


def _trace_paths(result: SuiteResult) -> list[str]:
    return [trial.trace_path for case in result for trial in case.trials if trial.trace_path is not None]


def _decoded(data: bytes, path: str | Path) -> SuiteResult:
    try:
        return _where_it_lies(decode(data), Path(path))
    except ResultFileError as error:
        raise ResultFileError(error.reason, path) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, AttributeError) as error:
        raise ResultFileError(f"not a ttprof result: {error}", path) from error
