"""A fuzz of meaning: one record of a real trace is made impossible, unknown or a sentinel.

The report names it, and every other number stays as it was. ``make test`` does that to the small recorded traces,
``make fuzz`` to all of them.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from recorded_traces import KINETO_TRACES

from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto

SMALL = ["a100_event_sync", "h100_bert_small", "mi250_minitoy", "mi300_bert_small"]
Row = dict[str, Any]


def set_to(**fields: Any) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        row.update(fields)

    return change


def without(*names: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        for name in names:
            row.pop(name, None)

    return change


def argument(name: str, value: Any) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        row["args"][name] = value

    return change


def earlier(row: Row) -> None:
    row["ts"] = float(row["ts"]) - 60e6


IMPOSSIBLE = {
    "lasts an hour": set_to(dur=3.6e9),
    "lasts two weeks": set_to(dur=1.3e12),
    "ends before it starts": set_to(dur=-5.5),
    "starts a minute before its launch": earlier,
    "starts in a year": set_to(ts=9e14),
    "starts a year before": set_to(ts=-3e13),
    "time is a text": set_to(ts="soon"),
    "time is null": set_to(ts=None),
    "time is infinite": set_to(ts=1e400),
    "no time": without("ts"),
    "duration is a text": set_to(dur="long"),
    "duration is an object": set_to(dur={}),
    "arguments are a text": set_to(args="none"),
    "arguments are a list": set_to(args=[1]),
    "correlation is an object": argument("correlation", {}),
}
"""What makes a kernel impossible."""

UNKNOWN = {
    "another category": set_to(cat="tensix_kernel"),
    "no category": without("cat"),
    "another phase": set_to(cat="tensix_kernel", ph="Q"),
    "no event": lambda row: row.clear(),
}
"""What makes a kernel a row that ttprof does not know."""

SENTINELS = {
    "occupancy -1": argument("est. achieved occupancy %", -1),
    "occupancy of 300 %": argument("est. achieved occupancy %", 300),
    "no blocks": argument("blocks per SM", 0),
    "null stream": argument("stream", None),
}
"""Numbers of a kernel that are none."""


def read(name: str, shared_traces) -> Row:
    return json.loads(gzip.decompress((shared_traces / "kineto" / f"{name}.json.gz").read_bytes()))


def numbers(document: Row, path) -> Row:
    path.write_text(json.dumps(document).replace("Infinity", "1e400"), encoding="utf-8")
    return msgspec.to_builtins(summary.summarise(kineto.read(path)))


def kernels_of(document: Row) -> list[int]:
    rows = document["traceEvents"]
    return [i for i, row in enumerate(rows) if str(row.get("cat", "")).lower() == "kernel" and row.get("ph") == "X"]


def of_host(found: Row) -> Row:
    """The numbers that no kernel is part of."""
    return {
        **{key: found[key] for key in ("memcpy", "memset", "memory", "allocations", "copies", "synchronisations")},
        "ops": [
            {key: op[key] for key in ("name", "count", "time_ns", "self_ns", "spread", "flops")} for op in found["ops"]
        ],
        "modules": [{key: m[key] for key in ("path", "calls", "host_ns", "depth")} for m in found["modules"]],
        "steps": [{key: step[key] for key in ("name", "time_ns")} for step in found["steps"]],
    }


def scenarios(kinds: Row) -> list[Any]:
    rows = [pytest.param(name, kind, id=f"{name}-{kind}") for name in SMALL for kind in kinds]
    more = [name for name in KINETO_TRACES if name not in SMALL]
    return rows + [
        pytest.param(name, kind, id=f"{name}-{kind}", marks=pytest.mark.fuzz) for name in more for kind in kinds
    ]


def changed(shared_traces, tmp_path, name: str, change: Callable[[Row], None]) -> tuple[Row, Row, Row]:
    """The numbers of a trace before and after one kernel of it was changed, and that kernel."""
    document = read(name, shared_traces)
    rows = kernels_of(document)
    if not rows:
        pytest.skip("a recording without kernels")
    before = numbers(document, tmp_path / "t.json")
    row = document["traceEvents"][rows[len(rows) // 2]]
    kernel = copy.deepcopy(row)
    change(row)
    return before, numbers(document, tmp_path / "t.json"), kernel


def lost_ns(before: Row, after: Row) -> tuple[int, int]:
    return (
        before["kernels"]["count"] - after["kernels"]["count"],
        before["kernels"]["time_ns"] - after["kernels"]["time_ns"],
    )


@pytest.mark.parametrize(("name", "kind"), scenarios(IMPOSSIBLE))
def test_an_impossible_kernel_is_named_and_left_out(shared_traces, tmp_path, name, kind):
    before, after, kernel = changed(shared_traces, tmp_path, name, IMPOSSIBLE[kind])
    (left_out,) = after["trace"]["left_out"]
    assert (left_out["table"], left_out["count"], left_out["example"]) == ("kernels", 1, kernel["name"])
    assert after["trace"]["reasons"][0]["code"] == "records-left-out" and not after["trace"]["complete"]
    assert lost_ns(before, after) == (1, round(1000 * float(kernel["dur"])))
    assert of_host(after) == of_host(before)


@pytest.mark.parametrize(("name", "kind"), scenarios(UNKNOWN))
def test_a_row_that_is_not_known_is_counted(shared_traces, tmp_path, name, kind):
    before, after, kernel = changed(shared_traces, tmp_path, name, UNKNOWN[kind])
    unknown = [row for row in after["trace"]["unknown"] if row not in before["trace"]["unknown"]]
    assert len(unknown) == 1 and lost_ns(before, after) == (1, round(1000 * float(kernel["dur"])))
    assert of_host(after) == of_host(before)


@pytest.mark.parametrize(("name", "kind"), scenarios(SENTINELS))
def test_a_sentinel_is_no_number(shared_traces, tmp_path, name, kind):
    before, after, _ = changed(shared_traces, tmp_path, name, SENTINELS[kind])
    assert lost_ns(before, after) == (0, 0) and of_host(after) == of_host(before)
    assert after["trace"]["left_out"] == [] and after["trace"]["unknown"] == before["trace"]["unknown"]
    old, new = before["efficiency"], after["efficiency"]
    assert new["stated_share"] <= old["stated_share"] and new["tensor_core_ns"] == old["tensor_core_ns"]
    for percent in ("occupancy_percent", "sm_efficiency_percent"):
        assert new[percent] is None or 0 <= new[percent] <= 100


@pytest.mark.parametrize("name", KINETO_TRACES)
def test_recorded_traces_have_no_impossible_and_no_unknown_row(shared_traces, name):
    trace = kineto.read(shared_traces / "kineto" / f"{name}.json.gz")
    unknown = {"mtia_ccp_events", "mtia_runtime"} if name == "mtia_inference" else set()
    assert trace.left_out == () and {row.category for row in trace.unknown} == unknown
