"""How much slower a machine was, by its yardstick."""

from __future__ import annotations

import pytest

from ttprof import slowness


def test_the_yardstick_is_fast_as_in_the_faster_half():
    readings = [{"loop": 10, "copy": 7}, {"loop": 9}, {"loop": 30}, {"loop": 12}]
    fastest = slowness.fastest_parts(readings)
    assert fastest == {"loop": 9.5, "copy": 7.0}
    assert slowness.slowdown([{"loop": 19, "copy": 14}, {"loop": 11}], fastest) == 2.0
    assert slowness.slowdown([{"loop": 19, "copy": 7}], fastest) == 1.0  # one part alone
    assert slowness.slowdown([{"loop": 5, "other": 9}], fastest) == 1.0
    assert slowness.slowdown([], fastest) == slowness.slowdown([{"loop": 9}], {}) == 1.0


BEFORE = {"python": 100.0, "dispatch": 100.0, "matmul": 100.0, "copy": 100.0}


@pytest.mark.parametrize(
    ("now", "factor"),
    [({"a": 150, "b": 110}, 1.1), ({"a": 150, "b": 90}, 1.0), ({"a": 150, "c": 90}, 1.5), ({"c": 90}, 1.0)],
)
def test_a_machine_is_slower_by_what_two_parts_agree_on(now, factor):
    assert slowness.agreed_slowdown(now, {"a": 100.0, "b": 100.0}) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("python", "dispatch", "matmul", "copy", "most", "least"),
    [
        (150, 170, 120, 100, 1.7, 1.2),  # a busy hardware thread: a module may suffer as much as the slowest part
        (150, 170, 105, 100, 1.5, 1.0),  # too few parts for that
        (100, 104, 100, 130, 1.04, 1.0),  # the copy alone
        (120, 120, 120, 200, 2.0, 1.2),
        (80, 80, 80, 80, 1.0, 1.0),
    ],
)
def test_a_machine_all_of_which_is_slower(python, dispatch, matmul, copy, most, least):
    now = {"python": python, "dispatch": dispatch, "matmul": matmul, "copy": copy}
    assert slowness.agreed_slowdown(now, BEFORE) == pytest.approx(most)
    assert slowness.least_slowdown(now, BEFORE) == pytest.approx(least)


def test_the_part_on_several_threads_counts_alone():
    before, now = BEFORE | {"threads": 100.0}, BEFORE | {"threads": 160.0}
    assert slowness.agreed_slowdown(now, before) == pytest.approx(1.6)
    assert slowness.agreed_slowdown(now, BEFORE) == slowness.agreed_slowdown(BEFORE, before) == 1.0
