"""Summaries of recorded traces equal the numbers in ../shared/traces/expected."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ttprof.cli.analyze import command
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto

NAMES = [
    "a100_cupti_range_nokernels",
    "a100_diff_control",
    "a100_event_sync",
    "a100_nccl_ns",
    "a100_rank0_5steps",
    "b200_eager",
    "cpu_only_2467ev",
    "h100_bert_small",
    "h100_qwen05b",
    "mi250_minitoy",
    "mi300_bert_small",
    "mi300_resnet_3steps",
    "mtia_inference",
    "rtx2080ti_linear",
    "sampled_nodevprops_rank0",
    "v100_8rank_mem_rank1",
    "v100_resnet50_w0_old",
]


@pytest.mark.parametrize("name", NAMES)
def test_summary_equals_the_expected_numbers(shared_traces, name):
    path = shared_traces / "kineto" / f"{name}.json.gz"
    result = json.loads(CliRunner().invoke(command, [str(path), "--json"]).stdout)
    expected = json.loads((shared_traces / "expected" / f"{name}.json").read_text(encoding="utf-8"))
    top10 = expected["kernels"].pop("top10")
    by_name = {row["name"]: (row["count"], row["time_ns"]) for row in result["kernels"].pop("by_name")}
    for wanted in top10:
        assert by_name[wanted["name"]] == (wanted["count"], round(wanted["time_us"] * 1000))
    assert result["kernels"] == expected["kernels"]
    assert result["source"]["devices"] == expected["devices"]
    key = lambda row: (row["device_type"], row["device_index"])  # noqa: E731
    assert sorted(result["memory"], key=key) == sorted(expected["memory"], key=key)
    for part in ("events", "device_busy_ns", "memcpy", "memset", "steps"):
        assert result[part] == expected[part]


def test_every_recorded_trace_is_tested(shared_traces):
    assert sorted(p.name.removesuffix(".json.gz") for p in (shared_traces / "kineto").iterdir()) == NAMES


def test_lost_kernels_are_noticed_in_a_real_trace(shared_traces, tmp_path):
    import gzip

    whole = json.loads(gzip.decompress((shared_traces / "kineto" / "h100_bert_small.json.gz").read_bytes()))
    kernels = [i for i, e in enumerate(whole["traceEvents"]) if e.get("cat") == "kernel"]
    del whole["traceEvents"][kernels[17]]
    (tmp_path / "cut.json").write_text(json.dumps(whole))
    assert summary.summarise(kineto.read(tmp_path / "cut.json")).trace.launches_without_kernel == 1
