"""Which annotations of a trace are its steps, and what they did."""

from __future__ import annotations

import json
from pathlib import Path

import kineto_files as k
import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto


def ranges(*names: str, length: float = 90, every: float = 100, thread: int = 1) -> list[k.Event]:
    """Annotations one after the other."""
    return [{**k.span("user_annotation", name, every * i, length), "tid": thread} for i, name in enumerate(names)]


def found(events: list[k.Event], glob: str | None = None) -> summary.Summary:
    return summary.summarise(kineto.read(k.write(Path("t.json"), events)), steps_glob=glob)


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        (ranges("ProfilerStep#3", "ProfilerStep#4"), "ProfilerStep#N"),
        (ranges("ProfilerStep#3") + ranges("work 1", "work 2", "work 3", thread=2), "ProfilerStep#N"),
        (
            ranges("execute_context_0(0)_generation_8(8)", "execute_context_1(512)_generation_7(7)"),
            "execute_context_#(#)_generation_#(#)",
        ),
        (ranges("step[EXTEND bs=1 toks=7]", "step[DECODE bs=8]"), "step[#]"),
        (
            ranges("[pl][profile]run_training_batch", "[pl][profile]run_training_batch"),
            "[pl][profile]run_training_batch",
        ),
        (ranges("## forward ##", "## forward ##"), "## forward ##"),
        (ranges("request 17", "request 18", "request 19"), "request #"),
        (ranges("decode[a]", "decode[b]", "decode[c]"), "decode[#]"),
    ],
)
def test_the_rule_that_names_the_steps(events, rule):
    result = found(events)
    assert result.steps_rule == rule and len(result.steps) == len(result.step_phases) >= 2 - rule.startswith("Prof")


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(ranges("a", "b", "c"), id="no family"),
        pytest.param(ranges("", "", ""), id="no names"),
        pytest.param(ranges("work 1", "work 2"), id="too few"),
        pytest.param(ranges("work 1", "work 2", "work 3", length=35), id="too little of the time"),
        pytest.param(ranges("work 1", "work 2", "work 3", length=150), id="they overlap"),
        pytest.param(ranges("w 1", "w 2") + ranges("w 3", "w 4", thread=2), id="two threads"),
        pytest.param(ranges(*["Optimizer.step#SGD.step"] * 5), id="a part of a step"),
        pytest.param(ranges(*["nccl:all_reduce"] * 5), id="a collective"),
        pytest.param(ranges("execute_context_0(0)_generation_8(8)"), id="once"),
    ],
)
def test_ranges_that_are_no_steps(events):
    result = found(events)
    assert result.steps == [] and result.steps_rule is None


def test_the_family_that_covers_most_is_the_step():
    outer = ranges("batch 1", "batch 2", "batch 3")
    inner = [k.span("user_annotation", f"layer {i}", 100 * (i // 2) + 40 * (i % 2), 35) for i in range(6)]
    assert found(outer + inner).steps_rule == "batch #"


def test_a_glob_names_the_steps():
    events = ranges("ProfilerStep#3", "decode[a]", "decode[b]")
    assert [step.name for step in found(events, "decode[[]*").steps] == ["decode[a]", "decode[b]"]
    k.write(Path("t.json"), events)
    done = CliRunner().invoke(command, ["t.json", "--steps", "decode*", "--json"])
    assert json.loads(done.stdout)["steps_rule"] == "decode*"
    wrong = CliRunner().invoke(command, ["t.json", "--steps", "prefill*"])
    assert wrong.exit_code == 2 and "decode[#] ×2" in " ".join(wrong.stderr.split())


def test_steps_of_one_name_have_no_window_on_the_device():
    events = ranges("step[DECODE bs=8]", "step[DECODE bs=8]")
    events += [{**event, "cat": "gpu_user_annotation", "ts": event["ts"] + 40} for event in events]
    assert [window.stated for window in found(events).steps_by_window] == [False, False]


def training_step(at: float, number: int) -> list[k.Event]:
    """A step whose device idles for 30 µs between the forward and the backward, and for 20 before the optimizer."""

    def op(name: str, ts: float, correlation: int, length: float, start: float, kernel: str, **args) -> list[k.Event]:
        return [
            k.span("cpu_op", name, at + ts, 8, **args),
            k.launch(at + ts + 1, correlation),
            k.kernel(kernel, at + start, length, correlation),
        ]

    first = 10 * number
    return [
        k.span("user_annotation", f"ProfilerStep#{number}", at, 500),
        k.span("user_annotation", "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", at + 1, 50),
        *op("aten::mm", 60, first + 1, 100, 70, "gemm", **{"Sequence number": number, "Fwd thread id": 0}),
        *op("MmBackward0", 150, first + 2, 200, 200, "gemm_b", **{"Sequence number": number, "Fwd thread id": 1}),
        *op("c10d::allreduce_", 170, first + 3, 40, 400, "ncclDevKernel_AllReduce"),
        k.span("user_annotation", "Optimizer.step#SGD.step", at + 300, 50),
        *op("aten::add_", 310, first + 4, 30, 460, "add"),
        k.launch(at + 380, first + 5),
        k.kernel("triton", at + 490, 10, first + 5),
    ]


def test_the_phases_of_a_step():
    result = found([*training_step(0, 1), *training_step(1000, 2)])
    for phases in result.step_phases:
        assert (phases.forward_ns, phases.backward_ns, phases.communication_ns) == (100_000, 200_000, 40_000)
        assert (phases.optimizer_ns, phases.other_ns, phases.data_loading_ns) == (30_000, 10_000, 50_000)
        assert phases.idle_ns == 50_000 and phases.measured == "kernels"
    shown = CliRunner().invoke(command, ["t.json"]).stdout
    assert "a step on average" in shown and "loading data takes the host 50.00 µs" in shown
    assert "no device runs anything for 50.00 µs" in shown


def test_the_phases_of_a_step_without_kernels():
    events = [event for event in training_step(0, 1) if event["cat"] in ("cpu_op", "user_annotation")]
    (phases,) = found(events).step_phases
    assert phases.measured == "ops" and phases.idle_ns == 0
    assert (phases.forward_ns, phases.backward_ns, phases.optimizer_ns) == (16_000, 8_000, 8_000)
