"""Overhead of a suite with a 1 ms module and ``.profile(warmup=10, iterations=100)``.

Prints the seconds of each phase, and the wall time outside the module's forwards, imports included, which must stay
below 1.5 s. The module times its own forwards.
"""

from __future__ import annotations

import tempfile
import time

import torch
from torch import nn

LIMIT_S = 1.5


class OneMillisecond(nn.Module):
    """Works for about 1 ms per forward and adds up the time of its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(256, 256)
        self.repeats = 1
        self.spent = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        for _ in range(self.repeats):
            x = self.linear(x)
        self.spent += time.perf_counter() - start
        return x

    def calibrate(self, x: torch.Tensor) -> None:
        """Set the number of repeats so that a forward takes 1 ms."""
        self(x)
        self.repeats, self.spent = 50, 0.0
        self(x)
        self.repeats, self.spent = max(1, round(50 * 1e-3 / self.spent)), 0.0


def main() -> None:
    module, x = OneMillisecond(), torch.randn(64, 256)
    with torch.no_grad():
        module.calibrate(x)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        from ttprof import TestSuite

        with TestSuite(module, inputs=x, trace_dir=folder, quiet=True) as suite:
            suite.test(module).profile(warmup=10, iterations=100).expect(latency_ms=100)
        total = time.perf_counter() - start
    assert suite.result is not None
    print(f"{'phase':<12}{'seconds':>9}   (including the module's forwards)")
    for phase, seconds in suite.result.seconds.items():
        print(f"{phase:<12}{seconds:9.3f}")
    print(f"{'other':<12}{total - sum(suite.result.seconds.values()):9.3f}   (imports, environment, reports)")
    outside = total - module.spent
    print(f"total {total:.3f} s, forwards {module.spent:.3f} s, outside {outside:.3f} s")
    print(f"outside / limit of {LIMIT_S} s: {outside / LIMIT_S:.2f}")


if __name__ == "__main__":
    main()
