"""Instructions by a counter of Linux, driven by a fake of it."""

from __future__ import annotations

import pytest

from ttprof.run import instructions
from ttprof.run.instructions import count_instructions


class FakeCounter:
    """Counts what the call adds while it is started."""

    def __init__(self, missing: int | None = None) -> None:
        self.count, self.on, self.stops, self.missing = 0, False, 0, missing

    def start(self) -> None:
        self.count, self.on = 0, True

    def stop(self) -> int | None:
        self.on = False
        self.stops += 1
        return None if self.stops == self.missing else self.count

    def run(self, number: int) -> None:
        self.count += number * self.on


def test_calls_count_and_what_prepares_them_does_not():
    counter, sizes = FakeCounter(), iter((5, 7, 6))
    counts = count_instructions(lambda: counter.run(next(sizes)), lambda: counter.run(1000), 3, counter)
    assert counts.tolist() == [5, 7, 6]


def test_a_call_that_the_cpu_did_not_count_leaves_no_number():
    counter = FakeCounter(missing=2)
    assert count_instructions(lambda: counter.run(1), lambda: None, 3, counter) is None


def test_a_call_that_raises_stops_the_counter():
    counter = FakeCounter()
    with pytest.raises(ZeroDivisionError):
        count_instructions(lambda: 1 / 0, lambda: None, 3, counter)
    assert not counter.on and counter.stops == 1


def test_a_system_without_the_call_has_no_counter(monkeypatch):
    monkeypatch.setattr(instructions.platform, "machine", lambda: "riscv64")
    with instructions.perf_counter() as counter:
        assert counter is None


def test_a_kernel_that_refuses_has_no_counter(monkeypatch):
    class Refusing:
        def syscall(self, *arguments):
            return -1

    monkeypatch.setattr(instructions.ctypes, "CDLL", lambda name: Refusing())
    with instructions.perf_counter() as counter:
        assert counter is None


def test_the_counter_of_this_machine_counts_if_there_is_one():
    with instructions.perf_counter() as counter:
        if counter is None:
            pytest.skip("this machine counts no instructions")
        few = count_instructions(lambda: sum(range(10)), lambda: None, 5, counter)
        many = count_instructions(lambda: sum(range(10_000)), lambda: None, 5, counter)
    assert min(many) > 10 * max(few)
