"""Suites survive what their modules do: a sample of the table, all of which ``make faults`` prints."""

from __future__ import annotations

import sys

import pytest
from faults.table import TABLE, run

from ttprof.system.guarded import SUPPORTED

SAMPLE = {
    "system_exit-plain",
    "leaves_a_thread-plain",
    "removed_traces-plain",
    "swallows_everything-plain",
    "segmentation_fault-isolated",
    "segmentation_fault-isolated-recording",
    "os_exit_0-isolated",
    "dead_lock_with_the_interpreter_locked-isolated",
    "leaves_orphans-isolated",
}

ROWS = [pytest.param(fault, id=str(fault), marks=() if str(fault) in SAMPLE else pytest.mark.faults) for fault in TABLE]


@pytest.mark.skipif(not SUPPORTED or sys.platform == "darwin", reason="the faults are those of Linux")
@pytest.mark.parametrize("fault", ROWS)
def test_the_suite_survives(fault, tmp_path):
    assert run(fault, tmp_path).problems(fault) == []


def test_the_table_has_distinct_rows_and_the_sample_is_of_it():
    names = [str(fault) for fault in TABLE]
    assert len(set(names)) == len(names) >= 60
    assert set(names) >= SAMPLE
