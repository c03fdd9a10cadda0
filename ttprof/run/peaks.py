"""The peaks of the device under test: from the table of devices, or else measured by large products and copies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch

from ttprof.plan.process_state import threads
from ttprof.run.device_peaks import PEAKS, StatedPeaks
from ttprof.run.devices import cache_bytes
from ttprof.run.timers import timer_for
from ttprof.system.process import no_gc, physical_cores

MIN_PRODUCT_NS = 2_000_000
"""A product is large enough once it takes this long, or has MAX_SIDE rows."""

MIN_SIDE, MAX_SIDE = 512, 8192

PATIENCE_NS, MOST_NS = 200_000_000, 3_000_000_000
"""The fastest run is the peak, once no run was faster for so long: other processes may slow down most of them."""

MIN_GAIN = 0.02

CACHES = 4
"""The buffers are so many times larger than the cache, so that every byte comes from memory."""

MIN_BUFFER_BYTES, MAX_BUFFER_BYTES = 2**26, 2**30

MULTIPLIED = ("float32", "tf32", "bfloat16", "float16", "float64")
"""The dtypes whose peak can be measured."""


class DevicePeaks:
    """The peaks of *device*. Those of a device that the table lacks are measured when they are first asked for."""

    def __init__(self, device: torch.device, name: str) -> None:
        self._device = device
        self._stated: StatedPeaks | None = PEAKS.get(name)
        self._measured: dict[str, float | None] = {}

    @property
    def measured(self) -> bool:
        """Whether the peaks are measured."""
        return self._stated is None

    def tflops(self, dtype: str) -> float | None:
        """The peak rate of *dtype* in TFLOP/s; None if the table lacks the dtype, or it can't be multiplied."""
        if self._stated is not None:
            return self._stated.tflops.get(dtype)
        if dtype not in self._measured:
            self._measured[dtype] = measure_tflops(self._device, dtype)
        return self._measured[dtype]

    @cached_property
    def bandwidth_gb_s(self) -> float:
        """The peak bandwidth of the memory in GB/s."""
        return measure_bandwidth(self._device) if self._stated is None else self._stated.bandwidth_gb_s

    @cached_property
    def cache_bytes(self) -> int:
        """The size of the last-level cache."""
        return cache_bytes(self._device)


def measure_tflops(device: torch.device, dtype: str) -> float | None:
    """The fastest rate of products of square matrices in *dtype*, in TFLOP/s; None if *device* can't multiply it.

    On a CPU it is the rate of one thread in CPU time, times the cores that torch uses: other processes do not lower it,
    as they would lower the rate of threads that wait for each other.
    """
    if dtype not in MULTIPLIED or (dtype == "tf32" and device.type != "cuda"):
        return None
    kind = torch.float32 if dtype == "tf32" else getattr(torch, dtype)
    try:
        with _matmul_precision("high" if dtype == "tf32" else "highest"):
            if device.type != "cpu":
                return _product_rate(device, kind)
            cores = min(torch.get_num_threads(), physical_cores())
            with threads(1):
                return cores * _product_rate(device, kind)
    except (RuntimeError, TypeError):  # no product in this dtype on this device
        return None


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    side = MIN_SIDE
    while True:
        a = torch.randn(side, side, device=device).to(dtype)
        b = torch.randn(side, side, device=device).to(dtype).t()  # the layout of the weights of nn.Linear
        fastest = min(_fastest_ns(functools.partial(torch.mm, a, other), device) for other in (a, b))
        if fastest >= MIN_PRODUCT_NS or side >= MAX_SIDE:
            return 2 * side**3 / fastest / 1e3
        side *= 2


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure_bandwidth(device: torch.device) -> float:
    """The fastest rate of reading, or of reading and writing, buffers larger than the cache, in GB/s."""
    size = min(max(CACHES * cache_bytes(device), MIN_BUFFER_BYTES), MAX_BUFFER_BYTES)
    source = torch.ones(size // 4, device=device)  # not zeros, which the system does not back with memory
    target = torch.ones_like(source)
    copied = 2 * size / _fastest_ns(lambda: target.copy_(source), device)
    read = size / _fastest_ns(source.sum, device)
    return max(copied, read)


def _fastest_ns(call: Callable[[], object], device: torch.device) -> int:
    """The least time of *call* in ns: on a single thread of a CPU its CPU time, else its latency."""
    timer = timer_for(device)
    of_cpu = device.type == "cpu" and torch.get_num_threads() == 1

    def sample() -> int:
        measured = timer.measure(call)
        return max(1, measured.cpu_ns if of_cpu else measured.latency_ns)

    with torch.no_grad(), no_gc():
        fastest = sample()
        spent = since = 0
        while since < PATIENCE_NS and spent < MOST_NS:
            took = sample()
            spent, since = spent + took, 0 if took < (1 - MIN_GAIN) * fastest else since + took
            fastest = min(fastest, took)
    return fastest
