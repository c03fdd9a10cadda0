"""A file that is read in pieces gives the same trace as one that is read as a whole."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import subprocess

import kineto_files as k
import numpy as np
import pytest

from ttprof.errors import TraceError
from ttprof.trace.events import UnknownRows
from ttprof.trace.formats import kineto, parallel
from ttprof.trace.formats.json_stream import EventStream
from ttprof.trace.formats.kineto_rows import DECODERS


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(parallel, "PIECE_BYTES", 100_000)


def rows(count: int) -> list[k.Event]:
    """Events of every kind, with names and threads that first appear late in the file."""
    rng = random.Random(3)
    events = []
    for i in range(count):
        events += [
            {**k.op(f"op{i // 50}", 10 * i, 9, tid=i // 300), "pid": "worker" if i % 7 else 1},
            k.launch(10 * i + 1, i),
            k.kernel(f"kernel{rng.randrange(1 + i // 10)}", 10 * i + 5, rng.randrange(9), i),
            k.memory(10 * i + 2, 64, 64 * i),
        ]
    return events


def content(trace) -> dict[str, list]:
    """The contents of a trace, with names and threads by value: their numbers depend on the order of blocks."""
    result = {}
    for field in dataclasses.fields(trace):
        value = getattr(trace, field.name)
        if not dataclasses.is_dataclass(value):
            result[field.name] = (
                sorted(map(str, value)) if field.name in ("names", "threads") else np.array(value).tolist()
            )
            continue
        for column in dataclasses.fields(value):
            values = getattr(value, column.name).tolist()
            table = {"name": trace.names, "thread": trace.threads}.get(column.name)
            values = [table[v] for v in values] if table and -1 not in values else values
            result[f"{field.name}.{column.name}"] = [str(v) for v in values]
    return result


class Reads:
    """Records the pieces that this process reads, by the byte they end at, and the processes that read the others."""

    def __init__(self, monkeypatch) -> None:
        self.stops: list[int | None] = []
        self.processes = 0
        stream, process = parallel.EventStream, subprocess.Popen

        def open_stream(*arguments, stop=None, **options):
            self.stops.append(stop)
            return stream(*arguments, stop=stop, **options)

        def start(*arguments, **options):
            self.processes += 1
            return process(*arguments, **options)

        monkeypatch.setattr(parallel, "EventStream", open_stream)
        monkeypatch.setattr(subprocess, "Popen", start)

    def assert_in_pieces(self, count: int) -> None:
        (stop,) = self.stops
        assert stop is not None and self.processes == count - 1


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_pieces_give_the_same_trace(tmp_path, monkeypatch, small_pieces, suffix):
    path = k.write(tmp_path / f"t{suffix}", rows(700), deviceProperties=[{"name": "H100"}])
    whole = content(kineto.read(path, processes=1))
    reads = Reads(monkeypatch)
    assert content(kineto.read(path, processes=3)) == whole
    reads.assert_in_pieces(3)


def test_a_file_that_can_not_be_cut_is_read_as_a_whole(tmp_path, monkeypatch, small_pieces):
    events = rows(20)
    events[40]["args"]["nested"] = [{"a": i, "b": [{}, {}]} for i in range(20_000)]
    path = k.write(tmp_path / "t.json", events)
    reads = Reads(monkeypatch)
    assert kineto.read(path, processes=2).events == len(events)
    assert reads.stops[-1] is None


def test_an_error_in_any_piece_is_that_of_the_whole_file(tmp_path, small_pieces):
    path = k.write(tmp_path / "t.json", rows(700))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TraceError, match=r"truncated or corrupt JSON at event 27\d\d"):
        kineto.read(path, processes=2)


def test_what_is_left_out_and_not_known_is_counted_over_all_pieces(tmp_path, monkeypatch, small_pieces):
    events = rows(700)
    for place in (100, 2500):
        events[place] |= {"cat": "tensix_kernel", "dur": 4}
        events[place + 50]["ts"] = "soon"
    path = k.write(tmp_path / "t.json", events)
    whole = kineto.read(path, processes=1)
    reads = Reads(monkeypatch)
    trace = kineto.read(path, processes=2)
    reads.assert_in_pieces(2)
    assert trace.unknown == whole.unknown == (UnknownRows("tensix_kernel", "X", 2, 8000),)
    assert trace.left_out == whole.left_out and sum(row.count for row in trace.left_out) == 2


def test_decimal_timestamps_in_one_piece_only(tmp_path, monkeypatch, small_pieces):
    events = rows(700)
    events[-2]["ts"] = 1669783687464181.0
    text = (
        k.write(tmp_path / "a.json", events)
        .read_text(encoding="utf-8")
        .replace("1669783687464181.0", "1669783687464181.125")
    )
    path = tmp_path / "t.json"
    path.write_text(text)
    reads = Reads(monkeypatch)
    monkeypatch.setattr(kineto, "possible", lambda trace: trace)  # this kernel is the only one that is not of 1970
    trace = kineto.read(path, processes=2)
    assert trace.kernels.ts.max() == 1669783687464181125
    reads.assert_in_pieces(2)


def read_piece(path, start, stop):
    stream = EventStream(path, DECODERS, start=start, stop=stop)
    return [row.name for block in stream for row in block]


@pytest.mark.parametrize("packed", [False, True])
def test_pieces_cut_at_any_byte_add_up_to_the_file_or_are_an_error(tmp_path, packed):
    events = [{"name": f"e{i}", "args": {"x": [{"y": 1}, {"z": "}, {"}]}} for i in range(6)]
    data = json.dumps({"traceEvents": events, "more": [{"a": 1}, {"b": 2}]}).encode()
    path = tmp_path / "t"
    path.write_bytes(gzip.compress(data) if packed else data)
    whole = [event["name"] for event in events]
    readable = 0
    for cut in range(1, len(data)):
        try:
            result = read_piece(path, 0, cut) + read_piece(path, cut, None)
        except TraceError:
            continue
        readable += 1
        assert result == whole
    assert readable > len(data) / 10
