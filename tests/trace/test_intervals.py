"""Interval arithmetic equals counting nanoseconds."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ttprof.trace.intervals import concurrent_ns, merged, overlap_ns, union_ns, window_of

intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30)


@given(intervals)
def test_union_equals_counting_every_nanosecond(pairs):
    start = np.array([s for s, _ in pairs], dtype=np.int64)
    end = np.array([s + d for s, d in pairs], dtype=np.int64)
    covered = {t for s, d in pairs for t in range(s, s + d)}
    assert union_ns(start, end) == len(covered)


def columns(pairs):
    start = np.array([s for s, _ in pairs], dtype=np.int64)
    return start, start + np.array([d for _, d in pairs], dtype=np.int64)


def nanoseconds(pairs):
    return [t for s, d in pairs for t in range(s, s + d)]


@given(intervals)
def test_merged_intervals_are_disjoint_and_cover_the_same(pairs):
    start, end = (column.tolist() for column in merged(*columns(pairs)))
    assert all(e < s for e, s in zip(end, start[1:], strict=False))
    assert nanoseconds([(s, e - s) for s, e in zip(start, end, strict=True)]) == sorted(set(nanoseconds(pairs)))


@given(intervals, intervals)
def test_overlap_equals_the_nanoseconds_in_both(one, other):
    assert overlap_ns(columns(one), columns(other)) == len({*nanoseconds(one)} & {*nanoseconds(other)})


@given(intervals)
def test_crowded_time_equals_the_nanoseconds_covered_twice(pairs):
    counts = Counter(nanoseconds(pairs))
    assert concurrent_ns(*columns(pairs)) == sum(count >= 2 for count in counts.values())


@given(st.lists(st.integers(0, 100), max_size=20), st.permutations([(0, 10), (10, 15), (40, 60), (70, 70)]))
def test_window_of_equals_a_linear_search(moments, windows):
    start, end = (np.array(column, dtype=np.int64) for column in zip(*windows, strict=True))
    result = window_of(np.array(moments, dtype=np.int64), start, end).tolist()
    naive = [next((i for i, (s, e) in enumerate(windows) if s <= t < e), -1) for t in moments]
    assert result == naive


def test_no_windows_and_no_intervals():
    nothing = np.array([], dtype=np.int64)
    assert union_ns(nothing, nothing) == 0
    assert window_of(np.array([1, 2]), nothing, nothing).tolist() == [-1, -1]
