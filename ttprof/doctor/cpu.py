"""Checks of the processor: its clock, its hardware threads, and the kernel's counters that ttprof reads."""

from __future__ import annotations

from ttprof.doctor.diagnosis import Diagnosis, ok, unknown, unsafe, warning
from ttprof.doctor.probe import Probe

CPU = "sys/devices/system/cpu"
DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp")
"""Drivers whose governor ``powersave`` raises the clock under load; elsewhere it is the lowest clock, always."""

SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
COUNTING_LEVEL = 2
"""The highest perf_event_paranoid at which a user may count the instructions of an own process."""

COUNTERS = ("cpu*", "armv*")
"""Names of the processor's counters among the event sources."""

OF_THE_HOST = "the host of this virtual machine decides it"
PERFORMANCE = "sudo cpupower frequency-set -g performance"


def governor(probe: Probe) -> Diagnosis:
    """Whether the clock is kept high."""
    governors = set(probe.texts(f"{CPU}/cpu*/cpufreq/scaling_governor").values())
    drivers = set(probe.texts(f"{CPU}/cpu*/cpufreq/scaling_driver").values())
    if not governors:
        return unknown(OF_THE_HOST if probe.is_virtual else "the kernel has no driver for clocks (cpufreq)")
    seen = " and ".join(sorted(governors))
    if governors == {"performance"}:
        return ok(seen)
    lowest = "powersave" in governors and not drivers <= set(DYNAMIC_POWERSAVE)
    if lowest and not probe.is_virtual:
        return unsafe(f"{seen}: the lowest clock", PERFORMANCE)
    return warning(f"{seen}: the clock follows the load", PERFORMANCE)


def turbo(probe: Probe) -> Diagnosis:
    """Whether the clock depends on heat and on what the other cores do."""
    switches = ((f"{CPU}/intel_pstate/no_turbo", "0", "1"), (f"{CPU}/cpufreq/boost", "1", "0"))
    for path, on, off in switches:
        if (state := probe.text(path)) is not None:
            if state != on:
                return ok("off")
            return warning("on: the clock depends on heat and other cores", f"echo {off} | sudo tee /{path}")
    return unknown(OF_THE_HOST if probe.is_virtual else "the kernel has no switch for it")


def smt(probe: Probe) -> Diagnosis:
    """Whether two hardware threads share a core."""
    active = probe.text(f"{CPU}/smt/active")
    hidden = "whether the host shares cores with other machines" if probe.is_virtual else ""
    if active is None:
        return unknown(f"/{CPU}/smt is missing")
    if active == "0":
        return ok("one hardware thread per core", hidden)
    return warning("two hardware threads share a core", f"echo off | sudo tee /{CPU}/smt/control", hidden)


def clock(probe: Probe) -> Diagnosis:
    """Whether the time is read fast."""
    source = probe.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source is None:
        return unknown("the kernel does not name its clock source")
    if source in SLOW_CLOCKS:
        return warning(f"{source}: slow to read", "boot with clocksource=tsc, if the processor's is stable (dmesg)")
    return ok(source)


def power(probe: Probe) -> Diagnosis | None:
    """Whether a laptop runs on its battery; None without a power supply that says."""
    mains = [text for path, text in probe.texts("sys/class/power_supply/*/online").items() if _is_mains(probe, path)]
    if not mains:
        return None
    return ok("mains") if "1" in mains else warning("battery: clocks are kept low", "plug in the power supply")


def _is_mains(probe: Probe, path: str) -> bool:
    return probe.text(path.removesuffix("online") + "type") == "Mains"


def run_delay(probe: Probe) -> Diagnosis:
    """Whether the kernel counts how long a thread waited for a core: the witness of preemption."""
    if len((probe.text("proc/self/schedstat") or "").split()) == 3:
        return ok("counted")
    return warning("not counted: preempted iterations go unnoticed", "a kernel with CONFIG_SCHED_INFO (schedstats)")


def instructions(probe: Probe) -> Diagnosis:
    """Whether a process may count its own instructions."""
    level = probe.number("proc/sys/kernel/perf_event_paranoid")
    if level is None:
        return unknown("the kernel has no perf events")
    seen = f"perf_event_paranoid {level}"
    if not probe.privileged and level > COUNTING_LEVEL:
        return warning(f"{seen}: users may not count", f"sudo sysctl kernel.perf_event_paranoid={COUNTING_LEVEL}")
    if probe.is_virtual and not any(probe.texts(f"sys/bus/event_source/devices/{unit}/type") for unit in COUNTERS):
        return unknown("this virtual machine has no hardware counters", seen)
    return ok(seen)
