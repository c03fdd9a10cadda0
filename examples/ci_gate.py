"""A performance gate for CI on machines with and without a GPU: exit code 1 if a limit is exceeded.

Run it in a workflow step with ``ttprof run examples/ci_gate.py``; ``--strict`` treats INCONCLUSIVE as failure.
"""

from __future__ import annotations

import torch
from torch import nn

from ttprof import TestSuite


class Classifier(nn.Module):
    """A small convolutional image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(8))
        self.head = nn.Linear(16 * 8 * 8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(images).flatten(1))


if __name__ == "__main__":
    model = Classifier().to("cuda" if torch.cuda.is_available() else "cpu")
    with TestSuite(model) as suite:
        stem = suite.test(model.stem).tolerance(1e-3).expect(latency_ms=200.0, memory_mb=64).no_leak()
        stem.expect(on="cuda", kernel_time_ms=20.0).no_sync(on="cuda")
        suite.test(model.head).tolerance(1e-3).expect(latency_ms=50.0, flops=25_000)
