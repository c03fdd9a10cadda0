"""What distinguishes the machines and the software of two runs, and whether a comparison is possible at all."""

from __future__ import annotations

from ttprof.errors import TtprofError
from ttprof.machine import Environment
from ttprof.units import significant

OVERLOADED = 1.5
"""Load average per core above which the threads of one call wait for each other."""


class UnlikeHardware(TtprofError):
    """Raised for runs on different hardware; ``differences`` holds one clause per difference."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__(differences)
        self.differences = differences

    def __str__(self) -> str:
        return f"{self.reason} (pass --force to compare them anyway)"

    @property
    def reason(self) -> str:
        """The message without the hint at --force."""
        return f"the runs are from different hardware: {'; '.join(self.differences)}"


def hardware_differences(base: Environment, new: Environment) -> list[str]:
    """The hardware differences between two machines, one clause per difference."""
    pairs = {
        "device": (base.device.partition(":")[0], new.device.partition(":")[0]),
        "device name": (base.device_name, new.device_name),
        "CPU": (base.cpu, new.cpu),
        "number of CPUs": (base.cpu_count, new.cpu_count),
        "threads": (base.threads, new.threads),
    }
    return [f"{name} was {a!r}, now {b!r}" for name, (a, b) in pairs.items() if a != b]


def check_hardware(base: Environment, new: Environment) -> None:
    """Raise UnlikeHardware if two machines differ."""
    if unlike := hardware_differences(base, new):
        raise UnlikeHardware(unlike)


def software_differences(base: Environment, new: Environment) -> list[str]:
    """The differences in the versions of packages and drivers, one clause per difference."""
    names = sorted(base.versions.keys() | new.versions.keys())
    pairs = ((name, base.versions.get(name, "absent"), new.versions.get(name, "absent")) for name in names)
    return [f"{name} {a} → {b}" for name, a, b in pairs if a != b]


def describe_overload(base: Environment, new: Environment) -> str:
    """Describe a load at which even CPU times are unreliable; empty if there is none, or if the baseline had it too.

    Threads of one op spin at barriers: if one of them waits for a core, the CPU time of the others rises with the wall
    time (measured: 300-fold for a layer norm on two loaded cores).
    """
    if new.device.partition(":")[0] != "cpu" or new.threads < 2 or not _overloaded(new) or _overloaded(base):
        return ""
    before = "" if base.load_average is None else f" ({significant(round(base.load_average, 1))} in the baseline)"
    load, limit = significant(round(new.load_average or 0.0, 1)), significant(OVERLOADED * new.cpu_count)
    return (
        f"the load average was {load}{before}, limit {limit} on {new.cpu_count} CPUs, "
        f"so its {new.threads} threads competed for CPUs"
    )


def _overloaded(machine: Environment) -> bool:
    return machine.load_average is not None and machine.load_average > OVERLOADED * machine.cpu_count
