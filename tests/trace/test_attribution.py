"""Attribution to ops and modules, on small handwritten traces and on recorded ones."""

from __future__ import annotations

from dataclasses import replace

import kineto_files as k
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.trace.analyses import modules
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import module_annotation, module_path


def op_names(result: Attribution, rows) -> list[str]:
    names = result.trace.name_of(result.trace.ops)
    return [names[row] if row >= 0 else "-" for row in rows.tolist()]


def paths(result: Attribution, rows) -> list[str]:
    return [result.modules.paths[row] if row >= 0 else "-" for row in rows.tolist()]


def test_a_kernel_belongs_to_the_innermost_op_around_its_launch(attribute):
    attribution = attribute(k.training_step())
    assert op_names(attribution, attribution.op_of_kernel) == ["aten::addmm", "aten::mm", "aten::zero_", "-", "-"]


def test_launches_in_the_driver_and_of_graphs(attribute):
    events = [
        k.op("outer", 0, 20),
        k.span("cuda_driver", "cuLaunchKernelEx", 1, 1, correlation=1),
        k.kernel("a", 5, 1, 1),
        k.op("replay", 30, 20),
        k.launch(31, 2, name="cudaGraphLaunch"),
        *[k.kernel("b", 40 + i, 1, 2) for i in range(3)],
    ]
    attribution = attribute(events)
    assert op_names(attribution, attribution.op_of_kernel) == ["outer", "replay", "replay", "replay"]


@given(st.text(st.characters(codec="utf-8")))
def test_a_module_path_survives_its_annotation(path):
    annotation = module_annotation(path)
    assert module_path(annotation) == path
    assert annotation.isascii() and annotation.isprintable() and not set(annotation) & set('"\\')


def test_ordinary_paths_are_annotated_unchanged():
    assert module_annotation("layers.0.attention (fused) <q,k>") == "module: layers.0.attention (fused) <q,k>"


def named(event, external):
    return {**event, "args": {**event["args"], "External id": external}}


def test_external_ids_that_name_ops_attribute_calls_outside_any_op(attribute):
    rows = [named(k.op("a", 0, 10), 7), named(k.launch(1, 1), 7), k.kernel("x", 20, 1, 1)]
    late = [named(k.launch(50, 2), 7), k.kernel("y", 60, 1, 2)]
    attribution = attribute(rows + late)
    assert op_names(attribution, attribution.op_of_kernel) == ["a", "a"]


def test_an_external_id_that_repeats_the_correlation_id_names_no_op(attribute):
    rows = [named(k.op("a", 0, 10), 2), named(k.op("b", 20, 10), 1)]
    calls = [named(k.launch(1, 1), 1), named(k.launch(21, 2), 2), named(k.launch(50, 3), 1)]
    kernels = [k.kernel("x", 60 + i, 1, i) for i in (1, 2, 3)]
    attribution = attribute(rows + calls + kernels)
    assert op_names(attribution, attribution.op_of_kernel) == ["a", "b", "-"]


def test_module_paths_of_python_rows_are_the_calls_from_the_outside_in(attribute):
    attribution = attribute(k.training_step())
    assert attribution.modules.paths == ("Net_0", "Net_0.Linear_0")
    assert paths(attribution, attribution.module_of_op) == ["Net_0.Linear_0"] * 5 + ["-"]


def test_annotations_of_ttprof_take_precedence_over_python_rows(attribute):
    ours = [k.span("user_annotation", f"module: {path}", ts, 9) for path, ts in (("layers.0", 5), ("layers.1", 15))]
    attribution = attribute([*k.training_step(), *ours, k.op("x", 16, 1)])
    assert paths(attribution, attribution.module_of_op)[:2] == ["layers.0", "layers.0"]
    assert paths(attribution, attribution.module_of_op)[-1] == "layers.1"


def test_a_backward_op_is_joined_by_its_number_and_by_its_arrow(attribute):
    by_number = attribute(k.training_step())
    assert op_names(by_number, by_number.forward_op)[2:5] == ["aten::addmm"] * 3
    without_numbers = [{**e, "args": {}} if e["name"] == "AddmmBackward0" else e for e in k.training_step()]
    by_arrow = attribute([*without_numbers, *k.arrow(1, (1, 6), (2, 101))])
    assert op_names(by_arrow, by_arrow.forward_op)[4] == "aten::linear"


