"""Launch delays, queue depths, copies and synchronising calls."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import launches, summary


def test_launch_delay_and_queue_depth(attribute):
    events = [k.launch(10 * i, i) for i in range(3)] + [k.kernel("a", 25 + 10 * i, 10, i) for i in range(3)]
    result = launches.launches(attribute(events))
    assert (result.count, result.delay.min_ns, result.delay.max_ns) == (3, 25_000, 25_000)
    assert result.max_queue_depth == 3  # at 20 µs, three are launched and none has begun
    assert launches.launches(attribute([k.op("x", 0, 1)])).delay is None


def copy(name, ts, dur, size=None):
    size = {} if size is None else {"bytes": size}
    return k.span("gpu_memcpy", name, ts, dur, correlation=ts, device=0, stream=7, **size)


def test_copies_by_direction(attribute):
    rows = [copy("Memcpy HtoD (Pinned -> Device)", 0, 2, 4000), copy("Memcpy HtoD (Pageable -> Device)", 5, 6, 4000)]
    result = launches.copies(attribute([*rows, copy("Memcpy DtoD (Device -> Device)", 20, 1)]).trace)
    assert [(c.direction, c.count, c.time_ns, c.bytes) for c in result] == [
        ("HtoD", 2, 8_000, 8000),
        ("DtoD", 1, 1_000, None),
    ]
    assert result[0].bytes_per_s == 1e9


def test_synchronising_calls_and_the_ops_that_made_them(attribute):
    names = ["cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemcpy", "hipDeviceSynchronize", "cuCtxSynchronize"]
    calls = [k.launch(1 + i, i, name=name) for i, name in enumerate(names)]
    result = launches.synchronisations(attribute([k.op("aten::item", 0, 3), *calls]))
    assert (result.count, result.time_ns) == (4, 4_000)
    assert {row.name for row in result.by_call} == set(names) - {"cudaMemcpyAsync"}
    assert [(row.name, row.count) for row in result.by_op] == [("(no op)", 3), ("aten::item", 1)]


def test_streams_with_huge_numbers(read):
    result = summary.summarise(read([k.launch(0, 1), k.kernel("k", 5, 5, 1, stream=2**63 - 1)]))
    assert result.launches.max_queue_depth == 1
