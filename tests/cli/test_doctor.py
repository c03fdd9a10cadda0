"""``ttprof doctor``: what it finds, how it draws that, and the exit code for peaks that contradict the table."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from ttprof.cli.doctor import command
from ttprof.machine import DeviceReport, MachineReport, PeakCheck
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


def run(*options: str):
    return CliRunner().invoke(command, options)


def test_peaks_that_the_measurement_confirms(measured):
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
def test_only_products_that_the_device_computes_are_announced(monkeypatch, device, stated, announced):
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
    doctor.examine(True, steps.append)
    assert steps == [*(f"{device}: products of {dtype}" for dtype in announced), f"{device}: bandwidth of its memory"]


@pytest.mark.parametrize(
    ("tflops", "gb_s", "remark"),
    [
        (50.0, 1000.0, "cpu, float32: faster than stated, so the table is wrong for this device"),
        (67.0, 2000.0, "cpu, memory: much slower than stated: the device is busy, throttled, or limited in power"),
    ],
)
def test_peaks_that_the_measurement_contradicts(measured, tflops, gb_s, remark):
    measured(tflops, gb_s)
    result = run("--peaks")
    assert result.exit_code == 1
    assert remark in result.stdout


def test_without_peaks_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(doctor, "measure_tflops", lambda device, dtype: pytest.fail("measured"))
    result = run()
    assert result.exit_code == 0, result.output
    assert "torch" in result.stdout and "nsys" in result.stdout


def test_a_device_without_peaks_says_how_to_get_them():
    unknown = DeviceReport(device="cpu", name="CPU", cache_bytes=2**25, threads=2, in_table=False, peaks=[])
    console = drawing()
    console.print(render(MachineReport(versions={"torch": "2"}, devices=[unknown], tools={"nsys": "2024.1"})))
    text = console.export_text()
    assert "cpu is not in the table of devices: --peaks measures its peaks, as does a limit on sol" in text
    assert "CPU, 2 threads" in text and "32 MB" in text


@pytest.mark.parametrize(
    ("measured_value", "off"), [(49.9, True), (50.1, False), (104.9, False), (105.1, True), (None, False)]
)
def test_large_products_reach_half_to_all_of_the_peak(measured_value, off):
    assert PeakCheck(what="float32", unit="TFLOP/s", stated=100.0, measured=measured_value).off is off
