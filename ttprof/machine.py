"""The machine of a run, and what ``ttprof doctor`` prints of one: findings, devices, their peaks, versions, tools."""

from __future__ import annotations

import enum
from typing import Any, Literal

import msgspec

from ttprof.system.escape import make_visible
from ttprof.system.nvml import Throttle

Timed = Literal["never", "wall", "cpu", "paired"]
"""Whether samples are times of the timed iterations, and which."""

LEAST_SHARE, MOST_SHARE = 0.5, 1.05
"""A measured peak between these shares of the stated one confirms it: large products reach 60 to 95 % of it."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The hardware and software of a run, in enough detail to decide whether two results may be compared."""

    device: str
    """The torch device, for example ``"cuda:0"``."""
    device_name: str
    """Model name of the GPU, or of the CPU."""
    hostname: str
    platform: str
    """Operating system and architecture."""
    cpu: str
    """Model name of the CPU."""
    cpu_count: int
    """Logical cores of the machine."""
    threads: int
    """CPU threads that torch used."""
    load_average: float | None
    """Load average over the minute before the run; None if the system does not report it."""
    versions: dict[str, str]
    """Versions of Python packages and drivers, by name."""
    git_commit: str | None
    """Commit of the code under test; None outside a Git repository."""
    clocks: dict[str, Any] = {}
    """GPU clocks (MHz), temperature (°C) and throttle reasons."""
    experimental: str = ""
    """How far to trust the numbers of an experimental device type, or of unlike shards that were merged; else empty."""


MIN_UNDISTURBED = 10
"""Undisturbed iterations from which a time is judged without the others."""


class ClockRange(msgspec.Struct, frozen=True, kw_only=True):
    """The clocks that were read while a trial was timed, in MHz."""

    lowest: float
    median: float
    highest: float


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """What NVML said of the NVIDIA GPU while a trial was timed on it; None for what it does not say."""

    sm: ClockRange | None = None
    """Clock of the multiprocessors."""
    memory: ClockRange | None = None
    """Clock of the memory."""
    run_sm_mhz: float | None = None
    """The highest clock of the multiprocessors in the whole run."""
    max_sm_mhz: float | None = None
    """The highest clock that they can have."""
    throttled: list[Throttle] | None = None
    """All that kept the clocks down at some time."""
    temperature_c: float | None = None
    """The highest temperature."""
    others: float | None = None
    """The part of the GPU that other processes used on average, 0 to 1."""
    other_processes: int | None = None
    """The most other processes that had compute work on it at once."""
    missing: str = ""
    """Why some or all of this could not be read."""

    def __post_init__(self) -> None:
        make_visible(self, "missing")


class MachineUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine did while a trial was timed."""

    disturbed: list[int] = []
    """The iterations in or around which other processes had the CPU, or those of the reference timed beside it."""
    waited: list[float] = []
    """How long all threads waited for a CPU in each of these, at most, as a part of its time; empty if not known."""
    own: list[float] = []
    """The part of the time of each of these that the module may have needed itself."""
    others: float | None = None
    """CPUs that other processes kept busy on average; None if not known."""
    stolen: float | None = None
    """CPUs that the hypervisor gave to other machines on average; None if not known."""
    slowdown: float = 1.0
    """How many times slower the machine was than at other times of the run, by a fixed workload."""
    yardstick: dict[str, float] = {}
    """The median times of the parts of that workload between the iterations, in ns."""
    process: int = 0
    """The number of the process, which tells the processes of a run apart."""
    cpu_clocks: ClockRange | None = None
    """Clocks of the CPUs that the process may use; None where they can't be read."""
    gpu: GpuUse | None = None
    """The NVIDIA GPU that the trial ran on; None on other devices, and in results of earlier versions."""

    def is_enough(self, iterations: int) -> bool:
        """Whether enough of the iterations were undisturbed."""
        return iterations - len(self.disturbed) >= MIN_UNDISTURBED

    def counted(self, samples: list[float], timed: Timed) -> list[float]:
        """Times, those of disturbed iterations without what the module did not need; other samples as they are."""
        if timed != "wall" or len(self.own) != len(self.disturbed):
            return samples
        own = dict(zip(self.disturbed, self.own, strict=True))
        return [sample * own.get(index, 1.0) for index, sample in enumerate(samples)]

    def undisturbed(self, samples: list[float]) -> list[float]:
        """The samples of the undisturbed iterations."""
        disturbed = set(self.disturbed)
        return [sample for index, sample in enumerate(samples) if index not in disturbed]


class PeakCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A peak of a device as the table states it and as it was measured; None if it was not."""

    what: str
    """A dtype of matrix products, or ``memory``."""
    unit: str
    """``TFLOP/s`` or ``GB/s``."""
    stated: float | None
    measured: float | None

    @property
    def share(self) -> float | None:
        """The measured peak over the stated one."""
        return self.measured / self.stated if self.measured is not None and self.stated is not None else None

    @property
    def off(self) -> bool:
        """Whether the measurement contradicts the table."""
        return self.share is not None and not LEAST_SHARE <= self.share <= MOST_SHARE


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A device that ttprof can test on."""

    device: str
    name: str
    cache_bytes: int
    """Size of the last-level cache."""
    threads: int | None
    """Threads that torch uses; None on a GPU."""
    in_table: bool
    """Whether the table of devices has its peaks."""
    peaks: list[PeakCheck]


class CheckStatus(str, enum.Enum):
    """The status of a check."""

    OK = "ok"
    """Nothing to change."""
    WARNING = "warning"
    """Times vary more than they need to, or something can't be measured or written."""
    UNSAFE = "unsafe"
    """Times measured now can't be trusted."""
    UNKNOWN = "unknown"
    """It could not be read."""

    def __str__(self) -> str:
        return self.value


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one check of the machine and its set-up."""

    group: str
    """``load``, ``processor``, ``set-up``, or a GPU."""
    check: str
    """Name of the check; stable."""
    status: CheckStatus
    seen: str
    """What was read; empty if nothing was."""
    change: str
    """What to change, a command if one does it; empty if nothing is to be changed."""
    unseen: str
    """What could not be read, or why; empty if all was."""


class MachineReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ttprof has to work with on this machine, and whether times measured on it can be trusted."""

    versions: dict[str, str]
    devices: list[DeviceReport]
    tools: dict[str, str]
    """Version of each external tool, or why it can't be used."""
    findings: list[Finding] = []

    @property
    def unsafe(self) -> list[Finding]:
        """The findings for which times measured now can't be trusted."""
        return [finding for finding in self.findings if finding.status is CheckStatus.UNSAFE]

    @property
    def contradicted(self) -> bool:
        """Whether a measured peak contradicts the table."""
        return any(check.off for device in self.devices for check in device.peaks)
