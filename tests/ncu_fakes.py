"""A fake ``ncu_report``, the reader of Nsight Compute, over plain dictionaries.

tests/nsight/test_compute_report.py checks that the real module has everything that the fake has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

HEADER = b"NVR\0\x02\0\0\0\x08\x07"
"""The first bytes of every report: the mark, the length of the header, and the header (version 7)."""

SPEED_OF_LIGHT = {
    "gpu__time_duration.sum": (2.0, "us"),
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": (22.0, "%"),
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": (71.0, "%"),
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": (71.0, "%"),
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": (30.0, "%"),
    "l1tex__throughput.avg.pct_of_peak_sustained_active": (25.0, "%"),
}
OCCUPANCY = {"sm__warps_active.avg.pct_of_peak_sustained_active": (50.0, "%")}
TRAFFIC = {
    "dram__bytes_read.sum": (3.0, "Mbyte"),
    "dram__bytes_write.sum": (1000.0, "Kbyte"),  # 4 MB in 2 us: 2 TB/s
    "dram__bytes.sum.peak_sustained": (1000.0, "byte/cycle"),
    "dram__cycles_elapsed.avg.per_second": (3.0, "cycle/nsecond"),  # 3 TB/s
}
FP32 = {
    "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": (100_000.0, "inst"),
    "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum": (300_000.0, "inst"),
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": (300_000.0, "inst"),  # 1 MFLOP in 2 us: 0.5 TFLOP/s
    "sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained": (3000.0, "inst/cycle"),
    "sm__cycles_elapsed.avg.per_second": (1.0, "Ghz"),  # 6 TFLOP/s
}
DEVICE = {
    "device__attribute_display_name": ("Fake GPU", ""),
    "device__attribute_compute_capability_major": (9, ""),
    "device__attribute_compute_capability_minor": (0, ""),
    **{f"launch__grid_dim_{axis}": (size, "") for axis, size in zip("xyz", (132, 2, 1), strict=True)},
    **{f"launch__block_dim_{axis}": (size, "block") for axis, size in zip("xyz", (256, 1, 1), strict=True)},
    "launch__registers_per_thread": (40.0, "register/thread"),
    "launch__shared_mem_per_block": (2.0, "Kbyte/block"),
    "launch__occupancy_limit_registers": (6.0, "block"),
    "launch__occupancy_limit_warps": (8.0, "block"),
    "launch__waves_per_multiprocessor": (3.5, ""),
}
FULL = {**SPEED_OF_LIGHT, **OCCUPANCY, **TRAFFIC, **FP32, **DEVICE}
TENSOR = "sm__ops_path_tensor_src_fp16_dst_fp32"
TENSOR_BUSY = "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed"


class IMetric:
    def __init__(self, value: Any, unit: str) -> None:
        self._value, self._unit = value, unit

    def value(self) -> Any:
        return self._value

    def unit(self) -> str:
        return self._unit


class INvtxRange:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


@dataclass
class INvtxDomainInfo:
    label: str
    stack: tuple[str, ...] = ()
    crossing: tuple[str, ...] = ()

    def name(self) -> str:
        return self.label

    def push_pop_ranges(self) -> tuple[str, ...]:
        return tuple(sorted(self.stack))

    def push_pop_range(self, idx: int) -> INvtxRange:
        return INvtxRange(self.stack[idx])

    def start_end_ranges(self) -> tuple[str, ...]:
        return tuple(sorted(self.crossing))


class INvtxState:
    def __init__(self, *domains: INvtxDomainInfo) -> None:
        self._domains = dict(enumerate(domains))

    def domains(self) -> tuple[int, ...]:
        return tuple(self._domains)

    def domain_by_id(self, id: int) -> INvtxDomainInfo:  # noqa: A002 - NVIDIA's name
        return self._domains[id]


@dataclass
class IRuleResult:
    message: str | None = None
    type: int = 2
    speedup: tuple[int, float] | None = None

    def name(self) -> str:
        return "Rule"

    def has_rule_message(self) -> bool:
        return self.message is not None

    def rule_message(self) -> dict[str, Any]:
        return {"title": "a title", "message": self.message, "type": self.type}

    def has_speedup_estimation(self) -> bool:
        return self.speedup is not None

    def speedup_estimation(self) -> dict[str, Any]:
        assert self.speedup is not None
        return {"type": self.speedup[0], "speedup": self.speedup[1]}


@dataclass
class IAction:
    metrics: dict[str, tuple[Any, str]] = field(default_factory=lambda: dict(FULL))
    function: str | None = "kernel"
    nvtx: INvtxState | None = None
    rules: tuple[IRuleResult, ...] = ()
    kind: int = 0

    NameBase_FUNCTION, NameBase_DEMANGLED = 1, 2
    WorkloadType_KERNEL, WorkloadType_RANGE, WorkloadType_CMDLIST, WorkloadType_GRAPH = 0, 1, 2, 3
    WorkloadType_SUBGRID_SCHEDULE = 4

    def name(self, base: int = 1) -> str | None:
        return f"void {self.function}<float>(int)" if self.function and base == 2 else self.function

    def workload_type(self) -> int:
        return self.kind

    def metric_by_name(self, metric_name: str) -> IMetric | None:
        return IMetric(*self.metrics[metric_name]) if metric_name in self.metrics else None

    def metric_names(self) -> tuple[str, ...]:
        return tuple(self.metrics)

    def nvtx_state(self) -> INvtxState | None:
        return self.nvtx

    def rule_results(self) -> tuple[IRuleResult, ...]:
        return self.rules


class IRange:
    def __init__(self, actions: list[IAction]) -> None:
        self._actions = actions

    def num_actions(self) -> int:
        return len(self._actions)

    def action_by_idx(self, idx: int) -> IAction:
        return self._actions[idx]


class IContext:
    def __init__(self, ranges: list[IRange]) -> None:
        self._ranges = ranges

    def num_ranges(self) -> int:
        return len(self._ranges)

    def range_by_idx(self, idx: int) -> IRange:
        return self._ranges[idx]

    def get_version(self) -> str:
        return "1.2.3"


CLASSES = (IMetric, INvtxRange, INvtxDomainInfo, INvtxState, IRuleResult, IAction, IRange, IContext)


def module(*actions: IAction) -> Any:
    """A fake ``ncu_report`` that reads these kernels from any file."""
    context = IContext([IRange(list(actions))])
    return SimpleNamespace(IAction=IAction, load_report=lambda file_name: context)
