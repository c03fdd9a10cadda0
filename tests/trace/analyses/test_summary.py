"""Summaries of recorded traces equal the numbers in ../shared/traces/expected."""

from __future__ import annotations

import gzip
import json

import pytest
from click.testing import CliRunner
from recorded_traces import KINETO_TRACES

from ttprof.cli.analyze import command
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto


@pytest.mark.parametrize("name", KINETO_TRACES)
def test_summary_equals_the_expected_numbers(shared_traces, name):
    path = shared_traces / "kineto" / f"{name}.json.gz"
    result = json.loads(CliRunner().invoke(command, [str(path), "--json"]).stdout)
    expected = json.loads((shared_traces / "expected" / f"{name}.json").read_text(encoding="utf-8"))
    top10 = expected["kernels"].pop("top10")
    by_name = {row["name"]: (row["count"], row["time_ns"]) for row in result["kernels"].pop("by_name")}
    for row in top10:
        assert by_name[row["name"]] == (row["count"], round(row["time_us"] * 1000))
    assert result["kernels"] == expected["kernels"]
    assert result["source"]["devices"] == expected["devices"]
    key = lambda row: (row["device_type"], row["device_index"])  # noqa: E731
    assert sorted(result["memory"], key=key) == sorted(expected["memory"], key=key)
    for part in ("events", "device_busy_ns", "memcpy", "memset", "steps"):
        assert result[part] == expected[part]


def test_every_recorded_trace_is_tested(shared_traces):
    assert sorted(p.name.removesuffix(".json.gz") for p in (shared_traces / "kineto").iterdir()) == KINETO_TRACES


def test_a_kernel_removed_from_a_recorded_trace_is_counted_as_lost(shared_traces, tmp_path):
    whole = json.loads(gzip.decompress((shared_traces / "kineto" / "h100_bert_small.json.gz").read_bytes()))
    kernels = [i for i, e in enumerate(whole["traceEvents"]) if e.get("cat") == "kernel"]
    del whole["traceEvents"][kernels[17]]
    (tmp_path / "cut.json").write_text(json.dumps(whole))
    assert summary.summarise(kineto.read(tmp_path / "cut.json")).trace.launches_without_kernel == 1
