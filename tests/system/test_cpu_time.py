"""What the system counts of the process and the machine, read from a folder like /proc."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ttprof.system.cpu_time import Counts, MachineCounts, ProcessCounter, machine_counts


def thread(proc: Path, number: int, waited: int) -> None:
    folder = proc / "self" / "task" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(f"900 {waited} 7\n")


def test_the_waits_of_all_threads_are_added(tmp_path):
    thread(tmp_path, 1, 1000)
    thread(tmp_path, 2, 200)
    with closing(ProcessCounter(tmp_path)) as counter:
        before = counter.read()
        assert before.waited_ns == 1200
        thread(tmp_path, 2, 250)
        assert counter.read().since(before).waited_ns == 50


def test_threads_that_begin_later_count_once_they_are_followed(tmp_path):
    thread(tmp_path, 1, 1000)
    with closing(ProcessCounter(tmp_path)) as counter:
        thread(tmp_path, 2, 200)
        assert counter.read().waited_ns == 1000
        counter.follow()
        assert counter.read().waited_ns == 1200


def test_without_the_file_nothing_is_known(tmp_path):
    with closing(ProcessCounter(tmp_path)) as counter:
        counts = counter.read()
    assert counts.waited_ns is None and counts.process_ns > 0
    assert counts.since(Counts(1, 5, 0, 0)).waited_ns is None


@pytest.mark.parametrize("content", [None, "", "cpu 1 2", "cpu a b c d e f g h"])
def test_a_machine_that_does_not_count(tmp_path, content):
    if content is not None:
        (tmp_path / "stat").write_text(content)
    assert machine_counts(tmp_path) is None


def test_idle_and_stolen_time_is_not_busy(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 20 30 5000 600 7 8 90 40 0\ncpu0 1 1\n")
    counts = machine_counts(tmp_path)
    assert counts.busy * 100 == pytest.approx(100 + 20 + 30 + 7 + 8) and counts.stolen * 100 == pytest.approx(90)


def test_what_others_used_is_what_was_not_ours():
    before, now = MachineCounts(10.0, 5.0, 1.0, 0.5), MachineCounts(12.0, 8.0, 2.0, 0.7)
    assert now.others_since(before) == pytest.approx((3 - 1) / 2)
    assert now.stolen_since(before) == pytest.approx(0.1)
    assert MachineCounts(12.0, 5.5, 2.0, 0.5).others_since(before) == 0
