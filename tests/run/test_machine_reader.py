"""Readings of the machine between iterations, on a clock that is turned by hand."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from nvml_fakes import NOT_SUPPORTED, UUID, FakeNvml, NVMLError

from ttprof.machine import ClockRange, GpuUse
from ttprof.run import environment, machine_reader
from ttprof.run.machine_reader import EVERY_NS, MachineReader
from ttprof.system.nvml import NvmlGpu, Throttle


class Clock:
    """Each reading of the CPUs takes ``cost_ns``."""

    def __init__(self, cost_ns: int = 0) -> None:
        self.now, self.cost_ns, self.readings = 0, cost_ns, 0

    def read(self) -> list[float]:
        self.now += self.cost_ns
        self.readings += 1
        return [1000.0 * self.readings]


def reader(clock: Clock, fake: FakeNvml | None = None, glance=None) -> MachineReader:
    gpu = NvmlGpu(fake, UUID) if fake is not None else None
    return MachineReader(clock, gpu, glance=glance, now_ns=lambda: clock.now)


def test_readings_are_apart_and_take_at_most_a_twentieth_of_the_time():
    cheap, dear = Clock(), Clock(cost_ns=10_000_000)
    for clock, readings in ((cheap, 20), (dear, 5)):
        machine = reader(clock)
        for _ in range(1000):
            if machine.is_due:
                machine.read()
            clock.now += EVERY_NS // 50
        assert clock.readings == readings


def test_the_yardstick_is_glanced_at_before_and_after_and_its_slower_half_counts():
    times = iter([9, 1, 2, 3, 4, 5, 6, 7, 8, 7, 1, 100])
    machine = reader(Clock(), glance=lambda: {"loop": next(times)})
    assert machine.yardstick == {}
    machine.begin()
    assert machine.yardstick == {"loop": 3.5}  # of 9, 1, 2 and of 3, 4
    machine.begin()
    machine.finish()
    assert machine.yardstick == {"loop": 7.0}
    machine.finish()
    assert machine.yardstick == {"loop": 7.0} and next(times) == 100
    reader(Clock()).begin()
    assert reader(Clock()).yardstick == {}


def test_a_burst_that_ends_before_the_last_glances_is_seen():
    times = iter([20, 20, 20, 20, 20, 10, 10, 10, 10, 10])
    machine = reader(Clock(), glance=lambda: {"loop": next(times)})
    machine.begin()
    machine.finish()
    assert machine.yardstick == {"loop": 20.0}


def test_clocks_reasons_and_heat_of_all_readings_are_summed_up():
    fake = FakeNvml(sm=1980, heat=60)
    machine = reader(Clock(), fake)
    machine.read()
    fake.sm, fake.throttled, fake.heat = 1200, 0x20, 88
    machine.read()
    fake.sm, fake.throttled, fake.heat = 1500, 0x4, 85
    machine.read()
    assert machine.cpu_clocks == ClockRange(lowest=1000.0, median=2000.0, highest=3000.0)
    assert machine.gpu == GpuUse(
        sm=ClockRange(lowest=1200, median=1500, highest=1980),
        memory=ClockRange(lowest=2619, median=2619, highest=2619),
        max_sm_mhz=1980,
        throttled=[Throttle.POWER_CAP, Throttle.HEAT],
        temperature_c=88,
        others=0.0,
        other_processes=0,
    )


def test_what_the_driver_refuses_is_stated():
    refused = NVMLError(NOT_SUPPORTED)
    machine = reader(Clock(), FakeNvml(sm=refused, throttled=refused, highest=refused, processes=refused))
    machine.read()
    assert (machine.gpu.sm, machine.gpu.throttled, machine.gpu.others, machine.gpu.max_sm_mhz) == (None,) * 4
    assert "throttle reasons: Not Supported" in machine.gpu.missing and machine.gpu.temperature_c == 45


def test_a_cpu_has_no_gpu_and_a_cuda_device_has_it_by_its_uuid_or_a_reason(monkeypatch):
    with machine_reader.reading(torch.device("cpu")) as machine:
        machine.read()
        assert machine.gpu is None
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    with machine_reader.reading(torch.device("cuda", 3)) as machine:
        machine.read()
        assert machine.gpu.sm.median == 1980
    assert fake.log == ["init", "shutdown"]
    stated = {"sm_mhz": 1980, "memory_mhz": 2619, "temperature_c": 45, "throttle_reasons": 0}
    assert environment._clocks(torch.device("cuda", 3)) == stated
    fake.uuids = []
    with machine_reader.reading(torch.device("cuda", 3)) as machine:
        assert machine.gpu == GpuUse(missing="NVML: Not Found")
    assert fake.log == ["init", "shutdown"] * 3


def test_an_error_of_the_code_under_test_passes_through(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    with pytest.raises(NVMLError), machine_reader.reading(torch.device("cuda")):
        raise NVMLError(NOT_SUPPORTED)
