"""The suite of ``ci_rates.py``: eight modules of twenty equal blocks, or of as many more as RATES_SLOWER says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import torch
from torch import nn

from ttprof import TestSuite

BLOCKS = 20

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "norm": (lambda: nn.LayerNorm(64), (1, 16, 64)),
    "small linear": (lambda: nn.Linear(64, 64), (8, 64)),
    "gelu": (nn.GELU, (64, 512)),
    "linear": (lambda: nn.Linear(256, 256), (64, 256)),
    "softmax": (lambda: nn.Softmax(-1), (64, 1024)),
    "convolution": (lambda: nn.Conv2d(16, 16, 3, padding=1), (1, 16, 28, 28)),
    "encoder": (lambda: nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, dropout=0.0), (1, 64, 128)),
    "feed-forward": (lambda: nn.Sequential(nn.Linear(512, 1024), nn.Linear(1024, 512)), (64, 512)),
}


def main() -> None:
    limits = json.loads(os.environ.get("RATES_LIMITS", "{}"))
    blocks = round(BLOCKS * float(os.environ.get("RATES_SLOWER", "1")))
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {name: nn.Sequential(*(make() for _ in range(blocks))) for name, (make, _) in MODULES.items()}
    )
    with TestSuite(model, name="rates", seconds_per_case=1.0, on_failure="report") as suite:
        for name, (_, shape) in MODULES.items():
            test = suite.test(model[name], name=name).inputs(torch.randn(shape))
            if name in limits:
                test.expect(latency_ms=limits[name])


if __name__ == "__main__":
    main()
