"""A gate for CI: string targets, exit code 1 when a limit is broken.

``ttprof run examples/ci_gate.py`` in a workflow step is all it takes; ``--strict`` treats INCONCLUSIVE as failure.
"""

from __future__ import annotations

from torch import nn

from ttprof import test_model


class Classifier(nn.Module):
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(8))
        self.head = nn.Linear(16 * 8 * 8, 10)

    def forward(self, images):
        return self.head(self.stem(images).flatten(1))


if __name__ == "__main__":
    test_model(
        Classifier(),
        stem={"latency_ms": 200.0, "memory_mb": 64, "leak_mb": 0},
        head={"latency_ms": 50.0, "flops": 25_000},
    )
