"""The clocks of CPUs, read from a folder like /sys/devices/system/cpu."""

from __future__ import annotations

import os

from ttprof.system import cpu_clocks
from ttprof.system.cpu_clocks import CpuClocks


def write(folder, cpu: int, text: str) -> None:
    (folder / f"cpu{cpu}" / "cpufreq").mkdir(parents=True)
    (folder / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq").write_text(text)


def test_the_clocks_of_the_cpus_of_the_process_are_read_in_mhz(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    write(tmp_path, 0, "3400000\n")
    write(tmp_path, 1, "1000000\n")
    write(tmp_path, 2, "800500\n")
    write(tmp_path, 5, "<unknown>\n")
    assert CpuClocks(tmp_path).read() == [3400.0, 800.5]


def test_of_many_cpus_a_bounded_number_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(100)), raising=False)
    for cpu in range(100):
        write(tmp_path, cpu, "2000000\n")
    assert 10 <= len(CpuClocks(tmp_path).read()) <= cpu_clocks.MOST


def test_without_a_driver_there_are_no_clocks(tmp_path):
    assert CpuClocks(tmp_path).read() == []
