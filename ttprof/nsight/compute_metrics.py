"""Computes work and DRAM traffic of a profiled kernel from NVIDIA's metrics, in base units (s, bytes, 1/s, counts).

Every unit of Nsight Compute is converted (its prefixes are powers of 1000); a metric that is not in the report is None.
The formulas are those of the roofline sections that Nsight Compute ships (``SpeedOfLight_RooflineChart.section`` and
``SpeedOfLight_Hierarchical{Half,Double,Tensor}RooflineChart.section``), and are cited where they are used.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, Protocol

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError

_PREFIXES = {"": 0, "k": 3, "m": 6, "g": 9, "t": 12, "p": 15}
_COUNTED = ("inst", "instruction", "thread", "warp", "block", "cycle", "register", "sector", "request", "op")
_SECONDS = {"": 0, "m": -3, "u": -6, "µ": -6, "n": -9}
SCALES = {
    **dict.fromkeys(("", "%"), Fraction(1)),
    **{name + plural: Fraction(1) for name in _COUNTED for plural in ("", "s")},
    **{prefix + name: Fraction(10) ** power for prefix, power in _SECONDS.items() for name in ("s", "second")},
    **{prefix + name: Fraction(10) ** power for prefix, power in _PREFIXES.items() for name in ("byte", "bytes", "hz")},
}
"""The exact factor from a unit (in lower case) to base units (s, bytes, 1/s, counts)."""

CLOCK = "sm__cycles_elapsed.avg.per_second"
SUBCLOCK = "smsp__cycles_elapsed.avg.per_second"
TIME = "gpu__time_duration.sum"
ROOFLINE = "SpeedOfLight_RooflineChart"
HALF = "SpeedOfLight_HierarchicalHalfRooflineChart"
TENSOR = "SpeedOfLight_HierarchicalTensorRooflineChart"

_TENSOR_OPS = re.compile(
    r"(sm__ops_path_tensor_src_(?:fp|bf|tf)\d+(?:_(?:fp|bf|tf)\d+)*(?:_dst_\w+?)?(?:_sparsity_(?:on|off))?)"
    r"\.sum(?:\.per_cycle_elapsed)?"
)
_TENSOR_BUSY = re.compile(r"sm__(?:pipe|inst_executed_pipe)_tensor\w*\.avg\.pct_of_peak_sustained_(?:active|elapsed)")
_HALF_BUSY = re.compile(r"sm__inst_executed_pipe_(?:fp16|fma_type_fp16)\.avg\.pct_of_peak_sustained_(?:active|elapsed)")


class NcuMetric(Protocol):
    """The methods of ``ncu_report.IMetric`` that are used."""

    def unit(self) -> str:
        """The unit, such as ``ns`` or ``byte/cycle``."""

    def value(self) -> Any:
        """The value: a number, a string, or None if there is none."""


class NcuAction(Protocol):
    """The methods of ``ncu_report.IAction`` that are used."""

    def metric_by_name(self, metric_name: str) -> NcuMetric | None:
        """The metric of this name, or None."""

    def metric_names(self) -> tuple[str, ...]:
        """The names of all metrics."""


class FloatWork(msgspec.Struct, frozen=True):
    """Floating-point work of one kind: FLOPs of the whole kernel, FLOP/s, and the peak FLOP/s of the device.

    ``kind`` is fp16, fp32, fp64 (CUDA cores) or tensor. A number that is not in the report is None.
    """

    kind: str
    flops: float | None
    flops_per_s: float
    peak_flops_per_s: float | None


class Traffic(msgspec.Struct, frozen=True):
    """DRAM traffic in both directions: bytes of the whole kernel, bytes/s, and the peak bytes/s of the device."""

    dram_bytes: float | None
    bytes_per_s: float | None
    peak_bytes_per_s: float | None


class KernelMetrics:
    """The metrics of one kernel in base units. Reading one raises TraceError if its unit or value is unknown."""

    def __init__(self, action: NcuAction) -> None:
        self._action = action
        self.names = frozenset(action.metric_names())

    def get(self, *names: str) -> float | None:
        """The first of these metrics that is in the report, in base units; None if there is none."""
        for name in names:
            metric = self._action.metric_by_name(name)
            value = None if metric is None else metric.value()
            if metric is None or value is None:
                continue
            if isinstance(value, str):
                raise TraceError(f"the metric {name} is {value!r}, not a number", TraceErrorCode.IMPOSSIBLE_VALUES)
            number = float(value) * _scale(name, metric.unit())
            if math.isfinite(number):
                return number
        return None

    def count(self, name: str) -> int | None:
        """An integer metric, or None."""
        value = self.get(name)
        return None if value is None else round(value)

    def text(self, name: str) -> str | None:
        """A string metric, or None."""
        metric = self._action.metric_by_name(name)
        value = None if metric is None else metric.value()
        return value if isinstance(value, str) else None

    def highest(self, pattern: re.Pattern[str]) -> float | None:
        """The highest of the metrics whose full name matches, in base units; None if there is none."""
        values = [self.get(name) for name in self.names if pattern.fullmatch(name)]
        return max((value for value in values if value is not None), default=None)


def product(*factors: float | None) -> float | None:
    """The product, or None if a factor is None."""
    numbers = [factor for factor in factors if factor is not None]
    return math.prod(numbers) if len(numbers) == len(factors) else None


def ratio(part: float | None, whole: float | None) -> float | None:
    """*part* / *whole*, or None if either is None or *whole* is 0."""
    return part / whole if part is not None and whole else None


def work(numbers: KernelMetrics) -> list[FloatWork]:
    """The floating-point work that the report counts, the highest rate first; other kinds are left out.

    CUDA cores, as in Nsight Compute's roofline sections: FLOP = add + mul + 2 fma of thread instructions with their
    predicate on; the peak is 2 x fma ``.sum.peak_sustained`` x the SM clock.
    """
    kinds = {"fp16": "h", "fp32": "f", "fp64": "d"}
    works = [_cuda_cores(numbers, kind, letter) for kind, letter in kinds.items()] + [_tensor_cores(numbers)]
    return sorted((part for part in works if part is not None), key=lambda part: -part.flops_per_s)


def uncounted(numbers: KernelMetrics, works: list[FloatWork]) -> list[str]:
    """The kinds of work whose units were busy although the report, by *works*, counts none of their operations."""
    counted = {part.kind for part in works if part.flops_per_s}
    busy = {"tensor": tensor_percent(numbers), "fp16": numbers.highest(_HALF_BUSY)}
    return [kind for kind, percent in busy.items() if percent and kind not in counted]


def tensor_percent(numbers: KernelMetrics) -> float | None:
    """The utilisation of the tensor cores in % of their peak: that of their busiest pipe."""
    return numbers.highest(_TENSOR_BUSY)


def traffic(numbers: KernelMetrics) -> Traffic:
    """The DRAM traffic; its peak is ``dram__bytes.sum.peak_sustained`` x the DRAM clock, as in the roofline section."""
    seconds = numbers.get(TIME)
    read, written = numbers.get("dram__bytes_read.sum"), numbers.get("dram__bytes_write.sum")
    moved, rate = numbers.get("dram__bytes.sum"), numbers.get("dram__bytes.sum.per_second")
    if moved is None and read is not None and written is not None:
        moved = read + written
    return Traffic(
        dram_bytes=moved if moved is not None else product(rate, seconds),
        bytes_per_s=rate if rate is not None else ratio(moved, seconds),
        peak_bytes_per_s=product(
            numbers.get("dram__bytes.sum.peak_sustained"), numbers.get("dram__cycles_elapsed.avg.per_second")
        ),
    )


def _cuda_cores(numbers: KernelMetrics, kind: str, letter: str) -> FloatWork | None:
    names = [f"smsp__sass_thread_inst_executed_op_{letter}{op}_pred_on.sum" for op in ("add", "mul", "fma")]
    flops = _added([numbers.get(name) for name in names])
    per_cycle = _added([numbers.get(f"{name}.per_cycle_elapsed") for name in names])
    clock, seconds = numbers.get(SUBCLOCK, CLOCK), numbers.get(TIME)
    fma = numbers.get(f"sm__sass_thread_inst_executed_op_{letter}fma_pred_on.sum.peak_sustained")
    return _work(kind, (flops, product(per_cycle, clock)), seconds, product(2.0, fma, numbers.get(CLOCK)))


def _added(operations: list[float | None]) -> float | None:
    add, mul, fma = operations
    return None if add is None or mul is None or fma is None else add + mul + 2 * fma


def _tensor_cores(numbers: KernelMetrics) -> FloatWork | None:
    """The sum over the input types; parts of another metric (``…_dst_fp32``, ``…_sparsity_off``) are left out."""
    bases = {match[1] for name in numbers.names if (match := _TENSOR_OPS.fullmatch(name))}
    whole = sorted(base for base in bases if not any(base.startswith(f"{other}_") for other in bases))
    clock, seconds = numbers.get(CLOCK), numbers.get(TIME)
    types = []
    for base in whole:
        rate = product(numbers.get(f"{base}.sum.per_cycle_elapsed"), clock)
        peak = product(numbers.get(f"{base}.sum.peak_sustained"), clock)
        types.append(_work("tensor", (numbers.get(f"{base}.sum"), rate), seconds, peak))
    counted = [part for part in types if part is not None]
    if not counted or len(counted) < len(types):
        return None
    flops = [part.flops for part in counted if part.flops is not None]
    most = max(counted, key=lambda part: part.flops_per_s)
    total = sum(flops) if len(flops) == len(counted) else None
    return FloatWork("tensor", total, sum(part.flops_per_s for part in counted), most.peak_flops_per_s)


def _work(
    kind: str, counted: tuple[float | None, float | None], seconds: float | None, peak: float | None
) -> FloatWork | None:
    """Work from its counted FLOPs, rate, or both; None if they give no rate."""
    flops, rate = counted
    rate = rate if rate is not None else ratio(flops, seconds)
    if rate is None:
        return None
    return FloatWork(kind, flops if flops is not None else product(rate, seconds), rate, peak)


def _scale(name: str, unit: str) -> float:
    """The factor from *unit* to base units."""
    over, _, under = unit.strip().lower().partition("/")
    if over not in SCALES or under not in SCALES:
        raise TraceError(
            f"the metric {name} has the unit {unit!r}, which ttprof does not know; please report it",
            TraceErrorCode.UNSUPPORTED,
        )
    return float(SCALES[over] / SCALES[under])
