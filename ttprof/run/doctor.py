"""Describes what ttprof has to work with on this machine: findings, devices with their peaks, versions and tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ttprof.doctor.checks import findings
from ttprof.doctor.probe import Probe
from ttprof.doctor.setup import Torch
from ttprof.errors import NsightError
from ttprof.machine import DeviceReport, MachineReport, PeakCheck
from ttprof.nsight import ncu, nsys, tool
from ttprof.run import environment
from ttprof.run.device_peaks import PEAKS, StatedPeaks
from ttprof.run.devices import cache_bytes, driver, usable
from ttprof.run.peaks import MULTIPLIED, measure_bandwidth, measure_tflops
from ttprof.system.device_types import device_type
from ttprof.system.process import cores


def examine(peaks: bool, announce: Callable[[str], None], probe: Probe, trace_dir: Path) -> MachineReport:
    """Examine this machine, and with *peaks* measure those of its devices; *announce* gets each step.

    The machine is checked before its peaks are measured, which would load it.
    """
    checked = findings(probe, _torch(), trace_dir)
    return MachineReport(
        findings=checked,
        versions=environment.versions(),
        devices=[_device(device, peaks, announce) for device in usable()],
        tools={spec.program: _version(spec) for spec in (nsys.NSYS, ncu.NCU)},
    )


def _torch() -> Torch:
    """What the checks need to know of torch."""
    built = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "XPU": getattr(torch.version, "xpu", None)}
    return Torch(
        version=torch.__version__,
        built_for=next((f"{name} {version}" for name, version in built.items() if version), ""),
        accelerators=sum(device.type != "cpu" for device in usable()),
        debug=bool(torch.version.debug),
        threads=torch.get_num_threads(),
        cores=cores(),
        uuids=_uuids(),
    )


def _uuids() -> tuple[str, ...]:
    """The UUIDs of the NVIDIA GPUs that torch uses; empty for others."""
    if torch.version.cuda is None or not torch.cuda.is_available():
        return ()
    return tuple(str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count()))


def _device(device: torch.device, measure: bool, announce: Callable[[str], None]) -> DeviceReport:
    name = driver(device).name()
    return DeviceReport(
        device=str(device),
        name=name,
        cache_bytes=cache_bytes(device),
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        in_table=name in PEAKS,
        peaks=_peaks(device, name, measure, announce),
    )


def _peaks(device: torch.device, name: str, measure: bool, announce: Callable[[str], None]) -> list[PeakCheck]:
    stated = PEAKS.get(name)
    checks = []
    for dtype in _dtypes(device, stated):
        if measure:
            announce(f"{device}: products of {dtype}")
        measured = measure_tflops(device, dtype) if measure else None
        checks.append(_check(dtype, "TFLOP/s", stated.tflops.get(dtype) if stated else None, measured))
    if measure:
        announce(f"{device}: bandwidth of its memory")
    bandwidth = measure_bandwidth(device) if measure else None
    checks.append(_check("memory", "GB/s", stated.bandwidth_gb_s if stated else None, bandwidth))
    return [check for check in checks if check.stated is not None or check.measured is not None]


def _dtypes(device: torch.device, stated: StatedPeaks | None) -> list[str]:
    """The dtypes that the device multiplies: TF32 on CUDA only, and only if the table does not know the device without.

    No float64 on devices whose references run on the CPU because they lack it.
    """
    lacking = set() if device_type(device.type).float64 else {"float64"}
    if device.type != "cuda" or (stated is not None and "tf32" not in stated.tflops):
        lacking.add("tf32")
    return [dtype for dtype in MULTIPLIED if dtype not in lacking]


def _check(what: str, unit: str, stated: float | None, measured: float | None) -> PeakCheck:
    return PeakCheck(what=what, unit=unit, stated=stated, measured=measured)


def _version(spec: Any) -> str:
    try:
        return "{}.{}".format(*tool.find(spec)[1])
    except NsightError as error:
        return str(error)
