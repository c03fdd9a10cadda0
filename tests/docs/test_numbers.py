"""The numbers in the rules of the documentation are those of the code."""

from __future__ import annotations

import re

import numpy as np
import pytest
from code_blocks import FENCE, ROOT

from ttprof import baseline, operators, thresholds
from ttprof.engine import looking
from ttprof.judge import metric_change, spread


def prose(page: str) -> str:
    """The running text of a page in one line."""
    return " ".join(FENCE.sub("", (ROOT / "docs" / page).read_text(encoding="utf-8")).split())


def processes(count: int, deviation: float) -> list[float]:
    """Values of so many processes, whose logarithms have this standard deviation."""
    logs = np.arange(count) - (count - 1) / 2
    return np.exp(logs * deviation / logs.std(ddof=1)).tolist()


def test_how_small_a_slowdown_several_processes_tell():
    said = re.search(
        r"with a standard deviation of 2 % between processes, a run of one process must be slower by (\d+) % if three "
        r"processes recorded the baseline, by (\d+) % with five, by (\d+) % with ten",
        prose("verdicts.md"),
    )
    assert said is not None
    for percent, count in zip(said.groups(), (3, 5, 10), strict=True):
        ratio = spread.told_from(processes(count, 0.02))
        assert ratio is not None and round(100 * (ratio - 1)) == int(percent)


@pytest.mark.parametrize(
    ("page", "said", "value"),
    [
        ("verdicts.md", "With one or two processes, B can't be estimated", spread.MIN_PROCESSES == 3),
        ("ci.md", "From three processes on, ttprof knows that spread", spread.MIN_PROCESSES == 3),
        ("verdicts.md", "Student's distribution for p = 0.01", spread.P_VALUE == 0.01),
        ("verdicts.md", "one-sided Mann-Whitney test gives p < 0.01", metric_change.P_VALUE == 0.01),
        ("verdicts.md", "a time has fewer than 10 samples", metric_change.MIN_SAMPLES == 10),
        ("verdicts.md", "The threshold is 5 %", thresholds.DEFAULT == 0.05),
        ("ci.md", "5 % for times; exact metrics must not grow at all", thresholds.NONE.of("op_count", "max") == 0),
        ("ci.md", "other processes had the CPU in 10 % of the timed iterations", baseline.BUSY == 0.1),
        ("ci.md", "a third of the time that the suite took before, and at least 20 s", looking.LEAST_S == 20),
        ("ci.md", "a third of the time that the suite took before", looking.SHARE == 1 / 3),
        ("verdicts.md", "take 5 % longer and make up a fifth", operators.LEAST_GROWTH == 1.05),
        ("verdicts.md", "make up a fifth of what all operators gained", operators.LEAST_SHARE == 0.2),
    ],
)
def test_a_rule_in_the_text_is_that_of_the_code(page, said, value):
    assert said in prose(page) and value
