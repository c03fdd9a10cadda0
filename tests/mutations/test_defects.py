"""The check that a user would write catches every injected defect, and passes the healthy module."""

from __future__ import annotations

import pytest
import torch
from mutations.blocks import DIM
from mutations.defects import DEFECTS
from mutations.exact_defects import EXACT_DEFECTS, Broken, compiled
from mutations.model_defects import MODEL_DEFECTS
from whole_model import check

from ttprof.codes import Kind
from ttprof.metrics import REGISTRY
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


def test_a_graph_break_changes_no_other_count():
    counts = []
    for defect in ("", "a graph break"):
        case = check(compiled(Broken(defect)), torch.ones(2, 16, DIM))
        of_case = {m.name: m.value for m in case.trials[0].measurements}
        names = [name for name, known in REGISTRY.items() if known.whole and name != "graph_break_count"]
        counts.append({name: of_case.get(name) for name in names})
    assert counts[0] == counts[1]
    assert None not in (counts[0][name] for name in ("op_count", "allocation_count", "memory_mb", "recompile_count"))


def test_defects_have_distinct_names():
    defects = [*DEFECTS, *EXACT_DEFECTS, *MODEL_DEFECTS]
    assert len({defect.name for defect in defects}) == len(defects)
