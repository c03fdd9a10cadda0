"""Reads the state of NVIDIA GPUs: from NVML if nvidia-ml-py is installed, else from what nvidia-smi prints."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ttprof.doctor.probe import Probe
from ttprof.system import nvml as driver

QUERY = (
    "index",
    "uuid",
    "name",
    "persistence_mode",
    "mig.mode.current",
    "ecc.mode.current",
    "clocks.sm",
    "clocks.max.sm",
    "temperature.gpu",
    "utilization.gpu",
)
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The names of the throttle reasons in nvidia-smi: since driver 535, and before."""


@dataclass(frozen=True)
class GpuState:
    """What the driver says of one GPU; None for what it does not say.

    Attributes:
        sm_mhz: The clock of the multiprocessors now, and the highest possible one.
        utilization: The share of the last sample period, in percent, in which a kernel ran.
        throttled: The bits of NVML's clocks throttle reasons (nvml.h).
    """

    index: int
    uuid: str
    name: str
    persistence: bool | None = None
    mig: bool | None = None
    ecc: bool | None = None
    sm_mhz: int | None = None
    max_sm_mhz: int | None = None
    temperature_c: int | None = None
    utilization: int | None = None
    throttled: int | None = None


def gpus(probe: Probe) -> list[GpuState]:
    """The GPUs that the driver lists; empty without a driver."""
    with suppress(driver.NvmlUnavailable), driver.session() as nvml, suppress(nvml.NVMLError):
        return from_nvml(nvml)
    return from_smi(probe)


def from_nvml(nvml: Any) -> list[GpuState]:
    """The GPUs as NVML, which is open, describes them."""
    return [_state(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


def _state(nvml: Any, index: int) -> GpuState:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def asked(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:  # not supported by this GPU
            return None

    def switch(read: Callable[[], Any]) -> bool | None:
        return None if (state := asked(read)) is None else bool(state)

    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    return GpuState(
        index=index,
        uuid=_text(uuid),
        name=_text(name),
        persistence=switch(lambda: nvml.nvmlDeviceGetPersistenceMode(handle)),
        mig=switch(lambda: nvml.nvmlDeviceGetMigMode(handle)[0]),
        ecc=switch(lambda: nvml.nvmlDeviceGetEccMode(handle)[0]),
        sm_mhz=asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        max_sm_mhz=asked(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        temperature_c=asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        utilization=asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        throttled=asked(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
    )


def from_smi(probe: Probe) -> list[GpuState]:
    """The GPUs as nvidia-smi prints them; lines of another shape, such as an error, describe none."""
    for reasons in REASONS:
        query = ",".join((*QUERY, reasons))
        output = probe.ask(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]) or ""
        rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
        if states := [_from_row(row) for row in rows if len(row) == len(QUERY) + 1 and row[0].isdigit()]:
            return states
    return []


def of_torch(states: list[GpuState], uuids: Collection[str]) -> list[GpuState]:
    """Those GPUs that torch sees, by their UUIDs; all of them if it sees none or calls them otherwise, as under MIG."""
    return [state for state in states if state.uuid.removeprefix("GPU-") in uuids] or states


def _from_row(row: list[str]) -> GpuState:
    index, uuid, name, persistence, mig, ecc, sm, max_sm, temperature, utilization, throttled = row
    return GpuState(
        index=int(index),
        uuid=uuid,
        name=name,
        persistence=_switch(persistence),
        mig=_switch(mig),
        ecc=_switch(ecc),
        sm_mhz=_integer(sm),
        max_sm_mhz=_integer(max_sm),
        temperature_c=_integer(temperature),
        utilization=_integer(utilization),
        throttled=int(throttled, 16) if throttled.startswith("0x") else None,
    )


def _text(value: bytes | str) -> str:
    """A string of NVML, which older versions of its package return as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _switch(cell: str) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(cell)


def _integer(cell: str) -> int | None:
    return int(cell) if cell.isdigit() else None
