"""``ttprof doctor``: what it finds, how it draws that, and the exit code for unsafe times and wrong peaks."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from machines_of_doctor import probe

from ttprof.cli.doctor import command
from ttprof.doctor.nvidia import GpuState
from ttprof.machine import CheckStatus, DeviceReport, Finding, MachineReport, PeakCheck
from ttprof.report.console import drawing
from ttprof.report.doctor import render
from ttprof.run import devices, doctor
from ttprof.run.device_peaks import StatedPeaks


@pytest.fixture
def measured(monkeypatch):
    """Every product runs at 60 TFLOP/s and the memory at 900 GB/s; the device is in the table with these peaks."""
    monkeypatch.setattr(doctor, "measure_tflops", lambda device, dtype: 60.0 if dtype == "float32" else None)
    monkeypatch.setattr(doctor, "measure_bandwidth", lambda device: 900.0)

    def stated(tflops, gb_s):
        monkeypatch.setattr(doctor, "PEAKS", {"test device": StatedPeaks({"float32": tflops}, gb_s)})
        monkeypatch.setattr(devices.CpuDriver, "name", lambda self: "test device")

    return stated


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Replaces this machine, with the given files changed, by a quiet one without a GPU."""

    def changed(files=None):
        monkeypatch.setattr("ttprof.cli.doctor.Probe", lambda: probe(tmp_path / "root", files))
        monkeypatch.setattr("ttprof.doctor.nvidia.gpus", lambda probe: [])
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    changed()
    return changed


def run(*options: str):
    return CliRunner().invoke(command, options)


def drawn(report: MachineReport) -> str:
    console = drawing()
    console.print(render(report))
    return console.export_text()


def finding(status: str, seen: str = "", change: str = "", unseen: str = "") -> Finding:
    return Finding(group="load", check="load", status=CheckStatus(status), seen=seen, change=change, unseen=unseen)


def test_a_quiet_machine_exits_with_0(machine):
    result = run()
    assert result.exit_code == 0, result.output
    assert "Nothing seen makes times unsafe" in result.stdout


def test_a_loaded_machine_exits_with_1_and_says_what_to_do(machine):
    machine({"proc/loadavg": "9.5 1 1 1/1 1"})
    result = run("--json")
    assert result.exit_code == 1, result.output
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert findings["load"] == {
        "group": "load",
        "check": "load",
        "status": "unsafe",
        "seen": "9.5 over a minute, 0.0 of 2 cores busy now",
        "change": "stop what else runs (ps aux --sort=-%cpu)",
        "unseen": "",
    }
    assert findings["governor"]["status"] == "ok"
    assert {finding["group"] for finding in findings.values()} == {"load", "processor", "set-up"}


def test_warnings_alone_exit_with_0(machine):
    machine({"sys/devices/system/cpu/smt/active": "1"})
    result = run()
    assert result.exit_code == 0, result.output
    assert "change: echo off | sudo tee /sys/devices/system/cpu/smt/control" in result.stdout


