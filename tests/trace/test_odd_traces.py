"""Unusual traces that once gave a wrong number, a traceback or no warning."""

from __future__ import annotations

import json
import os
from pathlib import Path

import kineto_files as k
import numpy as np
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.errors import TraceError
from ttprof.trace.analyses import integrity, ranks, steps, summary
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import Spans
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting


def analyze(*arguments: str):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def read(events, **top):
    return kineto.read(k.write(Path("t.json"), events, **top))


def step(number, ts, dur):
    return k.span("user_annotation", f"ProfilerStep#{number}", ts, dur)


def test_overlapping_steps_keep_their_kernels():
    events = [
        step(1, 0, 100),
        step(2, 10, 20),
        k.launch(15, 1),
        k.launch(50, 2),
        k.kernel("a", 16, 5, 1),
        k.kernel("b", 60, 5, 2),
    ]
    iterations = Iterations.of(read(events))
    assert [row.kernel_count for row in steps.by_launch(iterations)] == [1, 1]
    assert [row.kernel_count for row in steps.by_window(iterations)] == [2, 1]


def test_a_repeated_step_name_is_another_step():
    events = [
        step(1, 0, 10),
        step(1, 50, 100),
        {**step(1, 0, 10), "cat": "cpu_op"},
        k.launch(60, 1),
        k.kernel("a", 70, 5, 1),
    ]
    assert [row.kernel_count for row in steps.by_launch(Iterations.of(read(events)))] == [0, 1]


def test_correlation_ids_of_two_processes_identify_no_launch():
    events = [
        k.launch(5, 1),
        {**k.launch(50, 1), "pid": 2},
        k.launch(60, 2),
        k.kernel("a", 70, 5, 1),
        k.kernel("b", 80, 5, 2),
    ]
    assert Attribution(read(events)).launch_of_kernel.tolist() == [-1, 2]


def test_crossing_spans_have_no_negative_self_time():
    spans = Spans.of({"ts": np.array([0, 1, 7]), "dur": np.array([5, 8, 2]), "thread": np.zeros(3, dtype=np.int64)})
    assert Nesting(spans).self_ns.tolist() == [1, 6, 2]
    assert Nesting(spans).parent.tolist() == [-1, 0, 1]


def test_names_that_contain_nan_are_kept_in_a_block_with_nan():
    names = ["f(a, NaN, b)", "x: inf, [nan]", 'quote \\" NaN']
    text = json.dumps({"traceEvents": [k.kernel(name, i, 1, i) for i, name in enumerate(names)]})
    Path("t.json").write_text(text.replace('"stream": 7', '"x": NaN', 1), encoding="utf-8")
    trace = kineto.read("t.json")
    assert trace.name_of(trace.kernels) == names


@pytest.mark.parametrize("ending", ["", ",", ",\n  ", "]", '], "trace', '],\n "traceName": "x'])
def test_a_file_truncated_after_an_event_loses_none(ending):
    rows = ",".join(json.dumps(k.kernel("k", i, 1, i)) for i in range(5))
    Path("t.json").write_text('{"traceEvents": [' + rows + ending, encoding="utf-8")
    with pytest.raises(TraceError, match="truncated or corrupt JSON at event 5"):
        kineto.read("t.json")
    trace = kineto.read("t.json", salvage=True)
    assert trace.events == 5
    assert trace.lost is not None


def test_the_loss_of_a_truncated_gzip_names_event_and_reason(tmp_path):
    path = k.write(Path("t.json.gz"), [k.kernel("k", i, 1, i) for i in range(20_000)])
    path.write_bytes(path.read_bytes()[:-20])
    lost = kineto.read(path, salvage=True).lost
    assert "everything from event" in lost
    assert "gzip" in lost


def test_launches_during_graph_capture_are_not_lost_kernels():
    events = [
        k.launch(0, 1, name="cudaStreamBeginCapture_v10000"),
        k.launch(5, 2),
        k.launch(10, 3, name="cudaStreamEndCapture"),
        k.launch(20, 4, name="cudaGraphLaunch"),
        k.kernel("a", 30, 5, 4),
    ]
    trace = read(events)
    assert integrity.check(trace, Iterations.of(trace)).complete
    lost = read([*events, k.launch(40, 5)])
    assert integrity.check(lost, Iterations.of(lost)).launches_without_kernel == 1


def test_launches_of_intel_are_launches():
    trace = read([{**k.launch(0, 1, name="urEnqueueKernelLaunch"), "cat": "xpu_runtime"}])
    assert len(trace.launches) == 1


def test_thread_ids_as_strings_and_as_numbers_are_equal():
    events = [{**k.op("a", 0, 10), "tid": "9"}, {**k.op("b", 0, 10), "tid": "main"}, {**k.launch(1, 1), "tid": 9}]
    attribution = Attribution(read([*events, k.kernel("k", 5, 1, 1)]))
    assert attribution.op_of_kernel.tolist() == [0]


