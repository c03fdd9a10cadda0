"""The peaks of devices: from the table, or measured by products and copies whose times are known."""

from __future__ import annotations

import pytest
import torch

from ttprof.run import peaks
from ttprof.run.device_peaks import PEAKS
from ttprof.run.peaks import DevicePeaks, measure_bandwidth, measure_tflops
from ttprof.run.timers import Sample

CPU = torch.device("cpu")


class FixedTimer:
    """Every call takes the same time, in ns."""

    def __init__(self, latency_ns: int, cpu_ns: int) -> None:
        self.sample = Sample(latency_ns, latency_ns, cpu_ns)
        self.calls = 0

    def measure(self, call):
        call()
        self.calls += 1
        return self.sample


@pytest.fixture
def timed(monkeypatch):
    def use(latency_ns, cpu_ns=0):
        timer = FixedTimer(latency_ns, cpu_ns)
        monkeypatch.setattr(peaks, "timer_for", lambda device: timer)
        return timer

    return use


def test_the_rate_of_products_on_a_cpu_is_that_of_one_thread_times_the_cores(timed, monkeypatch):
    timed(latency_ns=10**9, cpu_ns=4_000_000)
    monkeypatch.setattr(peaks, "physical_cores", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(peaks, "_fastest_ns", lambda call, device: 4_000_000)
    assert measure_tflops(CPU, "float32") == pytest.approx(3 * 2 * 512**3 / 4e-3 / 1e12)


def test_a_product_that_takes_too_short_to_be_timed_grows(timed, monkeypatch):
    sides = []

    def fastest(call, device):
        sides.append(call().shape[0])
        return 100_000 if len(sides) < 3 else 2_500_000

    monkeypatch.setattr(peaks, "_fastest_ns", fastest)
    monkeypatch.setattr(peaks, "physical_cores", lambda: 1)
    assert measure_tflops(CPU, "float32") == pytest.approx(2 * 1024**3 / 2.5e-3 / 1e12)
    assert sides == [512, 512, 1024, 1024]


@pytest.mark.parametrize("dtype", ["int8", "float8", "tf32"])
def test_what_can_not_be_multiplied_here_has_no_peak(dtype):
    assert measure_tflops(CPU, dtype) is None


@pytest.mark.parametrize(
    ("threads", "latency_ns", "cpu_ns"), [(2, 10_000_000, 10**9), (1, 10**9, 10_000_000)], ids=["latency", "CPU time"]
)
def test_the_bandwidth_counts_reads_and_writes_of_buffers_larger_than_the_cache(
    timed, monkeypatch, threads, latency_ns, cpu_ns
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    timer = timed(latency_ns, cpu_ns)
    monkeypatch.setattr(peaks, "cache_bytes", lambda device: 2**10)
    size = 2**26  # the smallest buffer; a copy moves twice as much
    assert measure_bandwidth(CPU) == pytest.approx(2 * size / 1e-2 / 1e9)
    assert timer.calls > 2


def test_the_precision_of_products_is_restored():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        measure_tflops(CPU, "float32")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_device_in_the_table_is_not_measured(monkeypatch):
    monkeypatch.setattr(peaks, "measure_tflops", lambda device, dtype: pytest.fail("measured"))
    monkeypatch.setattr(peaks, "measure_bandwidth", lambda device: pytest.fail("measured"))
    h100 = DevicePeaks(CPU, "NVIDIA H100 80GB HBM3")
    assert (h100.tflops("bfloat16"), h100.tflops("tf32"), h100.bandwidth_gb_s) == (989.4, 494.7, 3350)
    assert h100.tflops("int4") is None and not h100.measured


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A10G", "AMD EPYC"])
def test_a_part_of_a_gpu_and_a_device_with_a_similar_name_are_measured_once(name, monkeypatch):
    measured = []
    monkeypatch.setattr(peaks, "measure_tflops", lambda device, dtype: measured.append(dtype) or 1.5)
    unknown = DevicePeaks(CPU, name)
    assert unknown.measured
    assert (unknown.tflops("float32"), unknown.tflops("float32")) == (1.5, 1.5)
    assert measured == ["float32"]


@pytest.mark.parametrize("name", PEAKS)
def test_rows_of_the_table_are_in_order(name):
    row = PEAKS[name]
    rates = row.tflops
    assert rates["float64"] <= rates["float32"] <= rates.get("tf32", rates["float32"]) <= rates["float16"]
    assert rates.get("bfloat16", rates["float16"]) == rates["float16"] <= rates.get("int8", 1e9)
    assert 100 < row.bandwidth_gb_s < 10_000
