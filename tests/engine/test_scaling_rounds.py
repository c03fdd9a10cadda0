"""The extra measurements for an undecided scaling, with synthetic rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttprof.engine import scaling_rounds
from ttprof.engine.scaling_rounds import More
from ttprof.errors import InputsError
from ttprof.judge.verdicts import Rounds
from ttprof.run import devices
from ttprof.spec import LAWS, CaseSpec, Scaling, Schedule, SourceLine, Sweep
from ttprof.system import process

CPU = torch.device("cpu")
SIZES = (64, 128, 256, 512)


def case(law: str = "quadratic", exact: bool = False) -> CaseSpec:
    return CaseSpec(
        name="x",
        module=None,
        path=None,
        source=SourceLine("f.py", 1),
        schedule=Schedule(1, 5, 5, exact=exact),
        sweeps=(Sweep("seq_len", SIZES),),
        scaling=Scaling(LAWS[law]),
    )


def attention(n: int, rounds: int = 5) -> np.ndarray:
    """Half linear, half quadratic at 512: undecided at four sizes, quadratic from 1024 on."""
    return (1000.0 * (n**2 + 500 * n)) * np.ones(rounds)


class Measured:
    """Logs the requested measurements and returns *value*, or *larger* beyond the largest size."""

    def __init__(self, value=attention, larger=attention) -> None:
        self.requests: list[object] = []
        self._value, self._larger = value, larger

    def more(self, slowest_ns: float = 1e6) -> More:
        return More(self.again, self.beyond, slowest_ns)

    def again(self):
        self.requests.append("again")
        return {n: self._value(n) for n in SIZES}

    def beyond(self, size):
        self.requests.append(size)
        return self._larger(size)


def first(value=attention) -> Rounds:
    return Rounds({n: value(n) for n in SIZES}, threads=1)


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch):
    monkeypatch.setattr(devices, "spare_memory", lambda: 10**12)
    monkeypatch.setattr(devices, "peak_memory", lambda: 10**9)


def run(measured: Measured, spec=None, rounds=None, seconds=2.0, slowest_ns=1e6) -> Rounds:
    return scaling_rounds.extended(spec or case(), CPU, seconds, rounds or first(), measured.more(slowest_ns))


def test_a_decided_verdict_is_not_extended():
    measured = Measured()
    rounds = run(measured, rounds=first(lambda n: 1000.0 * n**2 * np.ones(5)))
    assert (measured.requests, rounds.extended) == ([], ())


def test_rounds_are_doubled_first_and_the_largest_size_after_that():
    measured = Measured()
    rounds = run(measured)
    assert measured.requests == ["again", 1024]
    assert rounds.extended == ("rounds doubled to 10", "extended to 1024")
    assert {n: len(samples) for n, samples in rounds.by_size.items()} == {64: 10, 128: 10, 256: 10, 512: 10, 1024: 5}
    assert rounds.threads == 1
    assert not scaling_rounds.is_open(case(), CPU, Rounds({**rounds.by_size, 2048: attention(2048)}))


def test_doubled_rounds_may_be_enough():
    noisy = lambda n: 1000.0 * n**2 * np.array([2.0, 1.99, 2.0, 2.01, 1.0])  # noqa: E731
    measured = Measured(value=lambda n: 1000.0 * n**2 * np.ones(50))
    rounds = run(measured, rounds=first(noisy))
    assert (measured.requests, rounds.extended) == (["again"], ("rounds doubled to 55",))


def test_fixed_iterations_are_not_extended():
    measured = Measured()
    assert (run(measured, case(exact=True)).extended, measured.requests) == ((), [])


@pytest.mark.parametrize(
    ("larger", "why"),
    [
        (lambda size: torch.ones(512) + torch.ones(size), "it raised RuntimeError: The size of tensor a"),
        (lambda size: None, "it was not measured there"),
    ],
)
def test_a_failure_at_a_larger_size_keeps_the_verdict_on_the_requested_sizes(larger, why):
    rounds = run(Measured(larger=larger))
    assert rounds.extended[1].startswith(f"not extended to 1024: {why}")
    assert max(rounds.by_size) == 512


def test_a_counted_metric_is_not_measured_again():
    measured = Measured()
    more = More(None, measured.beyond, 1e6)
    rounds = scaling_rounds.extended(case(), CPU, 2.0, first(), more)
    assert (measured.requests, rounds.extended) == ([1024], ("extended to 1024",))


@pytest.mark.parametrize(
    ("seconds", "slowest_ns", "spare", "why"),
    [
        (2.0, 1e9, 10**12, "an iteration may take 4.00 s there, and seconds_per_case is 2"),
        (2.0, 1e6, 3 * 10**9, "only 2.79 GiB of memory are free"),
        (2.0, 1e6, None, "this system does not say how much memory is free"),
    ],
)
def test_a_larger_size_must_fit(monkeypatch, seconds, slowest_ns, spare, why):
    monkeypatch.setattr(devices, "spare_memory", lambda: spare)
    measured = Measured()
    rounds = run(measured, seconds=seconds, slowest_ns=slowest_ns)
    assert measured.requests == ["again"]
    assert rounds.extended == ("rounds doubled to 10", f"not extended to 1024: {why}")


def test_a_model_that_rejects_the_larger_size_is_reported():
    def refuse(size):
        raise InputsError(f"seq_len={size} is longer than it takes")

    rounds = run(Measured(larger=refuse))
    assert rounds.extended[1] == "not extended to 1024: seq_len=1024 is longer than it takes"
    assert max(rounds.by_size) == 512


def test_spare_memory_respects_the_limit_of_the_cgroup(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    monkeypatch.setattr(process, "CGROUP", tmp_path)
    assert process.spare_memory() == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert process.spare_memory() > 2**20
    assert process.peak_memory() > 2**20
