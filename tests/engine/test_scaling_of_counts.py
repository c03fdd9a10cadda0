"""FLOPs of modules whose growth is known, swept and judged by a whole suite."""

from __future__ import annotations

import pytest
import torch
from single_case import run_case
from torch import nn

from ttprof import Status, TestSuite
from ttprof.engine import scaling_rounds
from ttprof.run import devices


class Pairs(nn.Module):
    """Compares all pairs of positions with all pairs: a product of (n², 1) and (1, n²), which is 2 n⁴ FLOPs."""

    def forward(self, x):
        values = x[0, :, 0]
        pairs = torch.outer(values, values).reshape(-1, 1)
        return (pairs @ pairs.T).sum()


class Similarity(nn.Module):
    """A layer of width 512 and the similarity of 8 channels: 2 · 512² n + 16 n² FLOPs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(512, 512)

    def forward(self, x):
        y = self.linear(x)
        return y[..., :8] @ y[..., :8].transpose(-1, -2)


def flops_of(module, law: str, sizes: list[int], width: int = 1):
    case = run_case(
        module, lambda case: case.with_seq_lengths(sizes).expect_scaling(law, metric="flops"), (1, 4, width)
    )
    (verdict,) = (verdict for verdict in case.verdicts if verdict.kind == "scaling")
    return verdict


@pytest.mark.parametrize(
    ("law", "status"),
    [
        ("quartic", Status.PASS),
        ("at most quartic", Status.PASS),
        ("cubic", Status.FAIL),
        ("at most cubic", Status.FAIL),
    ],
)
def test_a_module_of_quartic_flops(law, status):
    verdict = flops_of(Pairs(), law, [1, 2, 4, 8, 16, 24])
    assert verdict.status is status
    assert verdict.reason == f"flops is exactly 2 seq_len⁴ FLOP at 6 sizes from 1 to 24: quartic, expected {law}"


def test_a_small_quadratic_term_at_three_sizes_does_not_pass_as_linear():
    verdict = flops_of(Similarity(), "linear", [16, 32, 64], width=512)
    assert verdict.status is Status.INCONCLUSIVE
    assert "but 16 seq_len² + 524,288 seq_len FLOP passes through all 3 sizes" in verdict.reason


def test_a_small_quadratic_term_fails_as_linear_once_a_fourth_size_is_measured(monkeypatch):
    monkeypatch.setattr(scaling_rounds, "MIN_CALLS_AT_LARGER_SIZE", 0)  # however busy the machine is
    monkeypatch.setattr(devices, "spare_memory", lambda: 10**12)
    monkeypatch.setattr(devices, "peak_memory", lambda: 10**9)
    module = Similarity()
    suite = TestSuite(module, quiet=True, seconds_per_case=2, on_failure="report")
    case = suite.test(module, name="x").input_shape((1, 4, 512)).with_seq_lengths([16, 32, 64])
    case.expect_scaling("linear", metric="flops")
    (verdict,) = (verdict for verdict in suite.run()[0].verdicts if verdict.kind == "scaling")
    assert verdict.status is Status.FAIL
    assert "exactly 16 seq_len² + 524,288 seq_len FLOP at 4 sizes from 16 to 128: quadratic" in verdict.reason
