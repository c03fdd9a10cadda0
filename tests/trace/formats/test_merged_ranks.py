"""One Kineto file of several ranks, whose ids repeat."""

from __future__ import annotations

from pathlib import Path

import kineto_files as k
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto


def step(start: int, device: int) -> list[k.Event]:
    """A step of one rank: an op that launches a kernel."""
    return [
        k.span("cpu_op", "aten::mm", start, 20, **{"External id": 5}),
        k.span("cuda_runtime", "cudaLaunchKernel", start + 5, 2, correlation=1, **{"External id": 5}),
        {**k.kernel("gemm", start + 50, 80 + start, 1), "args": {"correlation": 1, "device": device, "stream": 7}},
    ]


def merged(*devices: int, tag: str = "[TP{:02}] {}") -> list[k.Event]:
    events = []
    for rank, device in enumerate(devices):
        for event in step(100 * rank, device):
            pid = device if event["cat"] == "kernel" else 1000 + rank
            events.append({**event, "pid": tag.format(rank, pid)})
    return events


def read(events: list[k.Event]) -> summary.Summary:
    return summary.summarise(kineto.read(k.write(Path("t.json"), events)))


def test_kernels_belong_to_the_op_of_their_rank():
    found = read(merged(0, 1, 2))
    assert found.source.ranks == ["TP00", "TP01", "TP02"] and found.kernels.without_launch == 0
    (op,) = found.ops
    assert (op.name, op.count, op.kernel_count, op.kernel_ns) == ("aten::mm", 3, 3, 540_000)
    assert found.launches.delay.max_ns == 45_000
    assert [device.device for device in found.devices] == [0, 1, 2]


def test_ranks_that_each_see_device_0_are_on_devices_of_their_own():
    found = read(merged(0, 0))
    assert [(device.device, device.busy_ns) for device in found.devices] == [(0, 80_000), (1, 180_000)]
    assert found.trace.left_out == []


def test_without_ranks_the_true_reason_is_said():
    found = read(merged(0, 1, tag="{1}"))
    assert found.trace.kernels_with_ambiguous_launch == found.kernels.without_launch == 2
    shown = " ".join(CliRunner().invoke(command, ["t.json"]).stdout.split())
    assert "2 of 2 kernels have an id that calls of several processes share, so that the launch is not known" in shown
    assert "launched before recording began" not in shown
