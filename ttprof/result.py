"""The result schema that every report reads: frozen structs that survive a round trip through JSON unchanged.

A result carries its format version and copies each metric's label, unit and direction, so that old files still render.
Must not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ttprof.codes import Note, VerdictCode
from ttprof.errors import UnknownNameError, writing
from ttprof.least_time import LeastTime
from ttprof.machine import Environment as Environment  # a part of the schema
from ttprof.machine import MachineUse
from ttprof.measurement import LaterTiming, LooksMade
from ttprof.measurement import Measurement as Measurement  # a part of the schema
from ttprof.operators import OperatorChange, OperatorUse
from ttprof.scaling_fit import ScalingFit
from ttprof.system import files
from ttprof.system.escape import make_visible, visible
from ttprof.thresholds import Thresholds
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict

RESULT_FILE = "result.json"
"""Name of the result file in the folder of a run."""

JOURNAL_FILE = "journal"
"""Name of the journal beside it."""

FORMAT_VERSION = 2
"""Version of the JSON format. History:

1. 2026-11, the first. ``TrialResult.worst`` was added later and is null in earlier files.
2. 2026-11: verdicts and notes have codes, verdicts have a ``kind``, and ``Verdict.bound`` replaces ``Verdict.limit``.
   2026-12: the verdict codes ``other-device``, ``within-spread`` and ``gpu-slowed``, the note ``gpu-conditions``.
