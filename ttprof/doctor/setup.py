"""Checks of the set-up: the build of torch, its threads, the folders to write to, and the tools of Nsight."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ttprof.doctor import cgroup
from ttprof.doctor.diagnosis import Diagnosis, ok, unknown, unsafe, warning
from ttprof.doctor.probe import Probe
from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.tool import ToolSpec
from ttprof.units import format_bytes

LITTLE_SPACE = 2**30
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Torch:
    """What the checks need to know of torch.

    Attributes:
        built_for: ``CUDA 12.4``, ``ROCm 6.2``, or empty for a build for CPUs alone.
        accelerators: How many devices other than the CPU it can use.
        uuids: The UUIDs of the NVIDIA GPUs among them.
        threads: The threads of an operation on the CPU.
        cores: The cores that this process may run on.
    """

    version: str
    built_for: str
    accelerators: int
    debug: bool
    threads: int
    cores: int
    uuids: tuple[str, ...] = ()


def build(torch: Torch, nvidia: bool) -> Diagnosis:
    """Whether torch is built for speed and for the devices of this machine (*nvidia*: the driver lists a GPU)."""
    seen = f"{torch.version}, for {torch.built_for or 'CPUs alone'}"
    if torch.debug:
        return unsafe(f"{seen}, a debug build", "install a release build: pytorch.org/get-started")
    if torch.built_for and not torch.accelerators:
        return warning(f"{seen}, but it finds no GPU", "nvidia-smi or rocm-smi, and CUDA_VISIBLE_DEVICES, say why")
    if nvidia and not torch.accelerators:
        return warning(f"{seen}, on a machine with an NVIDIA GPU", "install a CUDA build: pytorch.org/get-started")
    return ok(seen)


def threads(torch: Torch, probe: Probe) -> Diagnosis:
    """Whether torch uses more threads than it has cores or quota for."""
    variables = [f"{name}={probe.variables[name]}" for name in THREAD_VARIABLES if name in probe.variables]
    seen = ", ".join([f"{torch.threads} threads on {torch.cores} cores", *variables])
    quota = cgroup.tightest(probe)
    allowed = max(1, int(min(torch.cores, quota or torch.cores)))
    if torch.threads <= allowed:
        return ok(seen)
    limit = f"{seen}, with a quota of {quota:g}" if quota is not None and quota < torch.cores else seen
    return unsafe(limit, f"export OMP_NUM_THREADS={allowed}")


def folder(path: Path, change: str) -> Diagnosis:
    """Whether a folder, or the nearest one above it that exists, can be written, and has space."""
    try:
        existing = next((place for place in (path, *path.absolute().parents) if place.exists()), path)
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return warning(f"{path}: {error.strerror or error}", change)
    seen = f"{path}: {format_bytes(free)} free"
    return warning(seen, change) if free < LITTLE_SPACE else ok(seen)


def temporary() -> Diagnosis:
    """Whether temporary files can be written."""
    change = "another folder: export TMPDIR=..."
    try:
        place = Path(tempfile.gettempdir())
    except OSError as error:  # no folder can be written
        return warning(error.strerror or str(error), change)
    return folder(place, change)


def nsight(spec: ToolSpec, needed: bool) -> Diagnosis:
    """The version of a tool; that it is missing matters only where there is a GPU (*needed*)."""
    try:
        return ok("{}.{}".format(*tool.find(spec)[1]))
    except NsightError as error:
        return warning(str(error), "") if needed else ok("not usable here, needed only for its backend")


def nvtx(torch: Torch) -> Diagnosis:
    """What marks the ranges that Nsight records: torch built for CUDA, or a package."""
    if torch.built_for.startswith("CUDA"):
        return ok("that of torch")
    try:
        return ok(metadata.version("nvtx"))
    except metadata.PackageNotFoundError:
        return ok("not installed, needed only for the backend nsys without CUDA")


def system(name: str) -> Diagnosis | None:
    """That the checks of load and processor are left out; None on Linux."""
    return (
        None if name == "Linux" else unknown(f"load and processor: what they are read from, only Linux has, not {name}")
    )
