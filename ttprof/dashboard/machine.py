"""What the machine did while a trial was timed, in lines for the case pane: clocks, heat and other processes."""

from __future__ import annotations

from collections.abc import Iterator

from ttprof.machine import ClockRange, GpuUse, MachineUse
from ttprof.units import significant


def machine_facts(use: MachineUse | None) -> list[tuple[str, str]]:
    """The name and the text of everything that is known; empty for results of earlier versions."""
    return [] if use is None else [*_of_cpus(use), *(_of_gpu(use.gpu) if use.gpu is not None else ())]


def _of_cpus(use: MachineUse) -> Iterator[tuple[str, str]]:
    if use.cpu_clocks is not None:
        yield "CPU clock", _clock(use.cpu_clocks)
    if use.others is not None:
        yield "other processes", f"{significant(round(use.others, 2))} CPUs on average"
    if use.stolen:
        yield "other virtual machines", f"{significant(round(use.stolen, 2))} CPUs on average"
    if use.disturbed:
        yield "disturbed iterations", str(len(use.disturbed))
    if use.slowdown > 1:
        yield "slower than at other times", f"{significant(round(use.slowdown, 2))} times"


def _of_gpu(gpu: GpuUse) -> Iterator[tuple[str, str]]:
    if gpu.sm is not None:
        highest = f"; highest of the run {gpu.run_sm_mhz:.0f} MHz" if gpu.run_sm_mhz is not None else ""
        yield "GPU clock", f"{_clock(gpu.sm)}{highest}"
    if gpu.memory is not None:
        yield "GPU memory clock", _clock(gpu.memory)
    if gpu.throttled is not None:
        yield "GPU held down by", ", ".join(reason.text for reason in gpu.throttled) or "nothing"
    if gpu.temperature_c is not None:
        yield "GPU temperature", f"{gpu.temperature_c:.0f} °C at most"
    if gpu.other_processes is not None:
        used = "an unknown part" if gpu.others is None else f"{significant(round(100 * min(1.0, gpu.others)))} %"
        yield "others on the GPU", f"{used} of it, by {gpu.other_processes}" if gpu.other_processes else "none"
    if gpu.missing:
        yield "GPU not read", gpu.missing


def _clock(clock: ClockRange) -> str:
    if clock.lowest == clock.highest:
        return f"{clock.median:.0f} MHz"
    return f"{clock.lowest:.0f} … {clock.highest:.0f} MHz, median {clock.median:.0f} MHz"