"""

Number = float | Literal["nan", "inf", "-inf"]
"""The value of a tensor element; JSON has no numbers for NaN and the infinities."""

ALWAYS_SHOWN = ("latency_ms", "kernel_time_ms", "memory_mb", "sol", "rel_error", "speedup")
"""The metrics in the first columns of every table of cases, as far as they were measured."""


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """The element of an output that is furthest from its reference."""

    reference: str
    """Description of the reference."""
    path: str
    """Path of the tensor in the output's structure."""
    index: list[int]
    """Index of the element in that tensor."""
    value: Number
    """The module's value."""
    expected: Number
    """The reference's value."""


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """A case at one point of its sweeps: its inputs, how it was timed, and its measurements.

    ```python
    for trial in result["ffn"].trials:
        print(trial.point["seq_len"], trial.metrics["latency_ms"], trial.trace_path)
    ```
    """

    point: Point
    """The swept sizes by axis, for example ``{"seq_len": 1024}``; empty without a sweep."""
    inputs: str
    """Shapes and dtypes of the inputs."""
    inputs_source: str
    """Where the inputs came from: ``"given"``, ``"captured"`` or ``"synthesised"``."""
    measurements: list[Measurement] = []
    """The metrics that were measured on the module."""
    warmup: int = 0
    """Warm-up calls before the first timed iteration."""
    iterations: int = 0
    """Timed iterations (pass 1)."""
    recorded: int = 0
    """Iterations recorded with the profiler (pass 2)."""
    threads: int = 0
    """CPU threads that torch used."""
    interleaved: int = 1
    """Workloads whose iterations were interleaved, this one included: sweep points and references."""
    steady: bool = True
    """Whether the latency had settled by the end of the warm-up."""
    stopped: str = ""
    """Why timing stopped."""
    trace_path: str | None = None
    """Path of the recorded trace; None if none was recorded."""
    worst: Element | None = None
    """The output element furthest from its reference; None if nothing was compared."""
    top_ops: list[tuple[str, float]] = []
    """The kernels (ops, on a CPU) that took the most time, each with its share of the total (0 to 1)."""
    reference: list[Measurement] = []
    """The metrics that were measured on the reference of ``compare_with``."""
    notes: list[Note] = []
    """Remarks that apply whatever the verdict."""
    least_time: LeastTime | None = None
    """The least time of an iteration on this device; None if it is not known."""
    machine: MachineUse | None = None
    """What the machine did while the trial was timed; None in results of earlier versions."""
    looks: list[LaterTiming] = []
    """Later timings, made because a time would fail; it fails only if all of them agree."""
    operators: list[OperatorUse] = []
    """The operators and kernels that one iteration calls, by name."""
    changed: list[OperatorChange] = []
    """How these differ from the baseline's, if a metric regressed."""

    def __post_init__(self) -> None:
        make_visible(self, "inputs")

    @property
    def metrics(self) -> dict[str, float]:
        """Values by metric name, in public units."""
        return {m.name: m.value for m in self.measurements}


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one ``suite.test(...)``: its status, its verdicts, and one trial per sweep point.

    ```python
    case = result["attention"]
    print(case.status, case.metrics["latency_ms"], case.trace_path)
    for reason in case.errors:
        print(reason)
    ```
    """

    __test__: ClassVar[bool] = False

    module_name: str
    """Name of the case: the module's dotted name, or the ``name`` passed to ``suite.test``."""
    module_type: str
    """Class of the module."""
    status: Status
    """The worst status of its verdicts."""
    source: str
    """File and line of the ``suite.test`` call."""
    verdicts: list[Verdict] = []
    """One verdict per expectation, and per sweep point where it depends on the point."""
    trials: list[TrialResult] = []
    """One trial per sweep point, the largest point last."""
    scaling: ScalingFit | None = None
    """The fit behind the verdict of ``expect_scaling``; None without one."""
    thresholds: Thresholds = Thresholds()
    """The changes against a baseline that count as regressions."""

    def __post_init__(self) -> None:
        make_visible(self, "module_name", "module_type", "source")

    @property
    def passed(self) -> bool:
        """Whether the status is PASS."""
        return self.status is Status.PASS

    @property
    def metrics(self) -> dict[str, float]:
        """Values by metric name, in public units, at the largest sweep point; empty if nothing was measured."""
        return self.trials[-1].metrics if self.trials else {}

    @property
    def trace_path(self) -> str | None:
        """Path of the trace of the largest sweep point; None if none was recorded."""
        return self.trials[-1].trace_path if self.trials else None

    def verdicts_at(self, point: Point) -> list[Verdict]:
        """Return the verdicts that apply to the trial at *point*: its own, and those of the case as a whole."""
        return [verdict for verdict in self.verdicts if not verdict.point or verdict.point == point]

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted before the case finished."""
        return any(verdict.code is VerdictCode.INTERRUPTED for verdict in self.verdicts)

    @property
    def as_bad(self) -> tuple[Status, ...]:
        """The statuses as bad as its own, if it is not PASS or SKIP; FAIL and ERROR count as equally bad."""
        return (Status.FAIL, Status.ERROR) if self.status in (Status.FAIL, Status.ERROR) else (Status.INCONCLUSIVE,)

    @property
    def errors(self) -> list[str]:
        """The reasons of all verdicts that are FAIL or ERROR."""
        return [v.reason for v in self.verdicts if v.status in (Status.FAIL, Status.ERROR)]


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. It iterates over its cases, and ``result["attention"]`` is the case of that name.

    ```python
    suite.test_all_modules().expect(latency_ms=5.0)
    result = suite.run()
    print("passed" if result.passed else [case.module_name for case in result.failures])
    for case in result:
        print(case.module_name, case.status, case.metrics)
    ```
    """

    name: str
    """Name of the suite."""
    started: str
    """Start time, in ISO 8601."""
    environment: Environment
    """The hardware and software of the run."""
    cases: list[CaseResult]
    """The cases, in registration order."""
    run_dir: str
    """Folder of the run: result.json, traces and TensorBoard files; empty for merged shards in a single file."""
    strict: bool = False
    """Whether INCONCLUSIVE counts as failure."""
    interrupted: bool = False
    """Whether the run was interrupted; unfinished cases are ERROR."""
    backend: str = "torch"
    """What recorded the traces: ``"torch"``, ``"nsys"`` or ``"ncu"``."""
    seconds: dict[str, float] = {}
    """Wall time of each phase of the run, in seconds."""
    looks: LooksMade | None = None
    """What was timed again because a time would fail; None if nothing was."""
    shard: str = ""
    """The part of the suite that this run ran, for example ``"2/8"``; empty for the whole suite."""
    suite_cases: list[str] = []
    """The names of all cases of the suite, in registration order, if the run is a shard; else empty."""
    merged_despite: list[str] = []
    """The differences that ``ttprof merge --force`` overlooked; else empty."""
    version: int = FORMAT_VERSION
    """Version of the JSON format."""

    def __post_init__(self) -> None:
        make_visible(self, "name", "shard", "suite_cases", "merged_despite")

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: int | str) -> CaseResult:
        """Return the case with an index or a name.

        Raises:
            IndexError: there is no case with this index.
            UnknownNameError: there is no case with this name (also a KeyError); the message lists the closest names.
        """
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
        """The cases that fail the run: FAIL and ERROR, and in a strict run INCONCLUSIVE."""
        return [case for case in self.cases if case.status in self.failing]

    @property
    def passed(self) -> bool:
        """Whether no case fails the run; False for a run without cases, which proves nothing, unless it is a shard."""
        return bool(self.cases or self.shard) and not self.failures

    def only(self, cases: Sequence[CaseResult]) -> SuiteResult:
        """Return the same run restricted to *cases*."""
        return msgspec.structs.replace(self, cases=list(cases))

    def count(self, status: Status) -> int:
        """Return the number of cases with *status*.

        ```python
        assert result.count(Status.SKIP) == 0
        ```
        """
        return sum(case.status is status for case in self.cases)

    def plot_scaling(self, case: CaseResult | int | str) -> Any:
        """Return a ``plotly.graph_objects.Figure`` of the measured points and the fitted laws of ``expect_scaling``.

        Args:
            case: the case, its index or its name.

        Raises:
            ResultFileError: the case has no scaling.
            TtprofError: plotly is not installed.

        ```python
        result.plot_scaling("ffn").write_html("scaling.html")
        ```
        """
        from ttprof.report import notebook  # lazy: reports rank above results

        return notebook.plot_scaling(self._case(case))

    def plot_timeline(self, case: CaseResult | int | str) -> Any:
        """Return a ``plotly.graph_objects.Figure`` of the median iteration: ops, kernels and copies over time.

        Args:
            case: the case, its index or its name.

        Raises:
            TraceError: the case has no trace, or it can't be read.
            TtprofError: plotly is not installed.

        ```python
        result.plot_timeline("attention").write_html("timeline.html")
        ```
        """
        from ttprof.report import notebook  # lazy: reports rank above results

        return notebook.plot_timeline(self, self._case(case))

    def _case(self, case: CaseResult | int | str) -> CaseResult:
        return case if isinstance(case, CaseResult) else self[case]

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame`` with one row per measurement.

        Raises:
            TtprofError: pandas is not installed.

        ```python
        frame = result.to_dataframe()
        ```
        """
        from ttprof.report import notebook  # lazy: reports rank above results

        return notebook.to_dataframe(self)

    def _repr_html_(self) -> str:
        from ttprof.report import notebook  # lazy: reports rank above results

        return notebook.table(self)

    def to_json(self) -> str:
        """Return the result as indented JSON.

        ```python
        print(result.to_json())
        ```
        """
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON to *path*, creating its folder if needed, and return the path.

        Raises ResultFileError on failure; an existing file is then as it was.

        ```python
        result.save("results/gate.json")
        ```
        """
        with writing(path):
            return files.replace(path, self.to_json() + "\n")
