"""A GPU whose clock falls while a case is timed, from the readings to the verdict, the file and the note."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from nvml_fakes import UUID, FakeNvml
from torch import nn

from ttprof import Status, TestSuite, load
from ttprof.codes import NoteCode, VerdictCode
from ttprof.judge import verify
from ttprof.run import loop
from ttprof.run.machine_reader import MachineReader
from ttprof.system.cpu_clocks import CpuClocks
from ttprof.system.nvml import NvmlGpu, Throttle


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """NVML of a GPU; the calls are timed on the CPU."""
    nvml = FakeNvml(highest=2000, sm=2000)

    @contextmanager
    def reading(device, glance):
        yield MachineReader(CpuClocks(tmp_path), NvmlGpu(nvml, UUID))

    monkeypatch.setattr(loop, "reading", reading)
    return nvml


def run(fake, tmp_path, mhz: list[int]):
    """A suite with a case for each clock of the GPU, limited to a latency that is out of reach."""

    def slow(module, inputs):
        fake.sm, fake.throttled = module.mhz, 0x40 if module.mhz < fake.highest else 0

    suite = TestSuite(nn.Linear(8, 8), quiet=True, seconds_per_case=0.1, on_failure="report", confirm_s=0)
    for index, clock in enumerate(mhz):
        module = nn.Linear(8, 8)
        module.mhz = clock
        module.register_forward_pre_hook(slow)
        suite.test(module, name=f"case{index}").input_shape((4, 8)).profile(1, 12).expect(latency_ms=1e-3)
    return load(suite.run().save(tmp_path / "result.json"))


def test_a_case_timed_at_a_lower_clock_is_open_and_says_so(fake, tmp_path):
    result = run(fake, tmp_path, [2000, 2])
    fast, slow = result
    assert fast.status is Status.FAIL and [note.code for note in fast.trials[0].notes] == []
    assert slow.status is Status.INCONCLUSIVE
    (verdict,) = (verdict for verdict in slow.verdicts if verdict.metric == "latency_ms")
    assert verdict.code is VerdictCode.GPU_SLOWED
    assert NoteCode.GPU_CONDITIONS in [note.code for note in slow.trials[0].notes]
    seen = slow.trials[0].machine.gpu
    assert seen.sm.median == 2 and seen.run_sm_mhz == 2000 and seen.throttled == [Throttle.HARDWARE_HEAT]
    assert verify.check(result).differences == []
