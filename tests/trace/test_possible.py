"""Records that can't be true: left out, counted and named, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import kineto_files as k
import nsys_files as n
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.codes import Flaw, NoteCode
from ttprof.trace.analyses import summary
from ttprof.trace.formats import detect, kineto

EPOCH_US = 1_700_000_000_000_000


def serial(count: int = 6, length: float = 100.5, gap: float = 10, start: float = 1000.0, stream: int = 7) -> list:
    """Kernels of one stream, one after the other, each launched 20 µs before it starts; times finer than a µs."""
    events = []
    for i in range(count):
        ts = start + i * (length + gap)
        number = 1000 * stream + i + 1
        events += [k.launch(ts - 20, number), k.kernel(f"k{i}", ts, length, number, stream=stream)]
    return events


def summarised(events: list, **top) -> summary.Summary:
    return summary.summarise(kineto.read(k.write(Path("t.json"), events, **top)))


def kernel_of(events: list, name: str) -> dict:
    return next(event for event in events if event["cat"] == "kernel" and event["name"] == name)


def test_nothing_is_left_out_of_a_trace_that_can_be_true():
    found = summarised(serial() + serial(stream=8))
    assert found.trace.left_out == [] and found.trace.complete
    assert found.kernels.time_ns == 12 * 100_500


def overrun(events):
    kernel_of(events, "k2")["dur"] = 3_400_000.5


def early(events):
    kernel_of(events, "k2")["ts"] -= 31.0  # 11 µs before its launch


def backwards(events):
    kernel_of(events, "k2")["dur"] = -100.5


def no_length(events):
    kernel_of(events, "k2")["dur"] = 0


def no_time(events):
    kernel_of(events, "k2")["ts"] = 0


def in_a_year(events):
    kernel_of(events, "k2")["ts"] += 3.15e13


def unreadable(events):
    kernel_of(events, "k2")["ts"] = "soon"


def without_time(events):
    del kernel_of(events, "k2")["ts"]


def no_arguments(events):
    kernel_of(events, "k2")["args"] = "none"


@pytest.mark.parametrize(
    ("change", "flaw", "epoch"),
    [
        (overrun, Flaw.OVERRUN, 0),
        (early, Flaw.BEFORE_LAUNCH, 0),
        (backwards, Flaw.NEGATIVE, 0),
        (no_length, Flaw.NO_DURATION, 0),
        (no_time, Flaw.OUTSIDE, EPOCH_US),
        (in_a_year, Flaw.OUTSIDE, 0),
        (in_a_year, Flaw.OUTSIDE, EPOCH_US),
        (unreadable, Flaw.UNREADABLE, 0),
        (without_time, Flaw.UNREADABLE, EPOCH_US),
        (no_arguments, Flaw.UNREADABLE, 0),
    ],
)
def test_one_impossible_kernel_is_left_out_and_all_else_stays(change, flaw, epoch):
    events = serial(start=epoch + 1000.0)
    change(events)
    found = summarised(events)
    (left_out,) = found.trace.left_out
    assert (left_out.flaw, left_out.table, left_out.count, left_out.of, left_out.example) == (
        flaw,
        "kernels",
        1,
        6,
        "k2",
    )
    assert not found.trace.complete and found.trace.reasons[0].code is NoteCode.RECORDS_LEFT_OUT
    if flaw is not Flaw.UNREADABLE:  # whose id may be unreadable, too
        assert len(found.trace.reasons) == 1  # its launch does not count as one that lost its kernel
    assert found.kernels.time_ns == 5 * 100_500 and found.kernels.without_launch == 0
    (device,) = found.devices
    assert device.span_ns == 6 * 100_500 + 5 * 10_000 and device.busy_ns == 5 * 100_500
    assert device.idle_ns == device.idle.time_ns
    shown = CliRunner().invoke(command, ["t.json"]).stdout
    assert "WARNING impossible records: 1 of 6 kernels left out" in shown.replace("\n", " ")


def test_what_a_record_left_out_would_have_changed_is_said():
    events = serial()
    overrun(events)
    (reason,) = summarised(events).trace.reasons
    assert str(reason) == (
        "1 of 6 kernels left out: it lasts beyond the next start on its stream (k2, 3.40 s), 99.99 % of the time that "
        "the kernels state; without it, 502.50 µs remain"
    )


@pytest.mark.parametrize(
    ("length", "overlap", "left_out"), [(20.5, 49, 0), (20.5, 52, 1), (400.5, 390, 0), (400.5, 410, 1)]
)
def test_programmatic_dependent_launch_may_overlap(length, overlap, left_out):
    events = serial(length=length)
    kernel_of(events, "k2")["dur"] += 10 + overlap
    kernel_of(events, "k3")["dur"] += overlap  # it ends later than the one before it
    kernel_of(events, "k4")["ts"] += overlap
    kernel_of(events, "k5")["ts"] += overlap
    assert len(summarised(events).trace.left_out) == left_out


def test_of_contradicting_records_the_most_are_kept():
    """A kernel that starts too early and ends where it should overlaps all before it: they are right."""
    events = serial()
    wide = kernel_of(events, "k4")
    wide["dur"] += wide["ts"] - 1001
    wide["ts"] = 1001
    found = summarised([event for event in events if event["cat"] == "kernel"])
    (left_out,) = found.trace.left_out
    assert (left_out.example, left_out.count) == ("k4", 1) and found.kernels.count == 5


def test_branches_of_one_cuda_graph_run_side_by_side():
    events = serial(2, start=100)
    graph = [k.launch(500, 99, "cudaGraphLaunch")]
    graph += [k.kernel(f"branch{i}", 600 + i, 300.5 - 60 * i, 99) for i in range(3)]
    assert summarised(events + graph).trace.left_out == []
    graph[1]["dur"] = 10_000.5
    after = [k.launch(940, 100), k.kernel("after", 1000.5, 10, 100)]
    (left_out,) = summarised(events + graph + after).trace.left_out
    assert (left_out.flaw, left_out.example) == (Flaw.OVERRUN, "branch0")


def test_streams_whose_number_is_unknown_are_not_compared():
    events = [
        {**k.kernel(f"k{i}", 10 * i, 1000.5, i + 1), "args": {"device": 0, "correlation": i + 1}} for i in range(5)
    ]
    assert summarised(events).trace.left_out == []


def test_whole_microseconds_make_short_kernels_0():
    events = serial(length=100, gap=10)
    kernel_of(events, "k2")["dur"] = 0
    found = summarised(events)
    assert found.trace.left_out == [] and found.kernels.count == 6
    assert found.devices[0].idle_ns == found.devices[0].idle.time_ns


def test_clocks_that_differ_are_said_and_cost_no_kernel():
    events = serial()
    for event in events:
        if event["cat"] == "kernel":
            event["ts"] -= 300
    found = summarised(events)
    assert found.trace.left_out == [] and found.kernels.count == 6
    (note,) = found.trace.notes
    assert note.code is NoteCode.CLOCKS_DIFFER and "6 of 6 kernels and copies start before" in str(note)


def test_clocks_that_drift_cost_no_kernel_but_those_that_no_drift_explains():
    events = serial(10)
    for number in (4, 5, 6, 7):
        kernel_of(events, f"k{number}")["ts"] -= 60  # 40 µs before their launch
    found = summarised(events)
    assert [row.flaw for row in found.trace.left_out] == [Flaw.OVERRUN] or found.trace.left_out == []
    (note,) = found.trace.notes
    assert note.code is NoteCode.CLOCKS_DIFFER and str(note).startswith("4 of 10 kernels and copies start before")
    kernel_of(events, "k9")["ts"] -= 2e6
    assert Flaw.BEFORE_LAUNCH in [row.flaw for row in summarised(events).trace.left_out]


def test_host_records_are_left_out_too():
    events = [*serial(), k.span("cpu_op", "aten::mm", 1000.0, 5.5), k.span("cpu_op", "aten::bad", 1001.0, -5.5)]
    found = summarised(events)
    (left_out,) = found.trace.left_out
    assert (left_out.flaw, left_out.table, left_out.of) == (Flaw.NEGATIVE, "ops", 2)
    assert [op.name for op in found.ops] == ["aten::mm"]


def test_work_is_judged_by_the_session_that_the_profiler_states():
    session = {**k.span("Trace", "PyTorch Profiler (0)", 900.0, 1000.5), "pid": "Spans", "tid": "PyTorch Profiler"}
    events = [*serial(), session]
    kernel_of(events, "k5")["ts"] += 3e6
    (left_out,) = summarised(events).trace.left_out
    assert (left_out.flaw, left_out.example) == (Flaw.OUTSIDE, "k5")
    session["ts"], session["dur"] = 1e15, 1.5  # then the session is what can't be true
    assert [row.table for row in summarised(events).trace.left_out] == ["sessions"]


def test_rows_that_are_no_events_cost_only_themselves():
    rows = '[7, null, {"ph": [], "ts": 5}, '
    text = json.dumps({"traceEvents": serial()}).replace("[", rows, 1)
    Path("t.json").write_text(text, encoding="utf-8")
    found = summary.summarise(kineto.read("t.json"))
    assert found.events == 15 and found.kernels.time_ns == 6 * 100_500
    assert sum(row.count for row in found.trace.unknown) == 3


def test_unknown_rows_with_durations_that_are_none_are_counted():
    rows = [
        k.span("tensix", "a", 0, 5),
        {**k.span("tensix", "b", 0, 0), "dur": "long"},
        {**k.span("tensix", "c", 0, 2)},
    ]
    (unknown,) = summarised([*serial(), *rows]).trace.unknown
    assert (unknown.category, unknown.count, unknown.time_ns) == ("tensix", 3, 7000)


def test_an_export_of_nsight_systems(tmp_path):
    kernels = [n.kernel(1000 * i, 1000 * i + 900, i + 1) for i in range(1, 6)]
    kernels += [n.kernel(9000, 8000, 7), n.kernel(3050, 900_000, 8)]
    found = summary.summarise(detect.read(n.write(tmp_path / "t.sqlite", kernel=kernels)))
    assert {(row.flaw, row.count) for row in found.trace.left_out} == {(Flaw.NEGATIVE, 1), (Flaw.OVERRUN, 1)}
    assert found.kernels.time_ns == 5 * 900


def test_of_a_trace_with_every_kernel_impossible_nothing_is_claimed():
    events = serial(2)
    for event in events:
        event["dur"] = -5.5
    found = summarised(events)
    assert found.devices == [] and {row.table for row in found.trace.left_out} == {"kernels", "runtime"}
    assert "all work of the device is left out, see above" in CliRunner().invoke(command, ["t.json"]).stdout


@pytest.mark.parametrize(
    ("occupancy", "blocks", "shared", "known"),
    [
        (0, 46.3, 147456, False),
        (0, 0.4, 147456, False),
        (0, 1.0, 0, False),
        (0, 0.01, 0, True),  # 0.02 % is 0
        (40, 46.3, 147456, True),
        (-1, 46.3, 0, False),
        (2**63, 46.3, 0, False),
    ],
)
def test_an_occupancy_that_the_profiler_does_not_know_is_no_number(occupancy, blocks, shared, known):
    events = serial(2)
    for name, values in (("k0", (40, 1.0, 0)), ("k1", (occupancy, blocks, shared))):
        keys = ("est. achieved occupancy %", "blocks per SM", "shared memory")
        kernel_of(events, name)["args"] |= dict(zip(keys, values, strict=True))
    found = summarised(events).efficiency
    assert found.stated_share == (1.0 if known else 0.5)
    assert found.occupancy_percent == pytest.approx((40 + occupancy) / 2 if known else 40)
    shown = CliRunner().invoke(command, ["t.json"]).stdout
    assert ("occupancy unknown for 50 % of kernel time" in " ".join(shown.split())) is not known


def test_ids_of_0_that_several_calls_have_launch_nothing():
    events = serial(3)
    for event in events:
        event["args"]["correlation"] = 0
    found = summarised(events)
    assert found.kernels.without_launch == 3 and found.launches.count == 0