def test_a_sequence_number_of_two_threads_joins_nothing(attribute):
    other = k.op("aten::mul", 3, 1, tid=3, **{"Sequence number": 4, "Fwd thread id": 0})
    attribution = attribute([*k.training_step(), other])
    assert op_names(attribution, attribution.forward_op)[2:5] == ["-", "-", "-"]
    assert paths(attribution, attribution.module_of_op)[2:5] == ["-", "-", "-"]


def test_a_backward_op_is_not_joined_to_an_op_that_began_after_it(attribute):
    later = k.op("aten::linear", 300, 5, **{"Sequence number": 4, "Fwd thread id": 0})
    attribution = attribute([*k.training_step(), later])
    assert op_names(attribution, attribution.forward_op)[4] == "aten::addmm"


def test_the_module_tree_has_forward_and_backward_time_and_an_unattributed_row(attribute):
    attribution = attribute(k.training_step())
    net, linear = modules.tree(attribution)
    assert (net.path, net.depth, net.calls, net.host_ns) == ("Net_0", 0, 1, 50_000)
    assert (net.forward_ns, net.backward_ns, net.self_forward_ns, net.self_backward_ns) == (10_000, 30_000, 0, 0)
    assert (linear.depth, linear.kernel_count, linear.self_forward_ns, linear.self_backward_ns) == (
        1,
        2,
        10_000,
        30_000,
    )
    rest = modules.unattributed(attribution)
    assert (rest.measured, rest.count, rest.time_ns, rest.share) == ("kernels", 3, 60_000, 0.6)
    assert (rest.without_launch_ns, rest.without_op_ns, rest.without_module_ns) == (50_000, 5_000, 5_000)


def test_every_kernel_of_a_recorded_trace_is_in_a_module_or_unattributed(shared_traces):
    for path in sorted((shared_traces / "kineto").iterdir()):
        attribution = Attribution(kineto.read(path))
        if not len(attribution.trace.kernels):
            continue
        roots = [row for row in modules.tree(attribution) if row.depth == 0]
        inside = sum(row.forward_ns + row.backward_ns for row in roots)
        assert inside + modules.unattributed(attribution).time_ns == attribution.trace.kernels.time_ns
        assert sum(row.kernel_count for row in roots) + modules.unattributed(attribution).count == len(
            attribution.trace.kernels
        )


@pytest.mark.parametrize("name", ["a100_nccl_ns", "mi250_minitoy", "mi300_resnet_3steps"])
def test_arrows_and_numbers_agree_on_recorded_traces(shared_traces, name):
    trace = kineto.read(shared_traces / "kineto" / f"{name}.json.gz")
    without_numbers = replace(trace.op_details, sequence=np.full(len(trace.ops), -1))
    by_arrow = Attribution(replace(trace, op_details=without_numbers)).forward_op
    by_number = Attribution(replace(trace, links=trace.links.where(np.zeros(len(trace.links), dtype=bool)))).forward_op
    assert (by_arrow >= 0).any()
    assert by_arrow.tolist() == by_number.tolist() == Attribution(trace).forward_op.tolist()


def test_correlation_ids_of_two_processes_identify_no_launch(attribute):
    events = [
        k.launch(5, 1),
        {**k.launch(50, 1), "pid": 2},
        k.launch(60, 2),
        k.kernel("a", 70, 5, 1),
        k.kernel("b", 80, 5, 2),
    ]
    assert attribute(events).launch_of_kernel.tolist() == [-1, 2]


def test_thread_ids_as_strings_and_as_numbers_are_equal(attribute):
    events = [{**k.op("a", 0, 10), "tid": "9"}, {**k.op("b", 0, 10), "tid": "main"}, {**k.launch(1, 1), "tid": 9}]
    attribution = attribute([*events, k.kernel("k", 5, 1, 1)])
    assert attribution.op_of_kernel.tolist() == [0]
