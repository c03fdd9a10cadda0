"""The chain of device work that determines the span of an iteration."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import critical_chain
from ttprof.trace.iterations import Iterations


def test_the_critical_chain_adds_up_to_the_span(attribute):
    events = [
        k.iteration(0, 0, 200),
        k.launch(1, 1),
        k.kernel("a", 10, 20, 1),
        k.launch(2, 2),
        k.kernel("b", 12, 5, 2, stream=8),  # ends before a does: not on the chain
        k.launch(3, 3),
        k.kernel("c", 32, 8, 3),  # was launched before a ended: waits for it, 2 µs of latency
        k.launch(60, 4),
        k.kernel("d", 70, 10, 4),  # was launched 20 µs after c ended: waits for the host
    ]
    attribution = attribute(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert [row.name for row in only.by_name] == ["a", "d", "c"]
    assert (only.span_ns, only.length, only.work_ns) == (70_000, 3, 38_000)
    assert (only.latency_ns, only.waiting_for_launch_ns) == (2_000, 30_000)


def test_work_of_other_iterations_is_not_waiting(attribute):
    events = [
        k.iteration(0, 0, 50),
        k.launch(1, 1),
        k.kernel("a", 10, 10, 1),
        k.kernel("of the last iteration", 20, 30, 99),
        k.launch(40, 2),
        k.kernel("b", 60, 10, 2),
    ]
    attribution = attribute(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert (only.span_ns, only.work_ns, only.other_work_ns) == (60_000, 20_000, 30_000)
    assert (only.waiting_for_launch_ns, only.latency_ns) == (10_000, 0)


def test_the_chain_of_kernels_without_duration_ends(attribute):
    events = [
        k.iteration(0, 0, 90),
        *[k.launch(i, i) for i in (1, 2, 3)],
        *[k.kernel("e", 10, 0, i) for i in (1, 2, 3)],
    ]
    attribution = attribute(events)
    (only,) = critical_chain.chains(attribution, Iterations.of(attribution.trace))
    assert (only.length, only.span_ns) == (3, 0)