@pytest.mark.parametrize(
    "field",
    [
        '"ts": "12.5", "dur": 1',
        '"ts": {}, "dur": 1',
        '"ts": 1, "dur": 8796093022209.5',
        '"ts": 1, "dur": 4000000000000000',
    ],
)
def test_impossible_times_are_errors(field):
    row = json.dumps(k.kernel("x", 0, 1, 1)).replace('"ts": 0, "dur": 1', field)
    Path("t.json").write_text(f'{{"traceEvents": [{row}]}}', encoding="utf-8")
    with pytest.raises(TraceError, match="event 0"):
        kineto.read("t.json")


@pytest.mark.parametrize("where", ["args", "header", "trailer"])
def test_deep_nesting_is_an_error_not_a_traceback(where):
    deep = "[" * 5000 + "]" * 5000
    row = json.dumps(k.kernel("x", 0, 1, 1))
    texts = {
        "args": '{"traceEvents": [' + row.replace('"stream": 7', f'"x": {deep}') + "]}",
        "header": f'{{"x": {deep}, "traceEvents": [{row}]}}',
        "trailer": f'{{"traceEvents": [{row}], "x": {deep}}}',
    }
    Path("t.json").write_text(texts[where], encoding="utf-8")
    with pytest.raises(TraceError):
        kineto.read("t.json")


def test_a_lone_surrogate_becomes_the_replacement_character():
    text = json.dumps({"traceEvents": [k.kernel("ab", 0, 1, 1), k.kernel("\U0001f600", 5, 1, 2)]})
    Path("t.json").write_text(text.replace('"ab"', '"a\\ud800b"'), encoding="utf-8")
    trace = kineto.read("t.json")
    assert trace.name_of(trace.kernels) == ["a\ufffdb", "\U0001f600"]


def test_a_nested_trace_events_key_is_ignored():
    row = json.dumps(k.kernel("x", 0, 1, 1))
    Path("t.json").write_text(f'{{"meta": {{"traceEvents": []}}, "traceEvents": [{row}]}}', encoding="utf-8")
    assert kineto.read("t.json").events == 1


def test_a_diff_warns_about_incomplete_traces():
    k.write(Path("a.json"), k.two_iterations())
    k.write(Path("b.json"), [*k.two_iterations(lose_kernel=True), k.kernel("early", 0, 5, 999)])
    shown = analyze("a.json", "--diff", "b.json").stdout
    assert "WARNING B is incomplete: 1 of 4 kernel launches have no kernel" in shown
    assert "1 kernel of B outside all steps left out" in shown
    result = json.loads(analyze("a.json", "--diff", "b.json", "--json").stdout)
    assert (result["incomplete"][0], result["kernels_left_out"]) == ([], [0, 1])


def test_a_kernel_without_occupancy_and_names_with_markup():
    half = k.kernel("k", 5, 5, 1)
    half["args"]["blocks per SM"] = 1.0
    events = [k.span("user_annotation", "ProfilerStep#1[/x]", 0, 20), k.launch(1, 1), half]
    done = analyze(k.write(Path("t.json"), events))
    assert done.exit_code == 0, done.exception
    assert "SM efficiency 100 %" in done.stdout
    assert "critical chain of ProfilerStep#1[/x]" in done.stdout


def test_streams_with_huge_numbers():
    result = summary.summarise(read([k.launch(0, 1), k.kernel("k", 5, 5, 1, stream=2**63 - 1)]))
    assert result.launches.max_queue_depth == 1


def test_undecodable_file_names_are_shown_with_question_marks():
    name = os.fsdecode(b"caf\xe9.json")
    k.write(Path(name), k.two_iterations())
    assert json.loads(analyze(name, "--json").stdout)["source"]["path"] == "caf?.json"


def test_a_folder_follows_links_once_and_lists_broken_ones():
    Path("real").mkdir()
    k.write(Path("real/a.trace.json"), k.two_iterations())
    Path("runs").mkdir()
    Path("runs/link").symlink_to(Path("real").absolute())
    Path("runs/again").symlink_to(Path("real").absolute())
    Path("runs/broken.trace.json").symlink_to("nowhere")
    result = json.loads(analyze("runs", "real/../real", "--json").stdout)
    assert len(result["traces"]) == 1
    assert [(row["path"], row["code"]) for row in result["unreadable"]] == [("runs/broken.trace.json", "not-found")]
    with pytest.raises(TraceError, match="no trace found"):
        ranks.trace_files([""])


def test_unattributed_time_is_shown_without_modules_too():
    shown = analyze(k.write(Path("t.json"), k.two_iterations())).stdout
    assert "Unattributed" in shown
    assert "no op" in shown
