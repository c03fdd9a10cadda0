"""Judges the numerics of stable and unstable modules, with and without a planted bug, in one fresh process.

``benchmarks/verdicts.py stability`` starts this script with one seed after the other and counts the verdicts. A bug is
an error that only the module under test has, not its float64 copy. It is as large as a multiple of the tolerance.

    python benchmarks/stability.py SEED [KIND]    # prints one JSON array for each case
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ttprof.engine import numerics
from ttprof.judge import verdicts
from ttprof.judge.numerics import GRADIENTS, OUTPUTS
from ttprof.plan.inputs import Inputs
from ttprof.plan.trials import Trial
from ttprof.run.subject import Subject
from ttprof.spec import CaseSpec, SourceLine, Tolerance
from ttprof.trial_key import Point

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = 1e-3
BUG_SIZES = (5, 20, 100)
ROWS, WIDTH = 256, 64
FORMS = ("scale", "noise", "few rows")
UNSTABLE_BUG_SIZE = 20
UNSTABLE_DRAWS = 3
"""Number of unstable modules of each kind, with weights of their own: they are small."""

FEW_ROWS = 0.05
"""The share of the rows that a bug affects if it affects few."""


class Apply(nn.Module):
    """Applies a function to the outputs of linear layers."""

    def __init__(self, function: Callable[..., torch.Tensor], *widths: int) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(nn.Linear(WIDTH, width) for width in widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *(layer(x) for layer in self.layers))


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x[None], x[None], x[None], need_weights=False)[0][0]


class Experts(nn.Module):
    """A mixture of eight experts, of which each token goes to the best *count*."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.router = count, nn.Linear(WIDTH, 8)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(self.count)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        picked = outputs.gather(1, chosen[..., None].expand(-1, -1, WIDTH))
        return (picked * (weights / weights.sum(-1, keepdim=True))[..., None]).sum(1)


class Cancellation(nn.Module):
    """The difference of two layers whose weights are nearly equal."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            self.other.weight.copy_(self.one.weight * (1 + 0.01 * torch.randn(WIDTH, WIDTH)))
            self.other.bias.copy_(self.one.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) - self.other(x)


class Faulty(nn.Module):
    """A module whose output, or whose gradient, has a relative error of *size* unless it runs in float64."""

    def __init__(self, module: nn.Module, size: float, form: str, of_gradient: bool) -> None:
        super().__init__()
        self.module, self.size, self.form, self.of_gradient = module, size, form, of_gradient

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.module(x)
        if y.dtype is torch.float64:
            return y
        return WrongGradient.apply(y, self) if self.of_gradient else self.wrong(y)

    def wrong(self, y: torch.Tensor) -> torch.Tensor:
        """*y* with the error."""
        if self.form == "scale":
            return y * (1 + self.size)
        noise = torch.sin(torch.arange(y.numel(), device=y.device) * 12.9898).reshape(y.shape) * 2**0.5
        size = self.size
        if self.form == "few rows":
            noise[int(FEW_ROWS * len(y)) :] = 0
            size /= FEW_ROWS**0.5
        return y + (size * y.float().square().mean().sqrt() * noise).to(y)


class WrongGradient(torch.autograd.Function):
    """The identity, with a gradient that is off."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, faulty: Faulty) -> torch.Tensor:
        ctx.faulty = faulty
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.faulty.wrong(gradients[0]), None


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def encoder(count: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, count, enable_nested_tensor=False)


def stable() -> dict[str, nn.Module]:
    """Modules whose outputs and gradients follow their inputs smoothly."""
    return {
        "linear": nn.Linear(WIDTH, WIDTH),
        "feed-forward": sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)),
        "layer norm": nn.LayerNorm(WIDTH),
        "softmax": Apply(lambda x, y: y.softmax(-1), WIDTH),
        "attention": SelfAttention(),
        "encoder layer": encoder(1),
        "four encoder layers": encoder(4),
        "eight tanh layers": sequential(*(m for _ in range(8) for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh()))),
        "convolution": sequential(nn.Unflatten(0, (1, ROWS)), nn.Conv1d(ROWS, ROWS, 3, padding=1), nn.Flatten(0, 1)),
    }


