"""The torch.profiler collector: its schedule with a fake session, its traces with the real profiler on a CPU."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerAction

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.run.annotate import annotated
from ttprof.run.base import Workload
from ttprof.run.torch_profiler import TorchProfilerCollector
from ttprof.spec import Schedule
from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations, steps
from ttprof.trial_key import Point, TrialKey

CPU = torch.device("cpu")
KEY = TrialKey("x", Point())


class FakeSession:
    """Replaces torch.profiler.profile: stores its options and counts its steps."""

    last: FakeSession

    def __init__(self, **options):
        self.options, self.steps = options, 0
        FakeSession.last = self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.options["on_trace_ready"](self)

    def preset_metadata_json(self, key, value):
        self.options[key] = value

    def step(self):
        self.steps += 1

    def export_chrome_trace(self, path):
        Path(path).write_text('{"traceEvents": []}', encoding="utf-8")


def test_a_trace_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TraceError, match=r"/file/t\.json\.gz: (Not a directory|File exists)$") as raised:
        TorchProfilerCollector(FakeSession).record(
            Workload(KEY, "x", lambda: None, CPU), Schedule(0, 1, 1, exact=True), tmp_path / "file" / "t.json.gz"
        )
    assert raised.value.code is TraceErrorCode.UNWRITABLE


def test_the_schedule_is_wait_0_warmup_w_active_n_repeat_1(tmp_path):
    calls = []
    workload = Workload(KEY, "x", lambda: calls.append(1), CPU)
    TorchProfilerCollector(FakeSession).record(workload, Schedule(4, 9, 6, exact=True), tmp_path / "t.json.gz")
    session = FakeSession.last
    assert (len(calls), session.steps) == (10, 10)
    actions = [session.options["schedule"](i) for i in range(11)]
    assert actions == [ProfilerAction.WARMUP] * 4 + [ProfilerAction.RECORD] * 5 + [
        ProfilerAction.RECORD_AND_SAVE,
        ProfilerAction.NONE,
    ]
    assert session.options["profile_memory"] and session.options["record_shapes"]


@pytest.mark.parametrize(("warmup", "recorded"), [(10, 100), (0, 1), (2, 3)])
def test_the_trace_contains_exactly_the_active_iterations(tmp_path, warmup, recorded):
    module, x = nn.Linear(8, 8), torch.randn(4, 8)
    workload = Workload(KEY, "x", lambda: module(x), CPU, (("ffn.up", module),))
    recording = TorchProfilerCollector().record(
        workload, Schedule(warmup, recorded, recorded, exact=True), tmp_path / "t.json.gz"
    )
    trace = kineto.read(recording.path)
    iterations = Iterations.of(trace)
    assert iterations.names == [f"ttprof.iteration#{i}" for i in range(recorded)]
    assert len(steps(trace)) == recorded
    assert trace.name_of(trace.annotations).count("module: ffn.up") == recorded
    assert trace.name_of(trace.ops).count("aten::addmm") == recorded
    assert list(tmp_path.iterdir()) == [recording.path]


def distributed_info(tmp_path) -> dict:
    path = tmp_path / "t.json.gz"
    TorchProfilerCollector().record(Workload(KEY, "x", lambda: torch.ones(2), CPU), Schedule(1, 1, 1, exact=True), path)
    return json.loads(gzip.decompress(path.read_bytes()))["distributedInfo"]


def test_a_trace_has_the_distributed_info_that_other_tools_require(tmp_path):
    assert distributed_info(tmp_path) == {"backend": "none", "rank": 0, "world_size": 1}


def test_in_a_process_group_torch_writes_the_distributed_info(tmp_path):
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        assert distributed_info(tmp_path)["backend"] == "gloo"
    finally:
        distributed.destroy_process_group()


def test_annotations_nest_and_the_forwards_are_restored():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    before = [dict(vars(m)) for m in model.modules()]
    with pytest.raises(ZeroDivisionError), annotated([("m", model), ("m.0", model[0])], record_function):
        assert "forward" in vars(model)
        model(torch.randn(2, 4))
        1 / 0  # noqa: B018
    assert [dict(vars(m)) for m in model.modules()] == before


HOSTILE = (
    'a"b',
    "a\\b",
    "é",
    "\U0001f600",
    "a\u2028b",
    "a\nb",
    "a\x1bb",
    "%41",
    "100 %",
    "x" * 300,
    "<b>",
    "a/b:c(d)",
    "'#`",
)


def test_module_paths_with_any_characters_survive_the_trace(tmp_path):
    modules = [(name, nn.ReLU()) for name in HOSTILE]

    def call():
        for _, module in modules:
            module(torch.zeros(2))

    workload = Workload(KEY, "x", call, CPU, tuple(modules))
    recording = TorchProfilerCollector().record(workload, Schedule(0, 1, 1, exact=True), tmp_path / "t.json.gz")
    assert Attribution(kineto.read(recording.path)).modules.paths == HOSTILE


def test_a_patched_forward_stays_patched():
    module = nn.Linear(2, 2)
    module.forward = lambda x: x + 1
    patched = module.forward
    with annotated([("m", module)], record_function):
        assert torch.equal(module(torch.zeros(2)), torch.ones(2))
    assert module.forward is patched


def test_the_encoder_layer_is_recorded_on_its_fused_path(tmp_path):
    layer = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    x = torch.randn(2, 4, 16)

    def call():
        with torch.no_grad():
            layer(x)

    workload = Workload(KEY, "x", call, CPU, tuple((n or "layer", m) for n, m in layer.named_modules()))
    recording = TorchProfilerCollector().record(workload, Schedule(0, 1, 1, exact=True), tmp_path / "t.json.gz")
    trace = kineto.read(recording.path)
    assert "aten::_transformer_encoder_layer_fwd" in trace.name_of(trace.ops)


def test_a_workload_that_raises_leaves_no_file(tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        TorchProfilerCollector().record(Workload(KEY, "x", fail, CPU), Schedule(1, 1), tmp_path / "t.json.gz")
    assert list(tmp_path.iterdir()) == []


def test_recording_does_not_import_the_compiler(tmp_path):
    code = f"""
import sys, torch, pathlib
from ttprof.run.base import Workload
from ttprof.run.torch_profiler import TorchProfilerCollector
from ttprof.run.flops import FlopCount
from ttprof.run.work import count_work
from ttprof.spec import Schedule
from ttprof.trial_key import Point, TrialKey
call = lambda: torch.ones(2, 2) @ torch.ones(2, 2)
path = pathlib.Path({str(tmp_path)!r}, "t.json.gz")
TorchProfilerCollector().record(Workload(TrialKey("x", Point()), "x", call, torch.device("cpu")), Schedule(), path)
assert count_work(call).flops == FlopCount(16)
loaded = "torch._dynamo" in sys.modules
assert hasattr(torch, "_inductor")
sys.exit(loaded)
"""
    completed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (completed.returncode, completed.stderr) == (0, "")
