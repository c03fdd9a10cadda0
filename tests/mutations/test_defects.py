"""Every injected defect is caught by the check that a user would write, and the same modules without it pass."""

from __future__ import annotations

import pytest
from mutations.defects import DEFECTS

from ttprof.verdict import Status


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_the_check_catches_the_defect_and_nothing_else(defect):
    healthy = defect.judged(False)
    assert healthy.status is Status.PASS, healthy.sentence
    broken = defect.judged(True)
    assert broken.status in (Status.FAIL, Status.ERROR), broken.sentence


def test_the_table_is_long_enough_to_mean_something():
    assert len(DEFECTS) >= 30
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
