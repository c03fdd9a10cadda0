"""Reading a file in pieces gives the same as reading it as a whole."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random

import kineto_files as k
import numpy as np
import pytest

from ttprof.errors import TraceError
from ttprof.trace.formats import kineto, parallel
from ttprof.trace.formats.json_stream import EventStream
from ttprof.trace.formats.kineto_rows import DECODERS


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(parallel, "PIECE_BYTES", 100_000)


def rows(count: int) -> list[k.Event]:
    """Events of every kind, with names and threads that first appear late in the file."""
    rng = random.Random(3)
    made = []
    for i in range(count):
        made += [
            {**k.op(f"op{i // 50}", 10 * i, 9, tid=i // 300), "pid": "worker" if i % 7 else 1},
            k.launch(10 * i + 1, i),
            k.kernel(f"kernel{rng.randrange(1 + i // 10)}", 10 * i + 5, rng.randrange(9), i),
            k.memory(10 * i + 2, 64, 64 * i),
        ]
    return made


def content(trace) -> dict[str, list]:
    """All that a trace says; names and threads are numbered in the order in which blocks hold them, so by value."""
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
            known = {"name": trace.names, "thread": trace.threads}.get(column.name)
            values = [known[v] for v in values] if known and -1 not in values else values
            result[f"{field.name}.{column.name}"] = [str(v) for v in values]
    return result


def pieces_read(monkeypatch) -> list[int]:
    """The number of pieces of each file that is read in pieces from now on, and was read to the end."""
    counts = []
    read = parallel._read_pieces

    def counted(path, count):
        trace = read(path, count)
        counts.append(count)
        return trace

    monkeypatch.setattr(parallel, "_read_pieces", counted)
    return counts


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_pieces_give_the_same_trace(tmp_path, monkeypatch, small_pieces, suffix):
    path = k.write(tmp_path / f"t{suffix}", rows(700), deviceProperties=[{"name": "H100"}])
    counts = pieces_read(monkeypatch)
    assert content(kineto.read(path, processes=3)) == content(kineto.read(path, processes=1))
    assert counts == [3]


def test_a_file_that_can_not_be_cut_is_read_as_a_whole(tmp_path, monkeypatch, small_pieces):
    events = rows(20)
    events[40]["args"]["nested"] = [{"a": i, "b": [{}, {}]} for i in range(20_000)]
    path = k.write(tmp_path / "t.json", events)
    counts = pieces_read(monkeypatch)
    assert kineto.read(path, processes=2).events == len(events)
    assert counts == []


def test_errors_in_any_piece_are_those_of_the_whole_file(tmp_path, small_pieces):
    events = rows(700)
    events[2500]["dur"] = -4
    path = k.write(tmp_path / "t.json", events)
    with pytest.raises(TraceError, match=r"event 2500 .*negative"):
        kineto.read(path, processes=2)


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
    counts = pieces_read(monkeypatch)
    trace = kineto.read(path, processes=2)
    assert trace.kernels.ts.max() == 1669783687464181125
    assert counts == [2]


def read_piece(path, start, stop):
    stream = EventStream(path, DECODERS, start=start, stop=stop)
    return [row.name for block in stream for row in block]


@pytest.mark.parametrize("packed", [False, True])
def test_wherever_a_file_is_cut_its_pieces_are_the_file_or_an_error(tmp_path, packed):
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