def test_the_folder_of_the_traces_is_checked(machine, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--json", "--trace-dir", str(tmp_path / "file"))
    (folder,) = [f for f in json.loads(result.stdout)["findings"] if f["check"] == "trace_dir"]
    assert folder["status"] == "warning" and "Not a directory" in folder["seen"]


def test_each_gpu_has_its_group(machine, monkeypatch):
    gpus = [GpuState(0, "GPU-1", "A", persistence=True), GpuState(1, "GPU-2", "B", utilization=99)]
    monkeypatch.setattr("ttprof.doctor.nvidia.gpus", lambda probe: gpus)
    result = run("--json")
    assert result.exit_code == 1
    findings = {(f["group"], f["check"]): f["status"] for f in json.loads(result.stdout)["findings"]}
    assert findings["GPU 0, A", "persistence"] == "ok"
    assert findings["GPU 1, B", "other work"] == "unsafe"


def test_a_finding_is_drawn_with_what_was_not_seen_and_what_to_change():
    findings = [
        finding("ok", "quiet"),
        finding("warning", "on", change="sudo off"),
        finding("unknown", "5 MHz", unseen="the rest"),
        finding("unknown", unseen="nothing is stated"),
    ]
    text = drawn(MachineReport(versions={"torch": "2"}, devices=[], tools={}, findings=findings))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "load ok quiet" in lines
    assert "load warning on" in lines and "change: sudo off" in lines
    assert "load unknown 5 MHz; not seen: the rest" in lines
    assert "load unknown nothing is stated" in lines
    assert lines[-1] == "Nothing seen makes times unsafe, 1 warning, 2 unknown"


def test_the_last_line_names_what_is_unsafe():
    findings = [finding("unsafe", "9.5"), finding("warning", "on", change="off")]
    text = drawn(MachineReport(versions={"torch": "2"}, devices=[], tools={}, findings=findings))
    assert text.splitlines()[-1].strip() == "Times measured now are unsafe: load, 1 warning"


def test_peaks_that_the_measurement_confirms(measured, machine):
    measured(67.0, 1000.0)
    result = run("--peaks", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (device,) = [d for d in report["devices"] if d["device"] == "cpu"]
    assert device["in_table"]
    assert device["peaks"] == [
        {"what": "float32", "unit": "TFLOP/s", "stated": 67.0, "measured": 60.0},
        {"what": "memory", "unit": "GB/s", "stated": 1000.0, "measured": 900.0},
    ]
    assert "cpu: products of float32" in result.stderr


@pytest.mark.parametrize(
    ("device", "stated", "announced"),
    [
        ("cpu", None, ["float32", "bfloat16", "float16", "float64"]),
        ("mps", None, ["float32", "bfloat16", "float16"]),
        ("cuda", None, ["float32", "tf32", "bfloat16", "float16", "float64"]),
        ("cuda", {"float32": 8.1, "float16": 65.0}, ["float32", "bfloat16", "float16", "float64"]),
    ],
    ids=["a CPU", "a device without float64", "a GPU", "a GPU without TF32"],
)
def test_only_products_that_the_device_computes_are_announced(tmp_path, monkeypatch, device, stated, announced):
    class Driver:
        def name(self) -> str:
            return "test device"

    monkeypatch.setattr(doctor, "usable", lambda: [torch.device(device)])
    monkeypatch.setattr(doctor, "driver", lambda device: Driver())
    monkeypatch.setattr(doctor, "cache_bytes", lambda device: 2**20)
    monkeypatch.setattr(doctor, "PEAKS", {"test device": StatedPeaks(stated, 320)} if stated else {})
    monkeypatch.setattr(doctor, "measure_tflops", lambda device, dtype: 1.0)
    monkeypatch.setattr(doctor, "measure_bandwidth", lambda device: 1.0)
    steps = []
    doctor.examine(True, steps.append, probe(tmp_path), tmp_path)
    assert steps == [*(f"{device}: products of {dtype}" for dtype in announced), f"{device}: bandwidth of its memory"]


@pytest.mark.parametrize(
    ("tflops", "gb_s", "remark"),
    [
        (50.0, 1000.0, "cpu, float32: faster than stated, so the table is wrong for this device"),
        (67.0, 2000.0, "cpu, memory: much slower than stated: the device is busy, throttled, or limited in power"),
    ],
)
def test_peaks_that_the_measurement_contradicts(measured, machine, tflops, gb_s, remark):
    measured(tflops, gb_s)
    result = run("--peaks")
    assert result.exit_code == 1
    assert remark in result.stdout


def test_without_peaks_nothing_is_measured(machine, monkeypatch):
    monkeypatch.setattr(doctor, "measure_tflops", lambda device, dtype: pytest.fail("measured"))
    result = run()
    assert result.exit_code == 0, result.output
    assert "torch" in result.stdout and "nsys" in result.stdout


def test_a_device_without_peaks_says_how_to_get_them():
    unknown = DeviceReport(device="cpu", name="CPU", cache_bytes=2**25, threads=2, in_table=False, peaks=[])
    text = drawn(MachineReport(versions={"torch": "2"}, devices=[unknown], tools={"nsys": "2024.1"}))
    assert "cpu is not in the table of devices: --peaks measures its peaks, as does a limit on sol" in text
    assert "CPU, 2 threads" in text and "32 MiB" in text


@pytest.mark.parametrize(
    ("measured_value", "off"), [(49.9, True), (50.1, False), (104.9, False), (105.1, True), (None, False)]
)
def test_large_products_reach_half_to_all_of_the_peak(measured_value, off):
    assert PeakCheck(what="float32", unit="TFLOP/s", stated=100.0, measured=measured_value).off is off
