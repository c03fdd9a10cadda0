"""A suite of four cases, the second of which holds a fault: its name is in FAULT, when it strikes in WHEN.

Each case has its own inputs, so that no forward of the whole model is needed; with CASES=captured they come from one,
with CASES=all the cases are those of ``test_all_modules``, which asks one what it calls.

``main`` runs it; other programs import it to run it their own way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.modules import FAULTS

from ttprof import TestSuite

FAULT, WHEN = os.environ.get("FAULT", "none"), os.environ.get("WHEN", "always")
STRIKES_AT = {"always": 0, "late": 30}


class Faulty(nn.Module):
    """A linear layer whose forward does something else, too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.autograd._profiler_enabled() if WHEN == "recording" else CALLS.add() > STRIKES_AT[WHEN]:
            FAULTS[FAULT](self)
        return self.linear(x)


class Counter:
    """Counts outside of the module, whose attributes are restored between calls."""

    count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


CALLS = Counter()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 8), Faulty(), nn.LayerNorm(8), nn.Linear(8, 8))
x = torch.randn(4, 8)


def main() -> None:
    """Run the suite."""
    with TestSuite(model, name="faults", seconds_per_case=0.1, trace_dir=os.environ.get("TRACES", "traces")) as suite:
        cases = os.environ.get("CASES", "given")
        if cases == "all":
            tests = [suite.test_all_modules().matching("?")]
        else:
            tests = [suite.test(name) if cases == "captured" else suite.test(name).inputs(x) for name in "0123"]
        for test in tests:
            test.profile(2, 40, trace_iterations=2).expect(latency_ms=60_000).tolerance(1e-3)


if __name__ == "__main__":
    main()
