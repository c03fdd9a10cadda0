"""The comparison of two runs on a terminal: a line for each metric that changed."""

from __future__ import annotations

import io

from rich.console import Console

from ttprof.codes import VerdictCode
from ttprof.judge.regression import Change, ComparedMetric, Comparison
from ttprof.report.comparison import render
from ttprof.trial_key import Point
from ttprof.verdict import Status

QUERY = "model.encoder.layers.11.attention.self.query"


def row(case: str, change: Change, status: Status, code: VerdictCode, **point: int) -> ComparedMetric:
    return ComparedMetric(
        case=case,
        point=Point(point),
        metric="latency_ms",
        unit="ms",
        change=change,
        status=status,
        code=code,
        reason="latency_ms is 9 ms, 3 ms in the baseline",
    )


def test_no_name_is_broken_on_a_narrow_terminal_and_the_undecided_are_last():
    rows = [
        row(QUERY, "undecided", Status.INCONCLUSIVE, VerdictCode.LIMIT_UNDECIDED),
        row("ffn", "regression", Status.FAIL, VerdictCode.REGRESSED, seq_len=64),
    ]
    comparison = Comparison(base="old", new="new", threshold=0.05, forced=[], software=[], rows=rows)
    out = io.StringIO()
    Console(file=out, width=60, highlight=False).print(render(comparison))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "base old",
        "new  new",
        "",
        "regression ffn seq_len=64: latency_ms is 9 ms, 3 ms in the",
        "baseline",
        f"undecided  {QUERY}:",
        "latency_ms is 9 ms, 3 ms in the baseline",
        "",
        "1 regression, 1 undecided (threshold for times: 5 %)",
    ]
