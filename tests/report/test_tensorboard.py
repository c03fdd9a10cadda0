"""A real TensorBoard on a loopback port shows the files of a run: torch-tb-profiler's runs, and the scalars."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard_server import Server
from tiny_models import Block

from ttprof import TestSuite

PLUGIN = "/data/plugin/pytorch_profiler"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The result of a suite with a plain and a swept case."""
    torch.manual_seed(0)
    model = Block()
    suite = TestSuite(model, seq_len=16, name="gate", quiet=True, trace_dir=tmp_path_factory.mktemp("logs"))
    suite.test(model.attention).expect(latency_ms=1000).profile(1, 3)
    suite.test(model.ffn, name="ffn [wide]/2").with_seq_lengths([8, 16]).profile(1, 2)
    swept = suite.test(model.ffn, name="swept").with_seq_lengths([8, 16, 32, 64]).profile(1, 2)
    swept.expect_scaling("linear", metric="memory_mb")
    return suite.run()


@pytest.fixture(scope="module")
def server(run):
    started = Server(Path(run.run_dir).parent)
    yield started
    started.stop()


def test_every_case_is_a_run_with_its_trials_as_workers(run, server):
    prefix = run.run_dir.rpartition("/")[2]
    expected = {f"{prefix}/{case}" for case in ("attention", "ffn_wide_2", "swept")}
    runs = server.poll(f"{PLUGIN}/runs", lambda answer: set(answer["runs"]) >= expected and not answer["loading"])
    assert set(runs["runs"]) == expected
    workers = server.get(f"{PLUGIN}/workers", run=f"{prefix}/ffn_wide_2", view="Operator")
    assert sorted(workers) == ["seq_len=16", "seq_len=8"]
    views = server.get(f"{PLUGIN}/views", run=f"{prefix}/attention")
    assert {"Overview", "Operator", "Trace", "Memory"} <= set(views)
    trace = server.get(f"{PLUGIN}/trace", run=f"{prefix}/attention", worker="trace", span="default")
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("module: attention.key_proj") == 3
    assert "ttprof.iteration#2" in names


def test_scalars_and_summary_are_in_tensorboards_own_panes(run, server):
    prefix = run.run_dir.rpartition("/")[2]
    tags = server.poll("/data/plugin/scalars/tags", lambda answer: prefix in answer)[prefix]
    assert {"latency_ms/attention", "memory_mb/ffn [wide]/2"} <= set(tags)
    points = server.get("/data/plugin/scalars/scalars", run=prefix, tag="memory_mb/ffn [wide]/2")
    assert [point[1] for point in points] == [8, 16]
    assert points[0][2] == pytest.approx(run["ffn [wide]/2"].trials[0].metrics["memory_mb"])
    (text,) = server.get("/data/plugin/text/text", run=prefix, tag="summary")
    assert "3 cases: 3 PASS" in text["text"]


def test_scalings_are_pictures_and_the_run_is_a_session_of_hparams(run, server):
    prefix = run.run_dir.rpartition("/")[2]
    tags = server.poll("/data/plugin/images/tags", lambda answer: prefix in answer)[prefix]
    assert set(tags) == {"scaling/swept"}
    (picture,) = server.get("/data/plugin/images/images", run=prefix, tag="scaling/swept", sample=0)
    assert server.fetch(f"/data/plugin/images/individualImage?{picture['query']}").startswith(b"\x89PNG")
    experiment = server.get("/data/plugin/hparams/experiment", request="{}")
    assert {info["name"] for info in experiment["hparamInfos"]} >= {"suite", "device", "torch version"}
    assert "latency_ms/attention" in [info["name"]["tag"] for info in experiment["metricInfos"]]
