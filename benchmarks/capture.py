"""How the time to capture the inputs of ``test_all_modules()`` grows with the depth of the model.

One forward of the model captures the inputs of all modules, for both passes. Its time should be linear in the number of
layers, a slope of about 1, and a constant multiple of one plain forward. A forward for each module would be quadratic.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np
import torch
from torch import nn

from ttprof import TestSuite

DEPTHS = (4, 8, 16, 32)
FORWARDS = 4


class Block(nn.Module):
    """A residual feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(256), nn.Linear(256, 1024), nn.Linear(1024, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def model_of(depth: int) -> nn.Module:
    return nn.Sequential(*(Block() for _ in range(depth)))


def plain_forward(model: nn.Module, x: torch.Tensor) -> float:
    """The seconds of one forward of the whole model, the fastest of a few."""
    best = float("inf")
    with torch.no_grad():
        for _ in range(FORWARDS):
            start = time.perf_counter()
            model(x)
            best = min(best, time.perf_counter() - start)
    return best


def capture(model: nn.Module, x: torch.Tensor) -> tuple[int, float]:
    """The number of tests that ``test_all_modules()`` adds, and the seconds that their inputs take, in both passes."""
    with tempfile.TemporaryDirectory() as folder:
        suite = TestSuite(model, inputs=x, trace_dir=folder, quiet=True, seconds_per_case=0.01, on_failure="report")
        suite.test_all_modules().profile(1, 1)
        result = suite.run()
    return len(list(result)), result.seconds["capture"]


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(1, 256, 256)
    capture(model_of(1), x)  # the first suite of a process imports and compiles things
    print(f"{'layers':>6}{'tests':>8}{'forward':>12}{'capture':>12}{'ratio':>8}{'run':>8}")
    forwards, captures = [], []
    for depth in DEPTHS:
        model, start = model_of(depth), time.perf_counter()
        forwards.append(plain_forward(model, x))
        tests, seconds = capture(model, x)
        captures.append(seconds)
        ratio, total = seconds / forwards[-1], time.perf_counter() - start
        times = f"{1e3 * forwards[-1]:>9.1f} ms{1e3 * seconds:>9.1f} ms{ratio:>8.1f}{total:>6.1f} s"
        print(f"{depth:>6}{tests:>8}{times}", flush=True)
    for name, values in (("forward", forwards), ("capture", captures)):
        slope = np.polyfit(np.log(DEPTHS), np.log(values), 1)[0]
        print(f"slope of {name} over layers (log-log, 1 is linear): {slope:.2f}")


if __name__ == "__main__":
    main()
