"""The check that a user would write catches every injected defect, and passes the healthy module."""

from __future__ import annotations

import pytest
from mutations.defects import DEFECTS
from mutations.exact_defects import EXACT_DEFECTS
from mutations.model_defects import MODEL_DEFECTS

from ttprof.codes import Kind
from ttprof.verdict import Status


@pytest.mark.parametrize("defect", [*DEFECTS, *EXACT_DEFECTS, *MODEL_DEFECTS], ids=str)
def test_the_check_catches_the_defect_and_passes_the_healthy_module(defect):
    healthy = defect.judged(False)
    assert healthy.status is Status.PASS, healthy.reason
    broken = defect.judged(True)
    assert broken.status in (Status.FAIL, Status.ERROR), broken.reason
    assert broken.kind is defect.kind


def test_every_kind_of_verdict_catches_a_defect():
    assert {defect.kind for defect in DEFECTS} == set(Kind) - {Kind.UNSTATED}


def test_defects_have_distinct_names():
    defects = [*DEFECTS, *EXACT_DEFECTS, *MODEL_DEFECTS]
    assert len({defect.name for defect in defects}) == len(defects)
