"""Live allocations, their peak and the curve of allocated bytes."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import memory


def allocation(ts, size, total, address):
    event = k.memory(ts, size, total, device_type=1, device=0)
    return {**event, "args": {**event["args"], "Addr": address}}


def test_live_allocations_at_the_peak_by_op_and_module(attribute):
    events = [
        k.span("user_annotation", "module: mlp", 0, 10),
        k.op("aten::mm", 1, 3),
        k.op("aten::add", 5, 3),
        allocation(2, 1000, 11_000, 1),  # freed before the peak
        allocation(3, 400, 11_400, 2),
        allocation(4, -1000, 10_400, 1),
        allocation(6, 3000, 13_400, 1),  # the same address again
        allocation(20, -400, 13_000, 2),
        allocation(30, 50, 13_050, 5),  # in no op
    ]
    (result,) = memory.allocations(attribute(events))
    assert (result.allocations, result.allocated_bytes, result.frees, result.freed_bytes) == (4, 4450, 2, 1400)
    peak = result.peak
    assert (peak.at_ns, peak.allocated_bytes, peak.before_trace_bytes) == (4_000, 13_400, 10_000)
    assert [(h.name, h.count, h.bytes) for h in peak.by_op] == [("aten::add", 1, 3000), ("aten::mm", 1, 400)]
    assert [(h.name, h.bytes) for h in peak.by_module] == [("mlp", 3400)]
    assert [(h.name, h.bytes) for h in result.by_op][-1] == (memory.UNATTRIBUTED, 50)
    assert result.curve[0] == (0, 11_000, 22_000)
    assert result.curve[-1] == (28_000, 13_050, 26_100)


def test_without_totals_there_is_no_peak_and_no_curve(attribute):
    event = k.memory(1, 64, 64)
    del event["args"]["Total Allocated"], event["args"]["Total Reserved"]
    (result,) = memory.allocations(attribute([event]))
    assert (result.allocated_bytes, result.peak, result.curve) == (64, None, None)


def test_a_long_curve_keeps_its_highest_point(attribute):
    events = [k.memory(i, 1, 5000 if i == 777 else i) for i in range(2000)]
    (result,) = memory.allocations(attribute(events))
    assert len(result.curve) <= memory.CURVE_POINTS + 1
    assert max(point[1] for point in result.curve) == 5000