def unstable() -> dict[str, nn.Module]:
    """Modules whose outputs jump, or magnify the rounding of their inputs and parameters."""
    codes = nn.Parameter(torch.randn(32, WIDTH))

    def nearest(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        wide = y if y.dtype is torch.float64 else y.float()
        return codes.to(y)[torch.cdist(wide, codes.to(wide)).argmin(-1)]

    def chaos(x: torch.Tensor) -> torch.Tensor:
        for _ in range(24):
            x = torch.sin(3 * x)
        return x

    return {
        "one expert of eight": Experts(1),
        "two experts of eight": Experts(2),
        "argmax": Apply(lambda x, y: y.argmax(-1), WIDTH),
        "a few argmax": Apply(lambda x, y: y[:16].argmax(-1), 8),
        "top-k mask": Apply(lambda x, y: y * (y >= y.topk(8).values[..., -1:]), WIDTH),
        "nearest code": Apply(nearest, WIDTH),
        "round": Apply(lambda x, y: torch.round(4 * y), WIDTH),
        "sign": Apply(lambda x, y: torch.sign(y), WIDTH),
        "sharp softmax": Apply(lambda x, y: (1000 * y).softmax(-1), WIDTH),
        "cancellation": Cancellation(),
        "chaos": Apply(chaos),
    }


def kinked() -> dict[str, nn.Module]:
    """Modules whose gradients jump."""
    relu = [m for _ in range(4) for m in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return {
        "ReLU layers": sequential(*relu, nn.Linear(WIDTH, WIDTH)),
        "max pool": sequential(nn.Linear(WIDTH, WIDTH), nn.MaxPool1d(4), nn.Linear(WIDTH // 4, WIDTH)),
        "one expert of eight": Experts(1),
        "absolute values": Apply(lambda x, y: y.abs(), WIDTH),
        "sharp softmax": Apply(lambda x, y: (1000 * y).softmax(-1), WIDTH),
        "median": Apply(lambda x, y: y.median(-1, keepdim=True).values * y, WIDTH),
    }


@dataclass(frozen=True)
class Case:
    """A ``stable`` or ``unstable`` module, with a bug of *size* tolerances if it is not 0."""

    kind: str
    name: str
    module: nn.Module
    dtype: torch.dtype
    gradients: bool = False
    size: int = 0
    form: str = ""


def cases(seed: int) -> Iterator[Case]:
    """The cases of one process; the form of the bugs changes from seed to seed."""
    form, of_gradients = FORMS[seed % 3], FORMS[seed % 2]
    for dtype in DTYPES:
        for gradients in (False, True):
            for name, module in stable().items():
                plain = Case("stable", name, module, dtype, gradients)
                yield plain
                for size in BUG_SIZES:
                    yield replace(plain, size=size, form=of_gradients if gradients else form)
        for _ in range(UNSTABLE_DRAWS):
            for name, module in unstable().items():
                yield Case("unstable", name, module, dtype)
            for name, module in kinked().items():
                yield Case("unstable", name, module, dtype, gradients=True)
        for gradients, modules in ((False, unstable()), (True, kinked())):
            for name, module in modules.items():
                if "argmax" not in name:  # whole numbers have no relative error
                    yield Case("unstable", name, module, dtype, gradients, UNSTABLE_BUG_SIZE, "scale")


def judged(case: Case, seed: int, given: bool) -> list[str]:
    """The status and the codes of the numeric verdicts on a case; *given* compares with the module without the bug."""
    floors = (GRADIENTS if case.gradients else OUTPUTS).floors
    error = case.size * max(TOLERANCE, floors.get(case.dtype, 0.0))
    module = Faulty(case.module, error, case.form, case.gradients) if case.size else case.module
    spec = CaseSpec(
        name=case.name,
        module=module,
        path=None,
        source=SourceLine("", 0),
        tolerance=Tolerance(TOLERANCE),
        reference=case.module if given else None,
        reference_name="the reference" if given else "",
        backward=case.gradients,
        gradients_of_inputs=True,
        dtype=case.dtype,
    )
    inputs = Inputs("given", (torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed)),))
    trial = Trial(spec, Point(), inputs)
    with Subject.of(spec, [trial]) as subject:
        checks = numerics.numerics_of(subject.at(trial), trial, seed)
    kind = "gradients" if case.gradients else "tolerance"
    relevant = [verdict for verdict in checks.verdicts if verdict.kind == kind] or checks.verdicts
    return [verdicts.worst(relevant).value, *(v.code.value for v in relevant), relevant[0].reason]


def main() -> None:
    seed = int(sys.argv[1])
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    kinds = sys.argv[2:] or ["stable", "unstable"]
    for number, case in enumerate(case for case in cases(seed) if case.kind in kinds):
        given = bool((seed // 6 + number // 4 + number) % 2)
        status, *codes = judged(case, seed + 1000 * number, given)
        dtype = str(case.dtype).removeprefix("torch.")
        fields = (case.kind, case.name, dtype, case.gradients, case.size, case.form, given, status, codes)
        print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
