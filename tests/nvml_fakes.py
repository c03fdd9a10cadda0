"""NVML of one GPU, as the package pynvml gives it: structures, and errors with the codes of nvml.h."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

UUID = "aaaa-1"
SUCCESS, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 0, 3, 4, 6
TEXTS = {
    SUCCESS: "Success",  # the package raises it where there is no sample of any process
    NOT_SUPPORTED: "Not Supported",
    NO_PERMISSION: "Insufficient Permissions",
    NOT_FOUND: "Not Found",
}


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value
        super().__init__(TEXTS[value])


def process(pid: int) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=None)


def sample(pid: int, percent: int, at_us: int) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, timeStamp=at_us, smUtil=percent, memUtil=0, encUtil=0, decUtil=0)


class FakeNvml:
    """Answers every question as its fields say; a field that is an error is raised."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_SUCCESS, NVML_ERROR_NOT_FOUND = SUCCESS, NOT_FOUND

    def __init__(self, **changed: Any) -> None:
        self.sm, self.memory, self.highest, self.throttled, self.heat = 1980, 2619, 1980, 0, 45
        self.processes: Any = [process(os.getpid())]
        self.samples: Any = NVMLError(NOT_FOUND)
        self.uuids = [f"GPU-{UUID}"]
        self.refusal: Exception | None = None
        self.log: list[str] = []
        vars(self).update(changed)

    def nvmlInit(self) -> None:
        self.log.append("init")
        if self.refusal is not None:
            raise self.refusal

    def nvmlShutdown(self) -> None:
        self.log.append("shutdown")

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:
        if uuid.decode() not in self.uuids:
            raise NVMLError(NOT_FOUND)
        return uuid.decode()

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        return answer(self.sm if kind == self.NVML_CLOCK_SM else self.memory)

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:
        return answer(self.highest)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return answer(self.heat)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return answer(self.throttled)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        return answer(self.processes)

    def nvmlDeviceGetProcessUtilization(self, handle: str, since_us: int) -> list[SimpleNamespace]:
        return answer(self.samples)


def answer(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value
