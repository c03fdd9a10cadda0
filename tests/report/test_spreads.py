"""The table on how the times of a baseline varied."""

from __future__ import annotations

import io

from rich.console import Console

from ttprof.pooling import Variation, Variations
from ttprof.report import spreads
from ttprof.trial_key import Point


def drawn(*values: float) -> str:
    row = Variation(case="ffn", point=Point(), unit="ms", value=3.0, values=list(values), between=0.1, within=None)
    out = io.StringIO()
    Console(file=out, width=120).print(spreads.render(Variations(processes=len(values), trials=[row])))
    return out.getvalue()


def test_a_wide_spread_is_pointed_out():
    assert "a slowdown of half" not in drawn(3.0, 3.1, 2.9)
    wide = drawn(3.0, 6.0, 1.5)  # t(0.99, 2) = 6.96, times the deviation of the logarithms 0.69 and sqrt(4/3)
    assert "+26,256 %" in wide
    assert "a slowdown of half is not told from this spread: ffn; record with more --runs" in wide


def test_a_spread_without_bounds_stays_readable():
    assert "×1,000,000,000" in drawn(1e-300, 1.0, 1e300)
