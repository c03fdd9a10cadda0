"""Hand-written Kineto traces of a few events, in microseconds like the real ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def span(category: str, name: str, ts: float, dur: float, **args: Any) -> Event:
    """A complete event; args may hold correlation, device, stream."""
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 1, "ts": ts, "dur": dur, "args": args}


def kernel(name: str, ts: float, dur: float, correlation: int, stream: int = 7) -> Event:
    return span("kernel", name, ts, dur, correlation=correlation, device=0, stream=stream)


def launch(ts: float, correlation: int, name: str = "cudaLaunchKernel") -> Event:
    return span("cuda_runtime", name, ts, 1, correlation=correlation)


def iteration(number: int, ts: float, dur: float) -> Event:
    return span("user_annotation", f"ttprof.iteration#{number}", ts, dur)


def memory(ts: float, size: int, total: int, device_type: int = 0, device: int = -1) -> Event:
    return {
        "ph": "i",
        "cat": "cpu_instant_event",
        "s": "t",
        "name": "[memory]",
        "pid": 1,
        "tid": 1,
        "ts": ts,
        "args": {
            "Total Reserved": 2 * total,
            "Total Allocated": total,
            "Bytes": size,
            "Device Id": device,
            "Device Type": device_type,
            "Addr": 4096,
        },
    }


def write(path: Path, events: list[Event], **top: Any) -> Path:
    """Write a trace; gzipped when the name ends in .gz."""
    data = json.dumps({"schemaVersion": 1, **top, "traceEvents": events}).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def two_iterations(lose_kernel: bool = False) -> list[Event]:
    """Two iterations on one CUDA device, with sums that one can check in the head.

    Each launches kernels of 10 and 20 µs that overlap by 5 µs on two streams, and a copy of 4 µs after a gap of 6;
    each allocates 3000 bytes, then 1000, and frees both.
    """
    events = []
    for i, start in enumerate((0, 100)):
        first = 10 * i
        events += [
            iteration(i, start, 90),
            launch(start + 1, first + 1),
            launch(start + 3, first + 2),
            span("cuda_runtime", "cudaMemcpyAsync", start + 5, 1, correlation=first + 3),
            kernel("gemm", start + 10, 10, first + 1),
            kernel("softmax", start + 15, 20, first + 2, stream=8),
            span("gpu_memcpy", "Memcpy DtoD", start + 41, 4, correlation=first + 3, device=0, stream=7),
            memory(start + 2, 3000, 13000, device_type=1, device=0),
            memory(start + 4, 1000, 14000, device_type=1, device=0),
            memory(start + 50, -1000, 13000, device_type=1, device=0),
            memory(start + 60, -3000, 10000, device_type=1, device=0),
        ]
    if lose_kernel:
        events = [e for e in events if not (e["name"] == "softmax" and e["ts"] > 100)]
    return events


def op(name: str, ts: float, dur: float, tid: int = 1, **args: Any) -> Event:
    """An operator; args may hold ``External id``, ``Sequence number``, ``Fwd thread id`` through *args*."""
    return {**span("cpu_op", name, ts, dur), "tid": tid, "args": args}


def arrow(number: int, start: tuple[int, float], end: tuple[int, float]) -> list[Event]:
    """The two ends of a fwdbwd arrow, as (thread, time) pairs."""
    ends = []
    for phase, (tid, ts) in (("s", start), ("f", end)):
        ends.append({"ph": phase, "id": number, "pid": 1, "tid": tid, "ts": ts, "cat": "fwdbwd", "name": "fwdbwd"})
    return ends


def training_step() -> list[Event]:
    """One forward op in a module and its backward on another thread, each launching a kernel of 10 and 30 µs.

    A third kernel of 5 µs is launched by an op in no module, a fourth of 5 µs by no op, and a fifth of 50 µs has no
    launch.
    """
    return [
        span("python_function", "nn.Module: Net_0", 0, 50),
        span("python_function", "nn.Module: Linear_0", 5, 20),
        op("aten::linear", 6, 15, **{"Sequence number": 4, "Fwd thread id": 0}),
        op("aten::addmm", 7, 10, **{"Sequence number": 4, "Fwd thread id": 0}),
        launch(8, 1),
        kernel("gemm", 20, 10, 1),
        op(
            "autograd::engine::evaluate_function: AddmmBackward0",
            100,
            30,
            2,
            **{"Sequence number": 4, "Fwd thread id": 1},
        ),
        op("AddmmBackward0", 101, 28, 2, **{"Sequence number": 4, "Fwd thread id": 1}),
        op("aten::mm", 102, 20, 2),
        {**launch(103, 2), "tid": 2},
        kernel("gemm_t", 110, 30, 2),
        op("aten::zero_", 200, 10),
        launch(201, 3),
        kernel("fill", 205, 5, 3),
        launch(230, 4),
        kernel("fill", 235, 5, 4),
        kernel("early", 1, 50, 99, stream=8),
    ]
