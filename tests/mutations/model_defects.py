"""Injected defects that show only if a module is tested as its model runs it: aliases, calls, caches and buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mutations.defects import Check, Defect, Outcome, outcome
from mutations.models import (
    WIDTH,
    Attention,
    Cache,
    CalledTwice,
    Decoder,
    Depthwise,
    Hidden,
    Norm,
    PassesTwice,
    Residual,
    Router,
    Sampler,
    Untrained,
)
from torch import nn

from ttprof import TestSuite
from ttprof.codes import Kind


def in_model(
    make: Callable[[str], nn.Module],
    name: str,
    kind: Kind,
    written: str,
    check: Check,
    *inputs: Any,
) -> Defect:
    """A defect that shows if a module, called ``inner`` if it is not the model, gets the inputs that the model has."""

    def judged(broken: bool) -> Outcome:
        torch.manual_seed(0)
        model = make(name if broken else "")
        options: Any = {"quiet": True, "seconds_per_case": 0.2, "on_failure": "report"}
        suite = TestSuite(model, inputs=inputs or torch.randn(64, WIDTH), **options)
        check(suite.test(getattr(model, "inner", model)).profile(1, 2))
        (case,) = suite.run()
        return outcome(case.verdicts)

    return Defect(name, kind, written, judged)


MODEL_DEFECTS = [
    in_model(
        PassesTwice,
        "an in-place operation on an alias",
        Kind.TOLERANCE,
        ".compare_with(reference)",
        lambda case: case.compare_with(Residual()),
    ),
    in_model(
        Attention,
        "NaN for shared query, key and value",
        Kind.FINITE,
        "(nothing)",
        lambda case: case,
        torch.ones(2, 4, WIDTH),
    ),
    in_model(
        CalledTwice,
        "an overflow in the second call",
        Kind.FINITE,
        ".every_call()",
        lambda case: case.every_call(),
    ),
    *(
        in_model(
            Norm,
            name,
            kind,
            ".train().compare_with(reference)",
            lambda case: case.train().compare_with(nn.BatchNorm1d(WIDTH)),
        )
        for name, kind in (
            ("a wrong running variance", Kind.TOLERANCE),
            ("running statistics that stay", Kind.TOLERANCE),
        )
    ),
    *(
        in_model(
            Decoder,
            name,
            kind,
            ".compare_with(reference)",
            lambda case: case.compare_with(Decoder()),
            *(torch.ones(1, WIDTH), Cache()),
        )
        for name, kind in (
            ("a dropped cache", Kind.COMPARISON),
            ("a cache with keys for values", Kind.TOLERANCE),
        )
    ),
    in_model(
        Untrained,
        "a parameter without a gradient",
        Kind.GRADIENTS,
        ".compare_with(reference).backward()",
        lambda case: case.compare_with(Untrained()).backward(),
    ),
    in_model(
        Sampler,
        "too much noise in eval mode",
        Kind.TOLERANCE,
        ".compare_with(reference)",
        lambda case: case.compare_with(Sampler()),
    ),
    in_model(
        Router,
        "experts that are 10 % off",
        Kind.TOLERANCE,
        ".dtype(torch.bfloat16).compare_with(reference).tolerance(1e-2, rows=0.95)",
        lambda case: case.dtype(torch.bfloat16).compare_with(Router()).tolerance(1e-2, rows=0.95),
        torch.randn(512, WIDTH, generator=torch.Generator().manual_seed(0)),
    ),
    in_model(
        Hidden,
        "work in an operator without a formula",
        Kind.LIMIT,
        ".expect(flops=...)",
        lambda case: case.expect(flops=2 * 64 * WIDTH * WIDTH),
    ),
    in_model(
        Depthwise,
        "a dense convolution for a depthwise one",
        Kind.LIMIT,
        ".backward().expect(flops=...)",
        lambda case: case.backward().expect(flops=2 * 2 * 2 * 8 * WIDTH * 3),
        torch.ones(2, WIDTH, 10),
    ),
]
