"""Parents and self times of nested spans, and sums by group."""

from __future__ import annotations

import kineto_files as k
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.trace.events import Spans
from ttprof.trace.formats import kineto
from ttprof.trace.groups import quantiles, sums
from ttprof.trace.nesting import Nesting


def test_self_time_excludes_direct_children_only(read):
    op = lambda name, ts, dur: k.span("cpu_op", name, ts, dur)  # noqa: E731
    trace = read([op("linear", 0, 10), op("addmm", 2, 6), op("copy", 3, 1), op("relu", 10, 5)])
    self_ns = dict(zip(trace.name_of(trace.ops), Nesting(trace.ops).self_ns.tolist(), strict=True))
    assert self_ns == {"linear": 4000, "addmm": 5000, "copy": 1000, "relu": 5000}
    assert sum(self_ns.values()) == 15_000


trees = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.integers(1, 3), inner, st.integers(0, 3)), max_size=3),
    max_leaves=12,
)


def lay_out(tree, start, tid, rows):
    """Spans with gaps of 1 … 3 µs before and 0 … 3 µs after their children; returns the end, and the spans' time."""
    total = 0
    for before, inner, after in tree:
        begin = start + before
        end, inner_time = lay_out(inner, begin, tid, rows)
        start = end + after
        total += start - begin
        rows.append(
            ({**k.span("cpu_op", str(len(rows)), begin, start - begin), "tid": tid}, start - begin - inner_time)
        )
    return start, total


@given(st.lists(trees, min_size=1, max_size=3))
def test_self_times_equal_those_of_a_tree_walk(tmp_path_factory, threads):
    rows = [({**k.span("cpu_op", "first", 0, 1), "tid": -1}, 1)]
    for tid, tree in enumerate(threads):
        lay_out(tree, 0, tid, rows)
    trace = kineto.read(k.write(tmp_path_factory.mktemp("t") / "t.json", [event for event, _ in rows]))
    assert Nesting(trace.ops).self_ns.tolist() == [1000 * self_us for _, self_us in rows]


def nested_spans(tree, start, thread, rows, parent=-1):
    """Rows (start, end, thread, parent) of a tree of gaps and spans, and where it ends."""
    for before, inner, after in tree:
        begin, row = start + before, len(rows)
        rows.append(None)
        start = nested_spans(inner, begin, thread, rows, row) + (after or 1)
        rows[row] = (begin, start, thread, parent)
    return start


def table(rows):
    columns = np.array([(s, e - s, t) for s, e, t, _ in rows], dtype=np.int64).reshape(-1, 3).T
    return Spans.of(dict(zip(("ts", "dur", "thread"), columns, strict=True)))


@pytest.mark.parametrize("far", [1, 10**17])
@given(threads=st.lists(trees, min_size=1, max_size=3))
def test_parents_and_innermost_spans_equal_those_of_a_tree_search(far, threads):
    rows = []
    for thread, tree in enumerate(threads):
        nested_spans(tree, thread * far, thread, rows)
    result = Nesting(table(rows))
    assert result.parent.tolist() == [p for *_, p in rows]
    for thread in range(len(threads)):
        moments = np.arange(thread * far - 1, thread * far + 40)
        for moment, row in zip(moments.tolist(), result.innermost(moments, np.full(41, thread)).tolist(), strict=True):
            around = [i for i, (s, e, t, _) in enumerate(rows) if t == thread and s <= moment < e]
            assert row == (min(around, key=lambda i: rows[i][1] - rows[i][0]) if around else -1)


def test_a_span_that_outlasts_its_parent_does_not_hide_it():
    spans = table([(0, 10, 0, 0), (2, 4, 0, 0), (8, 15, 0, 0)])
    assert Nesting(spans).innermost(np.array([3, 5, 9, 12, 15]), np.zeros(5, dtype=np.int64)).tolist() == [
        1,
        0,
        2,
        2,
        -1,
    ]


def test_the_nearest_wanted_ancestor():
    result = Nesting(table([(0, 20, 0, 0), (1, 10, 0, 0), (2, 5, 0, 0), (30, 40, 0, 0)]))
    assert result.nearest(np.array([True, False, False, False])).tolist() == [0, 0, 0, -1]
    assert result.nearest(np.array([True, True, False, True])).tolist() == [0, 1, 1, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**40), 2**40)), max_size=30))
def test_sums_and_quantiles_by_group(pairs):
    group = np.array([g for g, _ in pairs], dtype=np.int64)
    values = np.array([v for _, v in pairs], dtype=np.int64)
    by_group = {g: sorted(v for h, v in pairs if h == g) for g in range(4)}
    assert sums(group, values, 4).tolist() == [sum(by_group[g]) for g in range(4)]
    for g, (low, median, high) in quantiles(group, values, (0, 0.5, 1)).items():
        in_group = by_group.pop(g)
        assert (low, high) == (in_group[0], in_group[-1])
        assert median == np.quantile(in_group, 0.5, method="inverted_cdf")
    assert not any(by_group.values())


def test_sums_beyond_float_precision_are_exact():
    values = np.array([2**60, 1, 2**60, 1])
    assert sums(np.array([0, 0, 1, 1]), values, 2).tolist() == [2**60 + 1, 2**60 + 1]


def test_crossing_spans_have_no_negative_self_time():
    spans = Spans.of({"ts": np.array([0, 1, 7]), "dur": np.array([5, 8, 2]), "thread": np.zeros(3, dtype=np.int64)})
    assert Nesting(spans).self_ns.tolist() == [1, 6, 2]
    assert Nesting(spans).parent.tolist() == [-1, 0, 1]
