"""Tables of kernels and ops: totals, self times, quantiles and efficiency."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import efficiency, tables


def test_tables_have_totals_self_times_quantiles_and_launched_kernels(attribute):
    attribution = attribute(k.training_step())
    early, _, fill, _ = tables.kernels(attribution.trace)
    assert (early.name, early.time_ns) == ("early", 50_000)
    assert (fill.count, fill.mean_ns, fill.spread.median_ns, fill.spread.max_ns) == (2, 5_000, 5_000, 5_000)
    rows = {row.name: row for row in tables.ops(attribution)}
    linear, addmm = rows["aten::linear"], rows["aten::addmm"]
    assert (linear.time_ns, linear.self_ns, linear.kernel_count) == (15_000, 5_000, 0)
    assert (addmm.self_ns, addmm.kernel_count, addmm.kernel_ns, addmm.flops) == (10_000, 1, 10_000, None)
    stated = attribute([k.op("aten::mm", 0, 1, flops=100), k.op("aten::mm", 2, 1, flops=20), k.op("aten::add", 4, 1)])
    assert {row.name: row.flops for row in tables.ops(stated)} == {"aten::mm": 120, "aten::add": None}


def detailed(name, ts, dur, blocks, occupancy):
    event = k.kernel(name, ts, dur, ts)
    event["args"] |= {"blocks per SM": blocks, "est. achieved occupancy %": occupancy}
    return event


def test_efficiency_is_weighted_by_time(attribute):
    rows = [detailed("sm80_xmma_gemm", 0, 30, 4.0, 50), detailed("copy", 40, 10, 0.5, 10), k.kernel("bare", 60, 10, 3)]
    result = efficiency.efficiency(attribute(rows).trace)
    assert (result.occupancy_percent, result.sm_efficiency_percent) == (40.0, 87.5)
    assert (result.stated_share, result.tensor_core_ns, result.tensor_core_share) == (0.8, 30_000, 0.6)
