"""The checks of torch, its threads, folders and tools."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
from machines_of_doctor import probe

from ttprof.doctor import setup
from ttprof.doctor.setup import Torch
from ttprof.errors import NsightError
from ttprof.nsight import tool
from ttprof.nsight.ncu import NCU

ON_A_CPU = Torch("2.13.0+cpu", "", accelerators=0, debug=False, threads=2, cores=2)
QUOTA = {"sys/fs/cgroup/jobs/cpu.max": "150000 100000"}


@pytest.mark.parametrize(
    ("changed", "nvidia", "status", "seen"),
    [
        ({}, False, "ok", "2.13.0+cpu, for CPUs alone"),
        ({}, True, "warning", "on a machine with an NVIDIA GPU"),
        ({"built_for": "CUDA 12.4"}, False, "warning", "for CUDA 12.4, but it finds no GPU"),
        ({"built_for": "ROCm 6.2", "accelerators": 1}, False, "ok", "for ROCm 6.2"),
        ({"debug": True}, False, "unsafe", "a debug build"),
    ],
)
def test_the_build_of_torch(changed, nvidia, status, seen):
    diagnosis = setup.build(dataclasses.replace(ON_A_CPU, **changed), nvidia)
    assert diagnosis.status == status and seen in diagnosis.seen


@pytest.mark.parametrize(
    ("threads", "changed", "status", "change"),
    [
        (2, {}, "ok", ""),
        (3, {}, "unsafe", "export OMP_NUM_THREADS=2"),
        (2, QUOTA, "unsafe", "export OMP_NUM_THREADS=1"),
        (1, QUOTA, "ok", ""),
        (1, {"sys/fs/cgroup/jobs/cpu.max": "50000 100000"}, "ok", ""),
    ],
)
def test_more_threads_than_cores_or_quota_are_unsafe(tmp_path, threads, changed, status, change):
    diagnosis = setup.threads(dataclasses.replace(ON_A_CPU, threads=threads), probe(tmp_path, changed))
    assert (diagnosis.status, diagnosis.change) == (status, change)


def test_the_variables_that_set_threads_are_shown(tmp_path):
    machine = dataclasses.replace(probe(tmp_path), variables={"OMP_NUM_THREADS": "2", "HOME": "/root"})
    assert setup.threads(ON_A_CPU, machine).seen == "2 threads on 2 cores, OMP_NUM_THREADS=2"


def test_a_folder_that_can_be_written_has_its_space_stated_and_is_not_created(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    diagnosis = setup.folder(tmp_path / "a" / "traces", "another")
    assert diagnosis.status == "ok" and diagnosis.seen.endswith("traces: 3 GiB free")
    assert list(tmp_path.iterdir()) == []


def test_little_space_is_a_warning(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert setup.folder(tmp_path, "another folder").change == "another folder"


def test_a_folder_that_can_not_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    diagnosis = setup.folder(tmp_path / "file", "another folder")
    assert (diagnosis.status, diagnosis.change) == ("warning", "another folder")
    assert "Not a directory" in diagnosis.seen


def test_a_missing_tool_matters_only_with_a_gpu(monkeypatch):
    def missing(spec):
        raise NsightError(f"{spec.program} was not found: {spec.install}")

    monkeypatch.setattr(tool, "find", missing)
    assert setup.nsight(NCU, needed=False).status == "ok"
    diagnosis = setup.nsight(NCU, needed=True)
    assert diagnosis.status == "warning" and "install Nsight Compute" in diagnosis.seen


def test_the_version_of_a_tool(monkeypatch):
    monkeypatch.setattr(tool, "find", lambda spec: ("/usr/bin/ncu", (2024, 3)))
    assert setup.nsight(NCU, needed=True).seen == "2024.3"


def test_torch_for_cuda_needs_no_package_for_ranges(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert setup.nvtx(dataclasses.replace(ON_A_CPU, built_for="CUDA 12.4")).seen == "that of torch"
    assert setup.nvtx(ON_A_CPU).seen == "not installed, needed only for the backend nsys without CUDA"


def test_other_systems_than_linux_say_that_they_tell_less():
    assert setup.system("Linux") is None
    assert setup.system("Darwin").status == "unknown"


def test_without_any_place_for_temporary_files(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert setup.temporary().seen == "No usable temporary directory found"


def test_what_is_missing_altogether_has_no_space(tmp_path):
    assert setup.folder(Path("/proc/self/none"), "another").status == "warning"
