"""Cores and heap of the process."""

from __future__ import annotations

import ctypes
import os
import resource

import pytest
import torch

from ttprof.system.process import cores, retained_heap


def test_cores_fall_back_to_the_cpu_count_without_sched_getaffinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 3}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc's mallopt")
def test_a_retained_heap_reuses_freed_blocks_without_page_faults():
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(2**26, dtype=torch.uint8).fill_(1)  # 64 MB: 16384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() > 1000
    with retained_heap() as retained:
        counts = [faults() for _ in range(30)]  # the first blocks still grow the heap
        assert retained and counts[-5:] == pytest.approx([0] * 5, abs=1000)
    faults()
    assert faults() > 1000
