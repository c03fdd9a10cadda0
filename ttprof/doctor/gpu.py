"""Checks of an NVIDIA GPU: clocks and what limits them, other work on it, and its modes."""

from __future__ import annotations

from ttprof.doctor.diagnosis import Diagnosis, ok, unknown, unsafe, warning
from ttprof.doctor.nvidia import GpuState
from ttprof.doctor.probe import Probe
from ttprof.system.nvml import LIMITED, SLOWED, Throttle, reasons

BUSY_PERCENT = 5
PARAMETERS = "proc/driver/nvidia/params"


def throttling(gpu: GpuState) -> Diagnosis:
    """Whether something keeps the clocks down."""
    if gpu.throttled is None:
        return unknown("the driver does not say what limits the clocks")
    heat = "" if gpu.temperature_c is None else f", {gpu.temperature_c} °C"
    slowed = [reason.text for reason in reasons(gpu.throttled) if reason in SLOWED]
    limited = [reason.text for reason in reasons(gpu.throttled) if reason in LIMITED]
    if slowed:
        return unsafe(
            f"slowed by {', '.join(slowed + limited)}{heat}", "cool it, check its power: nvidia-smi -q -d POWER"
        )
    if limited:
        return warning(
            f"limited by {', '.join(limited)}{heat}", f"lower, steady clocks: sudo nvidia-smi -i {gpu.index} -lgc MHZ"
        )
    return ok(f"nothing limits the clocks{heat}")


def clocks(gpu: GpuState) -> Diagnosis:
    """Whether the clocks are fixed."""
    if gpu.sm_mhz is None or gpu.max_sm_mhz is None:
        return unknown("the driver does not say the clocks")
    seen = f"{gpu.sm_mhz} of {gpu.max_sm_mhz} MHz now"
    if Throttle.APPLICATION_CLOCKS in reasons(gpu.throttled or 0):
        return ok(f"{seen}, at the clocks set for applications")
    return unknown(
        "whether nvidia-smi -lgc locks them", seen, f"sudo nvidia-smi -i {gpu.index} -lgc MHZ (-rgc undoes it)"
    )


def other_work(gpu: GpuState) -> Diagnosis:
    """Whether kernels of another process run on it."""
    if gpu.utilization is None:
        return unknown("the driver does not say how busy it is")
    seen = f"busy {gpu.utilization} % of the last sample"
    return unsafe(seen, "nvidia-smi lists the processes") if gpu.utilization >= BUSY_PERCENT else ok(seen)


def persistence(gpu: GpuState) -> Diagnosis:
    """Whether the driver stays loaded between processes."""
    if gpu.persistence is None:
        return unknown("the driver does not say")
    off = warning("off: the driver is loaded anew by each process", f"sudo nvidia-smi -i {gpu.index} -pm 1")
    return ok("on") if gpu.persistence else off


def mig(gpu: GpuState) -> Diagnosis:
    """Whether the GPU is divided."""
    if gpu.mig is None:
        return ok("not supported, or not stated")
    divided = warning("on: a slice, whose neighbours share power", f"sudo nvidia-smi -i {gpu.index} -mig 0")
    return divided if gpu.mig else ok("off")


def ecc(gpu: GpuState) -> Diagnosis:
    """Whether memory is corrected, which takes bandwidth on some GPUs."""
    return unknown("the driver does not say") if gpu.ecc is None else ok("on" if gpu.ecc else "off")


def counters(probe: Probe) -> Diagnosis | None:
    """Whether users may read hardware counters, as ncu does; None without a driver of NVIDIA."""
    lines = (probe.text(PARAMETERS) or "").splitlines()
    restricted = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("RmProfilingAdminOnly")), None
    )
    if restricted is None:
        return None
    if restricted == "0" or probe.privileged:
        return ok("for all users" if restricted == "0" else "for root, which this is")
    line = "options nvidia NVreg_RestrictProfilingToAdminUsers=0"
    return warning("for administrators only: ncu needs root", f"{line} in /etc/modprobe.d/nvidia.conf, and reboot")
