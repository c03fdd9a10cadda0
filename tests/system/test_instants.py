"""The order of ISO 8601 times by instant, not by text."""

from __future__ import annotations

import math

from ttprof.system.instants import instant


def test_a_time_is_compared_by_its_instant_across_a_change_of_the_clocks():
    before = "2026-10-25T02:59:00+02:00"  # 00:59 UTC, in summer
    after = "2026-10-25T02:10:00+01:00"  # 01:10 UTC, after the clocks went back
    assert before > after, "as texts they are the wrong way round"
    assert instant(after) - instant(before) == 11 * 60


def test_times_without_an_offset_and_dates_are_utc():
    assert instant("1970-01-02") == instant("1970-01-02T00:00:00Z") == instant("1970-01-02T01:00:00+01:00") == 86400


def test_a_text_that_is_no_time_comes_first():
    assert instant("yesterday") == instant("") == -math.inf
