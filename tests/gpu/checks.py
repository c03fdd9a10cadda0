"""The cross-checks of every metric of a GPU against an independent measure: a table of functions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from gpu import independent, planted
from gpu.comparing import Check, Comparison
from gpu.measuring import Bench
from torch import nn

from ttprof.result import CaseResult

CYCLES = 2_000_000
"""About a millisecond of a spinning kernel."""

MB = 2**18
"""Elements of a float32 tensor of 1 MB."""

EVENTS, AVERAGES, HAND = "torch.cuda.Event", "key_averages()", "counted by hand"
ALLOCATOR, HISTORY, RAW = "torch.cuda peaks", "_record_memory_history", "the raw JSON of the trace"

Comparisons = Iterator[Comparison]


def errors_of(case: CaseResult) -> Comparisons:
    """A comparison for each verdict that is an ERROR: the kit expects none."""
    for error in (v for v in case.verdicts if v.status == "ERROR"):
        yield Comparison(error.reason, "no ERROR", "ERROR", "no ERROR")


def latency(bench: Bench) -> Comparisons:
    """Timed before any profiler session of the process."""
    for name, dim, batch in (("small", 256, 64), ("large", 4096, 2048)):
        module, x = planted.FeedForward(dim, 4 * dim).to(bench.device).eval(), bench.randn(batch, dim)
        times = independent.event_times(partial(module, x))
        case = bench.measure(f"latency {name}", module, x, timed=True)
        yield Comparison(f"latency_ms, {name}", EVENTS, case.metrics.get("latency_ms"), times.device, 0.1, 0.01)
        host = case.metrics.get("host_latency_ms")
        yield Comparison(f"host_latency_ms, {name}", "perf_counter", host, times.host, 0.2, 0.03)
        yield Comparison(f"cpu_time_ms, {name}", "thread_time", case.metrics.get("cpu_time_ms"), times.cpu, 0.25, 0.03)
        overhead = case.metrics["recorded_latency_ms"] / case.metrics["host_latency_ms"]
        against = "recorded_latency_ms over host_latency_ms"
        yield Comparison(f"profiler_overhead, {name}", against, case.metrics.get("profiler_overhead"), overhead, 0.01)
        yield from errors_of(case)


def cold_cache(bench: Bench) -> Comparisons:
    x = bench.randn(8 * MB)
    bytes_in_l2 = torch.cuda.get_device_properties(bench.device).L2_cache_size
    buffer = torch.empty(4 * bytes_in_l2, dtype=torch.uint8, device=bench.device)
    adds = planted.Adds(1)
    times = independent.event_times(lambda: adds(x), before=lambda: buffer.zero_())
    case = bench.measure("cold cache", adds, x, timed=True, cache=("cold",))
    yield Comparison("latency_ms with a cold cache", EVENTS, case.metrics.get("latency_ms"), times.device, 0.2, 0.01)


def speedup(bench: Bench) -> Comparisons:
    fast, slow, x = planted.Sleeps(CYCLES), planted.Sleeps(2 * CYCLES), bench.ones(8, 8)
    one, two = (independent.event_times(partial(module, x), loops=30).device for module in (fast, slow))
    case = bench.measure("speedup", fast, x, timed=True, compare_with=(slow,))
    yield Comparison("speedup", EVENTS, case.metrics.get("speedup"), two / one, 0.05)
    yield Comparison("kernel_time_ratio", HAND, case.metrics.get("kernel_time_ratio"), 0.5, 0.05)


def kernels(bench: Bench) -> Comparisons:
    adds, x = planted.Adds(7), bench.ones(MB)
    case = bench.measure("kernels", adds, x)
    work, raw = independent.profiled_work(lambda: adds(x)), independent.raw_work(bench.traces["kernels"])
    yield Comparison("kernel_count", HAND, case.metrics.get("kernel_count"), 7)
    yield Comparison("launch_count", HAND, case.metrics.get("launch_count"), 7)
    yield Comparison("kernel_count", AVERAGES, case.metrics.get("kernel_count"), work.kernels)
    yield Comparison("kernel_time_ms", AVERAGES, case.metrics.get("kernel_time_ms"), work.kernel_ms, 0.1, 0.002)
    yield Comparison("kernel_count", RAW, case.metrics.get("kernel_count"), max(raw.kernels, default=0))
    yield Comparison("memcpy_time_ms", HAND, case.metrics.get("memcpy_time_ms"), 0)
    yield Comparison("sync_count", HAND, case.metrics.get("sync_count"), 0)
    yield Comparison("trace_complete", HAND, case.metrics.get("trace_complete"), 1)
    yield from errors_of(case)


def kernel_time(bench: Bench) -> Comparisons:
    sleeps, x = planted.Sleeps(CYCLES), bench.ones(8, 8)
    times = independent.event_times(lambda: sleeps(x), loops=30)
    case = bench.measure("kernel time", sleeps, x)
    yield Comparison("kernel_time_ms", EVENTS, case.metrics.get("kernel_time_ms"), times.device, 0.05)
    yield Comparison("device_busy_ms", EVENTS, case.metrics.get("device_busy_ms"), times.device, 0.05)


def idle(bench: Bench) -> Comparisons:
    case = bench.measure("idle", planted.Pauses(CYCLES, 0.005), bench.ones(8))
    yield Comparison("device_idle_ms", "a pause of 5 ms", case.metrics.get("device_idle_ms"), 5.0, 0.15)
    yield Comparison("sync_count", HAND, case.metrics.get("sync_count"), 1)


def streams(bench: Bench) -> Comparisons:
    alone = bench.measure("streams, one", planted.Sleeps(4 * CYCLES), bench.ones(8, 8))
    case = bench.measure("streams, two", planted.SleepsOnTwoStreams(4 * CYCLES), bench.ones(8, 8))
    one = alone.metrics["kernel_time_ms"]
    yield Comparison("kernel_time_ms of two streams", "twice one stream", case.metrics["kernel_time_ms"], 2 * one, 0.1)
    yield Comparison("device_busy_ms of two streams", "one stream", case.metrics["device_busy_ms"], one, 0.15)


def synchronisations(bench: Bench) -> Comparisons:
    case = bench.measure("synchronisations", planted.Synchronises(3), bench.ones(64), no_sync=())
    yield Comparison("sync_count", HAND, case.metrics.get("sync_count"), 3)
    yield Comparison("no_sync() of a module that waits", HAND, str(case.status), "FAIL")


def copies(bench: Bench) -> Comparisons:
    module, x = planted.CopiesToHost(), bench.ones(16 * MB)
    work = independent.profiled_work(lambda: module(x))
    case = bench.measure("copies", module, x)
    yield Comparison("memcpy_time_ms", AVERAGES, case.metrics.get("memcpy_time_ms"), work.memcpy_ms, 0.25)
    yield Comparison("kernel_count", HAND, case.metrics.get("kernel_count"), 0)


def graphs(bench: Bench) -> Comparisons:
    x = bench.ones(MB)
    replays = planted.Replays(x, 5)
    work = independent.profiled_work(lambda: replays(x))
    case = bench.measure("graphs", replays, x)
    yield Comparison("kernel_count of a CUDA graph", HAND, case.metrics.get("kernel_count"), 5)
    yield Comparison("launch_count of a CUDA graph", HAND, case.metrics.get("launch_count"), 0)
    yield Comparison("kernel_time_ms", AVERAGES, case.metrics.get("kernel_time_ms"), work.kernel_ms, 0.15, 0.003)
    yield from errors_of(case)


def memory(bench: Bench, size_mb: int = 32) -> Comparisons:
    module, x = planted.TwoBuffers(), bench.ones(size_mb * MB)
    case = bench.measure("memory", module, x, no_leak=())
    yield Comparison("memory_mb", HAND, case.metrics.get("memory_mb"), 2 * size_mb, 0.02)
    yield Comparison("leak_mb", HAND, case.metrics.get("leak_mb"), 0)
    yield from errors_of(case)
    case = bench.measure("memory ratio", module, x, compare_with=(lambda x: x + 2,))
    yield Comparison("memory_ratio", HAND, case.metrics.get("memory_ratio"), 2, 0.02)


def allocator(bench: Bench) -> Comparisons:
    module, x = planted.FeedForward(1024, 4096).to(bench.device).eval(), bench.randn(4096, 1024)
    added = independent.allocated_peak_mb(lambda: module(x))
    history = independent.history_peak_mb(lambda: module(x))
    seen: list[tuple[int, int]] = []
    case = bench.measure("allocator", planted.Watched(module, seen), x)
    yield Comparison("memory_mb", ALLOCATOR, case.metrics.get("memory_mb"), added, 0.02)
    yield Comparison("memory_mb", HISTORY, case.metrics.get("memory_mb"), history, 0.05)
    allocated, reserved = (size / 2**20 for size in seen[-1])  # of the last recorded iteration
    yield Comparison("peak_allocated_mb", ALLOCATOR, case.metrics.get("peak_allocated_mb"), allocated, 0.01)
    yield Comparison("peak_reserved_mb", ALLOCATOR, case.metrics.get("peak_reserved_mb"), reserved, 0.01)


def leak(bench: Bench) -> Comparisons:
    kept: list[torch.Tensor] = []
    case = bench.measure("leak", planted.Leaks(kept, 2**16), bench.ones(64), expect={"leak_mb": 0})
    yield Comparison("leak_mb of 64 KB a call", HAND, case.metrics.get("leak_mb"), 0.0625)
    yield Comparison("no_leak() of a module that leaks", HAND, str(case.status), "FAIL")


def left_behind(bench: Bench) -> Comparisons:
    module, x = planted.FeedForward(256, 1024).to(bench.device).eval(), bench.randn(64, 256)
    bench.measure("left behind", module, x)
    gc.collect()
    before = torch.cuda.memory_allocated(bench.device)
    bench.measure("left behind", module, x)
    gc.collect()
    after = torch.cuda.memory_allocated(bench.device)
    yield Comparison("bytes that a suite leaves on the device", ALLOCATOR, after - before, 0)


def backward(bench: Bench) -> Comparisons:
    module, x = planted.FeedForward(1024, 4096).to(bench.device).eval(), bench.randn(2048, 1024)
    work = independent.profiled_work(lambda: module(x), grad=True)
    case = bench.measure("backward", module, x, backward=())
    forward, back = case.metrics.get("forward_kernel_time_ms"), case.metrics.get("backward_kernel_time_ms")
    yield Comparison("forward_kernel_time_ms", AVERAGES, forward, work.kernel_ms, 0.1, 0.005)
    total = None if forward is None or back is None else forward + back
    yield Comparison("forward and backward", "kernel_time_ms", total, case.metrics.get("kernel_time_ms"), 0.02)
    both = independent.profiled_work(lambda: forward_and_backward(module, x), grad=True)
    share = case.metrics.get("backward_share")
    yield Comparison("backward_share", AVERAGES, share, 1 - work.kernel_ms / both.kernel_ms, 0.1)
    saved = saved_mb(module, x)
    yield Comparison("activation_mb", "saved_tensors_hooks", case.metrics.get("activation_mb"), saved, 0.001)


def forward_and_backward(module: nn.Module, x: torch.Tensor) -> None:
    """An iteration as ttprof runs it: gradients are None before, and the outputs are summed."""
    for parameter in module.parameters():
        parameter.grad = None
    output = module(x)
    output.backward(torch.ones_like(output))


def saved_mb(module: nn.Module, x: torch.Tensor) -> float:
    """The bytes that autograd saves in a forward, in MB, without parameters and the input."""
    known = {t.untyped_storage().data_ptr() for t in (*module.parameters(), x)}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(x)  # alive until the sizes are summed, so that no address is used twice
    total = sum(saved.values())
    del output
    return total / 2**20


def flops(bench: Bench) -> Comparisons:
    module, x = nn.Linear(512, 2048, bias=False).to(bench.device).eval(), bench.randn(1024, 512)
    case = bench.measure("flops", module, x, timed=True)
    count = 2 * 1024 * 512 * 2048
    yield Comparison("flops", HAND, case.metrics.get("flops"), count)
    rate = count / (case.metrics["latency_ms"] * 1e-3) / 1e12
    yield Comparison("tflops", "flops over latency_ms", case.metrics.get("tflops"), rate, 0.02)


def numerics(bench: Bench) -> Comparisons:
    module, x = nn.Linear(512, 512).to(bench.device, torch.bfloat16).eval(), bench.randn(64, 512, dtype=torch.bfloat16)
    with torch.no_grad():
        ours, exact = module(x).double(), nn.functional.linear(x.double(), module.weight.double(), module.bias.double())
    error = float((ours - exact).norm() / exact.norm())
    case = bench.measure("numerics", module, x, tolerance=(1e-2,))
    yield Comparison("rel_error in bfloat16", "float64 by hand", case.metrics.get("rel_error"), error, 0.01)
    yield Comparison("tolerance of a linear layer in bfloat16", HAND, str(case.status), "PASS")


def scaling(bench: Bench) -> Comparisons:
    for law, module in (("linear", planted.Sleeps(2000, scaled=True)), ("constant", planted.Sleeps(CYCLES))):
        with bench.suite(module, lambda batch_size, seq_len: bench.ones(batch_size, seq_len)) as suite:
            sweep = suite.test(module, name=f"scaling {law}").with_seq_lengths([256, 512, 1024, 2048])
            sweep.expect_scaling(law, metric="kernel_time_ms")
        assert suite.result is not None
        (case,) = suite.result
        yield Comparison(f"growth of a spinning kernel: {law}", HAND, str(case.status), "PASS")


def compiled(bench: Bench) -> Comparisons:
    module = planted.FeedForward(512, 2048).to(bench.device).eval()
    fused: Any = torch.compile(module)
    x = bench.randn(256, 512)
    work = independent.profiled_work(lambda: fused(x))
    case = bench.measure("compiled", fused, x, tolerance=(1e-2,))
    yield Comparison("kernel_count of a compiled module", AVERAGES, case.metrics.get("kernel_count"), work.kernels)
    kernel_ms = case.metrics.get("kernel_time_ms")
    yield Comparison("kernel_time_ms of a compiled module", AVERAGES, kernel_ms, work.kernel_ms, 0.15, 0.005)
    yield Comparison("tolerance of a compiled module", HAND, str(case.status), "PASS")


SECONDS: dict[Callable[[Bench], Comparisons], float] = {latency: 15.0, scaling: 15.0}
"""How long the checks take that take longer than five seconds."""


def cross_checks(bench: Bench) -> list[Check]:
    """All of them, those of times first: a profiler session slows down the process that it ran in."""
    of_times = (latency, cold_cache, speedup, flops, scaling)
    of_traces = (kernels, kernel_time, idle, streams, synchronisations, copies, graphs)
    of_memory_and_numerics = (memory, allocator, leak, left_behind, backward, numerics)
    functions = (*of_times, *of_traces, *of_memory_and_numerics)
    quick = [Check(f.__name__.replace("_", " "), partial(f, bench), seconds=SECONDS.get(f, 5.0)) for f in functions]
    return [*quick, Check("compiled", partial(compiled, bench), needs=("triton",), seconds=60.0)]
