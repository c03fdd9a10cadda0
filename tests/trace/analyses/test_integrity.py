"""Whether a trace is complete, and the reasons if it is not."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.codes import Note, NoteCode
from ttprof.trace.analyses import integrity
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations


def check(result):
    return integrity.check(result.trace, Iterations.of(result.trace))


def test_a_whole_trace_is_complete(attribute):
    result = check(attribute(k.two_iterations()))
    assert (result.complete, result.reasons) == (True, [])


def unfinished(event):
    return {**event, "args": {"finished": False}}


@pytest.mark.parametrize(
    ("events", "top", "code", "text"),
    [
        (
            k.two_iterations(lose_kernel=True),
            {},
            NoteCode.LAUNCHES_WITHOUT_KERNEL,
            "1 of 4 kernel launches have no kernel",
        ),
        (
            [k.launch(0, 1, name="cudaGraphLaunch"), k.iteration(0, 0, 9)],
            {},
            NoteCode.GRAPH_LAUNCHES_WITHOUT_WORK,
            "1 CUDA graph launches have no device work",
        ),
        (
            [unfinished(k.iteration(3, 0, 9))],
            {},
            NoteCode.STEPS_CUT,
            "recording began or ended within ttprof.iteration#3",
        ),
        (
            [k.iteration(3, 0, 9), {**k.span("Trace", "PyTorch Profiler (0)", 1, 20), "pid": "Spans"}],
            {},
            NoteCode.STEPS_CUT,
            "recording began or ended within ttprof.iteration#3",
        ),
        (
            [k.iteration(0, 0, 9)],
            {"WARNING": ["WARNING:x] Dropped 12 activity records", "another warning"]},
            NoteCode.RECORDS_DROPPED,
            "the profiler reported: WARNING:x] Dropped 12 activity records",
        ),
    ],
)
def test_an_incomplete_trace_has_a_reason(attribute, events, top, code, text):
    result = check(attribute(events, **top))
    assert not result.complete
    assert result.reasons == [Note(code, text)]


def test_a_salvaged_trace_is_incomplete(tmp_path):
    path = k.write(tmp_path / "t.json", k.two_iterations())
    path.write_bytes(path.read_bytes()[:-40])
    trace = kineto.read(path, salvage=True)
    result = integrity.check(trace, Iterations.of(trace))
    assert NoteCode.PARTLY_UNREADABLE in {reason.code for reason in result.reasons}


def test_kernels_without_a_launch_are_counted_but_not_a_loss(attribute):
    result = check(attribute([k.kernel("early", 0, 5, 1)]))
    assert (result.complete, result.kernels_without_launch) == (True, 1)
