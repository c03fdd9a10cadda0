"""Suites as plain scripts: the fluent form, the one-call form and the exit code of a gate."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PREAMBLE = """
    import torch
    from tiny_models import Attention
    from torch import nn
    from ttprof import TestSuite{more}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.norm = Attention(32), nn.LayerNorm(32)
            self.ffn = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

        def forward(self, x):
            return self.ffn(self.norm(self.attention(x)))

    model = Model()
"""

BASIC = """
    with TestSuite(model) as suite:
        suite.test(model.attention) \\
            .tolerance(1e-3) \\
            .expect(latency_ms=5000.0, memory_mb=5120)

        suite.test(model.ffn) \\
            .tolerance(1e-3) \\
            .expect(latency_ms=3000.0, memory_mb=2560)

        suite.test(model.norm) \\
            .tolerance(1e-5)

    results = suite.run()
    assert [r.passed for r in results] == [True] * 3
"""

ADVANCED = """
    with TestSuite(model, batch_size=2, seq_len=256) as suite:
        suite.test(model.attention) \\
            .input_shape((2, 256, 32)) \\
            .tolerance(1e-3) \\
            .expect(latency_ms=1000.0)

        suite.test(model.ffn) \\
            .with_seq_lengths([512, 1024, 2048, 4096]) \\
            .tolerance(1e-3) \\
            .expect_scaling("linear")

        if hasattr(model, 'sparse_attention'):
            suite.test(model.sparse_attention) \\
                .tolerance(1e-4)

        suite.test(model.attention.key_proj, name="attention.key_proj") \\
            .tolerance(1e-3)
    assert [case.module_name for case in suite.result] == ["attention", "ffn", "attention.key_proj"]
"""

ONE_CALL = """
    results = test_model(
        model,
        attention={"latency_ms": 5000.0, "memory_mb": 5120},
        ffn={"latency_ms": 3000.0},
        norm={},
    )
    assert len(results) == 3
"""

GATE = """
    with TestSuite(model, seq_len=64) as suite:
        suite.test('attention').tolerance(1e-3).expect(latency_ms=0.000001)
        suite.test('ffn').tolerance(1e-3).expect(latency_ms=3000.0)
"""


def script(body: str, more: str = "") -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(PREAMBLE.format(more=more)) + textwrap.dedent(body)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("body", "more"), [(BASIC, ""), (ADVANCED, ""), (ONE_CALL, ", test_model")], ids=["basic", "advanced", "one call"]
)
def test_suites_run_as_scripts(body, more):
    done = script(body, more)
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_failing_gate_exits_with_1_unless_it_only_reports():
    done = script(GATE)
    assert done.returncode == 1
    assert "SuiteFailed: 1 of 2 cases failed" in done.stderr
    assert "times the limit of 1e-06 ms" in done.stderr and "dominated by aten::" in done.stderr
    assert script(GATE.replace("seq_len=64", "seq_len=64, on_failure='report'")).returncode == 0
