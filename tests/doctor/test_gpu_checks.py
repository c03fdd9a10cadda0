"""The checks of NVIDIA GPUs, from what nvidia-smi prints and from a fake of NVML."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import pytest
from machines_of_doctor import probe

from ttprof.doctor import gpu, nvidia
from ttprof.doctor.nvidia import GpuState

H100 = "0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, Enabled, Disabled, Enabled, 345, 1980, 31, 0, 0x0000000000000001"
GEFORCE = "1, GPU-bbbb-2, NVIDIA GeForce RTX 3090, Disabled, [N/A], [N/A], 1695, 2100, 84, 97, 0x0000000000000024"
IDLE = GpuState(0, "GPU-aaaa-1", "NVIDIA H100 80GB HBM3", True, False, True, 345, 1980, 31, 0, 1)


class NVMLError(Exception):
    pass


def fake_nvml(**changed):
    """NVML of one GPU in the state IDLE; a value that is an exception is raised."""
    values = {
        "GetUUID": "GPU-aaaa-1",
        "GetName": b"NVIDIA H100 80GB HBM3",
        "GetPersistenceMode": 1,
        "GetMigMode": [0, 0],
        "GetEccMode": [1, 1],
        "GetClockInfo": 345,
        "GetMaxClockInfo": 1980,
        "GetTemperature": 31,
        "GetUtilizationRates": SimpleNamespace(gpu=0, memory=0),
        "GetCurrentClocksThrottleReasons": 1,
        "GetHandleByIndex": "handle",
        **changed,
    }

    def function(value):
        def call(*arguments):
            if isinstance(value, Exception):
                raise value
            return value

        return call

    log = []
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: log.append("init"),
        nvmlShutdown=lambda: log.append("shutdown"),
        nvmlDeviceGetCount=lambda: 1,
        log=log,
        **{f"nvmlDevice{name}": function(value) for name, value in values.items()},
    )


def test_nvidia_smi_and_what_it_does_not_state(tmp_path):
    asked = probe(tmp_path, answers={"nvidia-smi": f"{H100}\n{GEFORCE}\n"})
    geforce = GpuState(1, "GPU-bbbb-2", "NVIDIA GeForce RTX 3090", False, None, None, 1695, 2100, 84, 97, 0x24)
    assert nvidia.from_smi(asked) == [IDLE, geforce]


@pytest.mark.parametrize(
    "output", [None, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ""]
)
def test_without_a_driver_there_is_no_gpu(tmp_path, output):
    answers = {} if output is None else {"nvidia-smi": output}
    assert nvidia.from_smi(probe(tmp_path, answers=answers)) == []


def test_drivers_that_do_not_know_the_new_name_of_the_throttle_reasons_are_asked_by_the_old_one(tmp_path):
    def ask(command):
        known = "clocks_throttle_reasons.active" in command[1]
        return H100 if known else 'Field "clocks_event_reasons.active" is not a valid field to query.'

    assert nvidia.from_smi(dataclasses.replace(probe(tmp_path), ask=ask)) == [IDLE]


def test_only_gpus_that_torch_sees_are_checked():
    other = dataclasses.replace(IDLE, index=1, uuid="GPU-bbbb-2")
    assert nvidia.of_torch([IDLE, other], ["bbbb-2"]) == [other]
    assert nvidia.of_torch([IDLE, other], []) == [IDLE, other]
    assert nvidia.of_torch([IDLE, other], ["MIG-cccc-3"]) == [IDLE, other]


def test_nvml_is_asked_first_and_shut_down(tmp_path, monkeypatch):
    nvml = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert nvidia.gpus(probe(tmp_path, answers={"nvidia-smi": GEFORCE})) == [IDLE]
    assert nvml.log == ["init", "shutdown"]


def test_what_nvml_does_not_support_is_not_known(monkeypatch):
    nvml = fake_nvml(GetMigMode=NVMLError(), GetEccMode=NVMLError(), GetCurrentClocksThrottleReasons=NVMLError())
    assert nvidia.from_nvml(nvml) == [dataclasses.replace(IDLE, mig=None, ecc=None, throttled=None)]


def test_where_nvml_fails_nvidia_smi_is_asked(tmp_path, monkeypatch):
    nvml = fake_nvml(GetHandleByIndex=NVMLError("driver not loaded"))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert nvidia.gpus(probe(tmp_path, answers={"nvidia-smi": H100})) == [IDLE]


@pytest.mark.parametrize(
    ("check", "changed", "status", "seen"),
    [
        (gpu.throttling, {}, "ok", "nothing limits the clocks, 31 °C"),
        (gpu.throttling, {"throttled": 0x24, "temperature_c": 84}, "unsafe", "slowed by heat, power cap, 84 °C"),
        (gpu.throttling, {"throttled": 0x80}, "unsafe", "slowed by power brake, 31 °C"),
        (gpu.throttling, {"throttled": 0x04}, "warning", "limited by power cap, 31 °C"),
        (gpu.throttling, {"throttled": None}, "unknown", ""),
        (gpu.other_work, {}, "ok", "busy 0 % of the last sample"),
        (gpu.other_work, {"utilization": 5}, "unsafe", "busy 5 % of the last sample"),
        (gpu.other_work, {"utilization": None}, "unknown", ""),
        (gpu.clocks, {}, "unknown", "345 of 1980 MHz now"),
        (gpu.clocks, {"throttled": 0x02}, "ok", "345 of 1980 MHz now, at the clocks set for applications"),
        (gpu.clocks, {"sm_mhz": None}, "unknown", ""),
        (gpu.persistence, {}, "ok", "on"),
        (gpu.persistence, {"persistence": False}, "warning", "off: the driver is loaded anew by each process"),
        (gpu.persistence, {"persistence": None}, "unknown", ""),
        (gpu.mig, {}, "ok", "off"),
        (gpu.mig, {"mig": True}, "warning", "on: a slice, whose neighbours share power"),
        (gpu.mig, {"mig": None}, "ok", "not supported, or not stated"),
        (gpu.ecc, {}, "ok", "on"),
        (gpu.ecc, {"ecc": False}, "ok", "off"),
        (gpu.ecc, {"ecc": None}, "unknown", ""),
    ],
)
def test_the_state_of_a_gpu(check, changed, status, seen):
    diagnosis = check(dataclasses.replace(IDLE, **changed))
    assert (diagnosis.status, diagnosis.seen) == (status, seen)
    assert diagnosis.change if status in ("warning", "unsafe") else diagnosis.unseen or status == "ok"


@pytest.mark.parametrize(
    ("params", "privileged", "status"),
    [
        (None, False, None),
        ("ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\n", False, "warning"),
        ("ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\n", True, "ok"),
        ("RmProfilingAdminOnly: 0\n", False, "ok"),
    ],
)
def test_whether_users_may_read_the_counters(tmp_path, params, privileged, status):
    machine = probe(tmp_path, {} if params is None else {"proc/driver/nvidia/params": params})
    diagnosis = gpu.counters(dataclasses.replace(machine, privileged=privileged))
    assert (diagnosis and diagnosis.status) == status
