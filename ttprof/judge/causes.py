"""The sentence on what regressed in a trial, and which operators and kernels changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ttprof.codes import VerdictCode
from ttprof.operators import OperatorChange
from ttprof.result import CaseResult, TrialResult
from ttprof.thresholds import SAMPLED
from ttprof.trial_key import Point
from ttprof.units import significant
from ttprof.verdict import Verdict

MAX_NAMED = 4
"""Maximum number of operators and kernels that a sentence names of each kind of change."""

MAX_NAME = 54
"""Maximum number of characters of a name."""


MAX_LINES = 3
"""Maximum number of lines that are named for one operator."""


def joined(case: CaseResult) -> Iterator[Verdict]:
    """The verdicts of a case; the regressions of a trial as one, where the first of them is."""
    seen: set[Point] = set()
    for verdict in case.verdicts:
        if not _is_regression(verdict):
            yield verdict
        elif verdict.point not in seen:
            seen.add(verdict.point)
            yield msgspec.structs.replace(verdict, reason=_sentence(case, verdict.point))


def _sentence(case: CaseResult, point: Point) -> str:
    """The regressions of a trial and their likely cause.

    For example ``latency_ms +36 % (6.29 → 8.56 ms), cpu_time_ms +35 %; op_count 3 → 4; new: aten::ones ×1, at
    model/ffn.py:41``. The reason of the first time names the others.
    """
    trial = next((trial for trial in case.trials if trial.point == point), None)
    times: list[str] = []
    exact: list[str] = []
    for verdict in case.verdicts:
        if _is_regression(verdict) and verdict.point == point:
            (times if _is_sampled(trial, verdict.metric) else exact).append(verdict.reason)
    return "; ".join([*times[:1], *([", ".join(exact)] if exact else []), *clauses(trial.changed if trial else [])])


def clauses(changed: Sequence[OperatorChange]) -> Iterator[str]:
    """Clauses on the operators and kernels that changed: new calls, lost ones, and times, with their lines."""
    for what, rows in (
        ("new", [row for row in changed if row.count[1] > row.count[0]]),
        ("gone", [row for row in changed if row.count[1] < row.count[0]]),
        ("slower", [row for row in changed if row.count[1] == row.count[0]]),
    ):
        if rows:
            named = rows[:MAX_NAMED]
            more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
            place = "was at" if what == "gone" else "at"
            lines = {tuple(row.places) for row in rows}
            common = f", {place} {rows[0].places[0]}" if len(lines) == len(rows[0].places) == 1 else ""
            yield f"{what}: {', '.join(_named(row, not common) for row in named)}{more}{common}"


def _named(row: OperatorChange, with_lines: bool) -> str:
    """A name with its change, and its lines unless one line is that of all."""
    name = row.name if len(row.name) <= MAX_NAME else f"{row.name[: MAX_NAME - 1]}…"
    before, now = row.count
    if before == now:
        text = f"{name} +{significant(float(f'{row.growth_ns / 1e6:.3g}'))} ms"
    elif before and now:
        text = f"{name} {significant(before)} → {significant(now)}"
    else:
        text = f"{name} ×{significant(before or now)}"
    return f"{text} ({_lines(row.places)})" if with_lines and row.places else text


def _lines(places: Sequence[str]) -> str:
    more = f" and {len(places) - MAX_LINES} more" if len(places) > MAX_LINES else ""
    return f"{', '.join(places[:MAX_LINES])}{more}"


def _is_regression(verdict: Verdict) -> bool:
    return verdict.code is VerdictCode.REGRESSED


def _is_sampled(trial: TrialResult | None, metric: str | None) -> bool:
    measured = trial.measurements if trial is not None else []
    return any(m.name == metric and m.statistic in SAMPLED for m in measured)
