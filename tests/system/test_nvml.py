"""NVML as fakes answer it: devices by UUID, missing answers, and which processes are others."""

from __future__ import annotations

import os
import sys

import pytest
from nvml_fakes import NO_PERMISSION, NOT_FOUND, NOT_SUPPORTED, SUCCESS, UUID, FakeNvml, NVMLError, process, sample

from ttprof.system import nvml
from ttprof.system.nvml import GpuReading, NvmlGpu, NvmlUnavailable, Throttle

OWN, OTHER = os.getpid(), 2**22 + 7  # no process has an ID above 2**22


def gpu(fake: FakeNvml) -> NvmlGpu:
    return NvmlGpu(fake, UUID, now_us=lambda: 1000)


def test_a_gpu_is_read():
    assert gpu(FakeNvml()).read() == GpuReading(1980, 2619, 0, 45, 0.0, 0)
    assert gpu(FakeNvml()).max_sm_mhz() == 1980


def test_each_answer_that_is_refused_is_none_and_has_a_reason():
    refused = {"sm": NVMLError(NOT_SUPPORTED), "throttled": NVMLError(NO_PERMISSION), "heat": NVMLError(NOT_SUPPORTED)}
    seen = gpu(FakeNvml(**refused))
    assert seen.read() == GpuReading(None, 2619, None, None, 0.0, 0)
    reasons = {"SM clock": "Not Supported", "throttle reasons": "Insufficient Permissions"}
    assert seen.unread == {**reasons, "temperature": "Not Supported"}


@pytest.mark.parametrize("nothing", [NOT_FOUND, SUCCESS])
def test_the_use_of_other_processes_is_the_mean_of_their_new_samples(nothing):
    fake = FakeNvml(processes=[process(OWN), process(OTHER)], samples=NVMLError(nothing))
    seen = gpu(fake)
    assert (seen.read().others, seen.read().other_processes) == (None, 1)  # no sample yet
    assert seen.unread == {}
    fake.samples = [sample(OTHER, 90, 999), sample(OTHER, 20, 2000), sample(OTHER, 40, 3000), sample(OWN, 60, 3000)]
    assert seen.read().others == pytest.approx(0.3)
    fake.samples = [sample(OTHER, 90, 3000), sample(OWN, 99, 4000)]
    assert (seen.read().others, seen.read().other_processes) == (0.0, 1)


def test_without_samples_of_use_others_are_only_counted():
    fake = FakeNvml(processes=[process(OWN), process(OTHER)], samples=NVMLError(NOT_SUPPORTED))
    seen = gpu(fake)
    assert (seen.read().others, seen.read().other_processes) == (None, 1)
    assert seen.unread == {"use by other processes": "Not Supported"}


def test_children_of_this_process_are_no_others(monkeypatch):
    monkeypatch.setattr(nvml, "descendants", lambda own: [OTHER])
    fake = FakeNvml(processes=[process(OWN), process(OTHER)], samples=[sample(OTHER, 50, 2000)])
    assert (gpu(fake).read().others, gpu(fake).read().other_processes) == (0.0, 0)


def test_process_ids_of_another_namespace_say_nothing_of_others():
    """In a container this process is on the driver's list under its ID on the host."""
    seen = gpu(FakeNvml(processes=[process(OTHER)], samples=[sample(OTHER, 99, 2000)]))
    assert (seen.read().others, seen.read().other_processes) == (None, None)
    assert "does not contain this process" in seen.unread["other processes"]


def test_a_mig_instance_has_another_prefix_and_an_unknown_device_is_unavailable():
    assert gpu(FakeNvml(uuids=[f"MIG-{UUID}"])).read().sm_mhz == 1980
    with pytest.raises(NvmlUnavailable, match="Not Found"):
        gpu(FakeNvml(uuids=[]))


def test_a_session_is_closed_and_says_why_it_can_not_be_opened(monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    with nvml.session() as library:
        assert library is fake
    assert fake.log == ["init", "shutdown"]
    fake.refusal = NVMLError(NO_PERMISSION)
    with pytest.raises(NvmlUnavailable, match="NVML: Insufficient Permissions"), nvml.session():
        pass
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlUnavailable, match=r"ttprof\[nvml\]"), nvml.session():
        pass


def test_the_bits_of_throttle_reasons():
    assert nvml.reasons(0) == []
    assert nvml.reasons(0x1 | 0x4 | 0x80) == [Throttle.IDLE, Throttle.POWER_CAP, Throttle.POWER_BRAKE]
    assert nvml.reasons(0x20 | 0x40 | 0x1000) == [Throttle.HEAT, Throttle.HARDWARE_HEAT]
