"""Describes the environment of a run: devices, versions, clocks, load, and the commit of the code under test.

Values that can't be determined are left out, never guessed.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

import torch

from ttprof.result import Environment
from ttprof.run.devices import cpu_name, driver
from ttprof.system import nvml
from ttprof.system.device_types import caveat

PACKAGES = ("ttprof", "torch", "numpy", "transformers", "triton")


def describe(device: torch.device) -> Environment:
    """The current environment, for a run on *device*."""
    return Environment(
        device=str(device),
        device_name=driver(device).name(),
        hostname=platform.node(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 0,
        threads=torch.get_num_threads(),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions=versions(),
        git_commit=_git_commit(),
        clocks=_clocks(device),
        experimental=caveat(device.type),
    )


def versions() -> dict[str, str]:
    """The versions of Python, of packages that matter here, and of CUDA or HIP."""
    present = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            present[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        present["cuda"] = torch.version.cuda
    if torch.version.hip:
        present["hip"] = torch.version.hip
    return present


def _git_commit() -> str | None:
    """The commit of the repository in the current directory, with a ``+`` if the working tree is dirty."""
    try:
        completed = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.strip() or None


def _clocks(device: torch.device) -> dict[str, Any]:
    """SM and memory clocks (MHz), temperature (°C) and throttle reasons from NVML, if nvidia-ml-py is installed."""
    if device.type != "cuda" or torch.version.cuda is None:
        return {}
    try:
        with nvml.session() as library:
            reading = nvml.NvmlGpu(library, str(torch.cuda.get_device_properties(device).uuid)).read()
    except nvml.NvmlUnavailable as problem:
        return {"missing": str(problem)}
    clocks = {
        "sm_mhz": reading.sm_mhz,
        "memory_mhz": reading.memory_mhz,
        "temperature_c": reading.temperature_c,
        "throttle_reasons": reading.throttled,
    }
    return {name: value for name, value in clocks.items() if value is not None}
