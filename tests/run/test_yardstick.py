"""The fixed workload between the cases."""

from __future__ import annotations

import pytest
import torch

from ttprof.plan.process_state import threads
from ttprof.run import yardstick
from ttprof.run.timers import Sample
from ttprof.run.yardstick import Yardstick

PARTS = {"python", "dispatch", "matmul", "copy", "weights"}


def test_each_part_takes_time_and_the_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    reading = Yardstick(torch.device("cpu")).read()
    assert reading.keys() - {"threads"} == PARTS and all(time > 0 for time in reading.values())
    assert torch.get_num_threads() == before


def test_a_glance_times_each_part_on_the_host_once_on_one_thread(monkeypatch):
    counts = []
    monkeypatch.setattr(yardstick, "_loop", lambda: counts.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    glance = Yardstick(torch.device("meta")).glance()
    assert glance.keys() - {"threads"} == PARTS and all(time > 0 for time in glance.values())
    assert counts == [1] and torch.get_num_threads() == before


@pytest.mark.parametrize(("count", "on"), [(1, [1]), (2, [1, 2])])
def test_a_part_runs_on_all_threads_of_torch_if_these_are_several(monkeypatch, count, on):
    seen = []
    monkeypatch.setattr(yardstick, "_multiply", lambda *tensors: seen.append(torch.get_num_threads()))
    with threads(count):
        glance = Yardstick(torch.device("meta")).glance()
        assert torch.get_num_threads() == count
    assert seen == on and ("threads" in glance) is (count > 1)


class FakeTimer:
    """Runs what it times, and gives it the next of some times."""

    def __init__(self, *times: int) -> None:
        self.times = list(times)

    def measure(self, call) -> Sample:
        call()
        return Sample(self.times.pop(0), 0, 0)


def test_the_third_fastest_of_the_repeats_counts(monkeypatch):
    monkeypatch.setattr(yardstick, "timer_for", lambda device: FakeTimer(*range(50, 50 - yardstick.REPEATS, -1)))
    assert Yardstick(torch.device("meta")).read()["device"] == 53 - yardstick.REPEATS


def test_a_broken_device_gives_no_time_and_costs_no_run(monkeypatch):
    class Broken:
        def measure(self, call):
            raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(yardstick, "timer_for", lambda device: Broken())
    assert Yardstick(torch.device("meta")).read().keys() - {"threads"} == PARTS
