"""Traces of the dashboard: read once, several at a time, within a memory limit; failures give their memory back."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import kineto_files as k
import pytest

from ttprof.codes import TraceErrorCode
from ttprof.dashboard import trace_cache
from ttprof.dashboard.trace_cache import TraceCache
from ttprof.errors import TraceError
from ttprof.trace.formats import kineto

DEADLINE_S = 60
read_kineto = kineto.read


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that were read, in order."""
    names: list[str] = []

    def read(path, **options):
        names.append(path.name)
        return read_kineto(path, **options)

    monkeypatch.setattr(kineto, "read", read)
    return names


def traces(folder, *names):
    return [k.write(folder / name, k.two_iterations()) for name in names]


def test_a_trace_is_read_once_until_its_file_changes(tmp_path, reads):
    (path,) = traces(tmp_path, "a.json")
    cache = TraceCache()
    first = cache.read(path, "a")
    assert cache.read(path, "a") is first and reads == ["a.json"]
    k.write(path, [*k.two_iterations(), k.kernel("late", 500, 1, 99)])
    assert len(cache.read(path, "a").trace.kernels) == 5 and reads == ["a.json"] * 2


def test_one_slow_trace_delays_no_other(tmp_path, monkeypatch):
    slow, fast = traces(tmp_path, "slow.json", "fast.json")
    begun, go_on = threading.Event(), threading.Event()

    def read(path, **options):
        if path == slow:
            begun.set()
            assert go_on.wait(DEADLINE_S)
        return read_kineto(path, **options)

    monkeypatch.setattr(kineto, "read", read)
    cache = TraceCache()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(cache.read, slow, "slow")
        assert begun.wait(DEADLINE_S)
        try:
            assert pool.submit(cache.read, fast, "fast").result(DEADLINE_S).trace.path.endswith("fast.json")
            assert not waiting.done()
        finally:
            go_on.set()
        assert waiting.result(DEADLINE_S).trace.path.endswith("slow.json")


def test_requests_for_one_trace_read_it_once_together(tmp_path, reads):
    (path,) = traces(tmp_path, "a.json")
    cache = TraceCache()
    barrier = threading.Barrier(4)

    def request(_):
        barrier.wait(DEADLINE_S)
        return cache.read(path, "a")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(request, range(4)))
    assert reads == ["a.json"] and all(answer is answers[0] for answer in answers)


def test_no_more_traces_are_read_at_once_than_fit_in_memory(tmp_path, monkeypatch):
    paths = traces(tmp_path, *(f"{i}.json" for i in range(6)))
    lock, now, most = threading.Lock(), [0], [0]
    together = threading.Barrier(trace_cache.AT_ONCE)

    def read(path, **options):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(DEADLINE_S)
        trace = read_kineto(path, **options)
        with lock:
            now[0] -= 1
        return trace

    monkeypatch.setattr(kineto, "read", read)
    cache = TraceCache()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda path: cache.read(path, path.name), paths))
    assert most == [trace_cache.AT_ONCE]


def test_the_traces_used_last_are_kept(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(trace_cache, "MOST_TRACES", 2)
    a, b, c = traces(tmp_path, "a.json", "b.json", "c.json")
    cache = TraceCache()
    for path in (a, b, a, c, a, b):
        cache.read(path, path.name)
    assert reads == ["a.json", "b.json", "c.json", "b.json"], "b was not used for longest when c came"


def test_traces_beyond_the_memory_limit_are_dropped_but_for_the_last(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(trace_cache, "MOST_BYTES", 1)
    a, b = traces(tmp_path, "a.json", "b.json")
    cache = TraceCache()
    for path in (a, a, b, b, a):
        cache.read(path, path.name)
    assert reads == ["a.json", "b.json", "a.json"]


class Rows:
    """Stands for what was read of a trace before it failed."""


def test_a_failed_read_keeps_nothing_but_its_message_and_is_not_repeated(tmp_path, monkeypatch):
    (path,) = traces(tmp_path, "a.json")
    kept: list[weakref.ref] = []

    def fail(path, **options):
        rows = Rows()
        rows.cycle = rows
        kept.append(weakref.ref(rows))
        raise TraceError("event 7 can't be read", TraceErrorCode.IMPOSSIBLE_VALUES, path)

    monkeypatch.setattr(kineto, "read", fail)
    cache = TraceCache()
    gc.disable()  # so that only the cache itself frees it
    try:
        for _ in range(2):
            with pytest.raises(TraceError, match=r"^shown/a: event 7 can't be read$") as caught:
                cache.read(path, "shown/a")
            assert caught.value.code is TraceErrorCode.IMPOSSIBLE_VALUES
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()


def test_a_trace_that_does_not_fit_in_memory_is_an_error_with_a_message(tmp_path, monkeypatch):
    (path,) = traces(tmp_path, "a.json")

    def exhaust(path, **options):
        raise MemoryError

    monkeypatch.setattr(kineto, "read", exhaust)
    with pytest.raises(TraceError, match="does not fit in the memory"):
        TraceCache().read(path, "a")


def test_a_trace_that_was_deleted_meanwhile_is_an_error_with_a_message(tmp_path):
    with pytest.raises(TraceError) as caught:
        TraceCache().read(tmp_path / "gone.json", "gone.json")
    assert caught.value.code is TraceErrorCode.NOT_FOUND and str(tmp_path) not in str(caught.value)
