"""The table of device types: what is known of each without torch. ``run/devices.py`` drives them.

A type is that of a ``torch.device``; to torch, a ROCm device is ``cuda``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class DeviceType:
    """One row.

    Attributes:
        name: The type as torch names it.
        label: The type in words.
        memory_types: The numbers of the type in Kineto's allocator events, with their names (c10/core/DeviceType.h).
        scaling_metric: The metric by which growth is judged if the user names none.
        activity: The member of ``torch.profiler.ProfilerActivity`` that records the device's work; None without one.
        always_records: Whether a recording without kernels is a fault. If not, it may be that torch can't record them.
        float64: Whether references in float64 run on the device; if not, they run on the CPU.
        visible: Environment variables that choose and renumber the devices of a process.
        nsight: The Nsight backends, ``nsys`` and ``ncu``, that record it.
        experimental: Whether ttprof has only run on fakes of such devices.
    """

    name: str
    label: str
    memory_types: Mapping[int, str]
    scaling_metric: str
    activity: str | None = None
    always_records: bool = False
    float64: bool = False
    visible: tuple[str, ...] = ()
    nsight: tuple[str, ...] = field(default=())
    experimental: bool = True


_ROWS = (
    DeviceType("cpu", "CPU", {0: "CPU"}, "cpu_time_ms", float64=True, nsight=("nsys",), experimental=False),
    DeviceType(
        name="cuda",
        label="CUDA or ROCm",
        memory_types={1: "CUDA", 6: "HIP"},
        scaling_metric="kernel_time_ms",
        activity="CUDA",
        always_records=True,
        float64=True,
        visible=("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        nsight=("nsys", "ncu"),
        experimental=False,
    ),
    DeviceType("mps", "MPS", {13: "MPS"}, "latency_ms"),
    DeviceType("xpu", "XPU", {12: "XPU"}, "kernel_time_ms", activity="XPU", visible=("ZE_AFFINITY_MASK",)),
    DeviceType("mtia", "MTIA", {19: "MTIA"}, "latency_ms", activity="MTIA"),
)

DEVICE_TYPES = {row.name: row for row in _ROWS}
"""The rows by name. Every other type of ``torch.accelerator`` gets the row ``OTHER``."""

PACKAGED_TYPES = ("hpu", "mlu", "musa", "npu")
"""Types that torch only knows once a package is imported; a test may be meant for them on a machine without it."""

OTHER = DeviceType("", "", {20: "PrivateUse1"}, "latency_ms", activity="PrivateUse1")
"""The row, without the name, of the types that packages register with torch, such as ``npu``."""

MEMORY_TYPE_NAMES = {number: name for row in (*_ROWS, OTHER) for number, name in row.memory_types.items()}
"""The names of the device types in Kineto's allocator events."""


def device_type(name: str) -> DeviceType:
    """The row of torch's device type *name*."""
    return DEVICE_TYPES.get(name) or replace(OTHER, name=name, label=name)


def caveat(name: str) -> str:
    """A sentence on the trust in numbers of the device type *name*; empty for CPU, CUDA and ROCm."""
    row = device_type(name)
    if not row.experimental:
        return ""
    return f"experimental: on {row.label} devices ttprof has only been tested with fakes of them (docs/devices.md)"
