"""The table of checks, and the findings that they make on a machine."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttprof.doctor import cgroup, cpu, gpu, load, nvidia, setup
from ttprof.doctor.diagnosis import Diagnosis
from ttprof.doctor.nvidia import GpuState
from ttprof.doctor.probe import Probe
from ttprof.doctor.setup import Torch
from ttprof.machine import Finding
from ttprof.nsight.ncu import NCU
from ttprof.nsight.nsys import NSYS


@dataclass(frozen=True)
class Machine:
    """What the checks of the set-up look at."""

    probe: Probe
    torch: Torch
    gpus: list[GpuState]
    trace_dir: Path


OF_THE_HOST: dict[str, dict[str, Callable[[Probe], Diagnosis | None]]] = {
    "load": {
        "load": load.load,
        "pressure": load.pressure,
        "stolen time": load.steal,
        "swap": load.swap,
        "quota": cgroup.quota,
        "throttling": cgroup.throttling,
    },
    "processor": {
        "governor": cpu.governor,
        "turbo": cpu.turbo,
        "SMT": cpu.smt,
        "clock source": cpu.clock,
        "power": cpu.power,
        "run delay": cpu.run_delay,
        "instructions": cpu.instructions,
    },
}
"""The checks that read files of the system, by group and name."""

OF_A_GPU: dict[str, Callable[[GpuState], Diagnosis]] = {
    "throttling": gpu.throttling,
    "other work": gpu.other_work,
    "clocks": gpu.clocks,
    "persistence": gpu.persistence,
    "MIG": gpu.mig,
    "ECC": gpu.ecc,
}
"""The checks of each NVIDIA GPU, by name."""

OF_THE_SET_UP: dict[str, Callable[[Machine], Diagnosis | None]] = {
    "system": lambda machine: setup.system(platform.system()),
    "torch": lambda machine: setup.build(machine.torch, bool(machine.gpus)),
    "threads": lambda machine: setup.threads(machine.torch, machine.probe),
    "trace_dir": lambda machine: setup.folder(
        machine.trace_dir, "another folder: --trace-dir, TestSuite(trace_dir=...)"
    ),
    "temporary": lambda machine: setup.temporary(),
    "counters": lambda machine: gpu.counters(machine.probe),
    "nsys": lambda machine: setup.nsight(NSYS, bool(machine.gpus)),
    "ncu": lambda machine: setup.nsight(NCU, bool(machine.gpus)),
    "nvtx": lambda machine: setup.nvtx(machine.torch),
}
"""The checks of torch, folders and tools, by name."""


def findings(probe: Probe, torch: Torch, trace_dir: Path) -> list[Finding]:
    """The findings of all checks that apply to this machine; takes a second, in which counters are watched."""
    watched = probe.watched([load.STAT, load.PRESSURE, load.VMSTAT, *(group.stat for group in cgroup.groups(probe))])
    machine = Machine(watched, torch, nvidia.of_torch(nvidia.gpus(probe), torch.uuids), trace_dir)
    diagnoses: list[tuple[str, str, Diagnosis | None]] = []
    for group, checks in OF_THE_HOST.items() if platform.system() == "Linux" else ():
        diagnoses += [(group, name, check(watched)) for name, check in checks.items()]
    for state in machine.gpus:
        group = f"GPU {state.index}, {state.name}"
        diagnoses += [(group, name, check_gpu(state)) for name, check_gpu in OF_A_GPU.items()]
    diagnoses += [("set-up", name, check_set_up(machine)) for name, check_set_up in OF_THE_SET_UP.items()]
    return [_finding(group, name, diagnosis) for group, name, diagnosis in diagnoses if diagnosis is not None]


def _finding(group: str, name: str, diagnosis: Diagnosis) -> Finding:
    return Finding(
        group=group,
        check=name,
        status=diagnosis.status,
        seen=diagnosis.seen,
        change=diagnosis.change,
        unseen=diagnosis.unseen,
    )
