"""The process: cores and heap."""

from __future__ import annotations

import ctypes
import os
import resource

import pytest
import torch

from ttprof.system.process import cores, kept_heap


def test_cores_are_those_of_the_machine_where_the_system_does_not_say_which_ones(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 3}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told to keep its heap")
def test_a_kept_heap_does_not_fault_again_on_blocks_that_were_freed():
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(2**26, dtype=torch.uint8).fill_(1)  # 64 MB: 16384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() > 1000
    with kept_heap() as kept:
        counted = [faults() for _ in range(30)]  # the first ones find their place in the heap
        assert kept and counted[-5:] == pytest.approx([0] * 5, abs=1000)
    faults()
    assert faults() > 1000
