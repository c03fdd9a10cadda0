"""Damaged copies of every recorded trace: a clear error or a salvaged trace, never a traceback or a wrong number.

The files are gzipped, and their checksum covers every byte: if the whole file can be read, the numbers are right.
``make test`` damages a few copies of each trace, ``make fuzz`` many.
"""

from __future__ import annotations

import random

import pytest
from recorded_traces import KINETO_TRACES

from ttprof.errors import TraceError
from ttprof.trace.formats import kineto


def damaged(data: bytes, truncations: int, flips: int, rng: random.Random) -> list[bytes]:
    """Copies cut at even distances, and copies with one bit flipped."""
    cut = [data[: len(data) * i // truncations] for i in range(truncations)]
    flipped = []
    for _ in range(flips):
        copy = bytearray(data)
        copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        flipped.append(bytes(copy))
    return cut + flipped


@pytest.mark.parametrize(
    ("truncations", "flips"),
    [pytest.param(3, 3, id="sample"), pytest.param(20, 50, id="sweep", marks=pytest.mark.fuzz)],
)
@pytest.mark.parametrize("name", KINETO_TRACES)
def test_a_damaged_trace_is_rejected_or_salvaged(shared_traces, tmp_path, name, truncations, flips):
    data = (shared_traces / "kineto" / f"{name}.json.gz").read_bytes()
    whole = kineto.read(shared_traces / "kineto" / f"{name}.json.gz")
    path = tmp_path / "t.json.gz"
    for i, copy in enumerate(damaged(data, truncations, flips, random.Random(f"{name} {flips}"))):
        path.write_bytes(copy)
        try:
            trace = kineto.read(path)
        except TraceError as error:
            assert str(path) in str(error)
        else:  # a bit without effect, as in the timestamp of the gzip header
            assert (trace.events, trace.kernels.time_ns) == (whole.events, whole.kernels.time_ns)
            assert trace.lost is None
        if i % 3 == 2:
            check_salvage(path, whole)


def check_salvage(path, whole):
    try:
        trace = kineto.read(path, salvage=True)
    except TraceError as error:
        assert str(path) in str(error)
        return
    if trace.lost is None:
        assert trace.events == whole.events
        return
    assert trace.events <= whole.events
    assert "event" in trace.lost or "gzip" in trace.lost
