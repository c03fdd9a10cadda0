"""Injected defects that show only if a module is tested as its model runs it: aliases, calls, caches and buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mutations.defects import Check, Defect, Outcome, outcome
from mutations.models import (
    VOCABULARY,
    WIDTH,
    AlikeKeys,
    Attention,
    Cache,
    CalledTwice,
    Compiled,
    Copies,
    Decoder,
    Depthwise,
    Hidden,
    LanguageModel,
    Norm,
    PassesMemory,
    PassesTwice,
    Residual,
    Router,
    Sampler,
    SetsUp,
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
    """A defect that shows if a module, called ``inner`` if it is not the model, gets the inputs that the model has.

    The inputs of the model are arguments, or one function of ``batch_size`` and ``seq_len``.
    """

    def judged(broken: bool) -> Outcome:
        torch.manual_seed(0)
        model = make(name if broken else "")
        options: Any = {"quiet": True, "seconds_per_case": 0.2, "on_failure": "report"}
        given: Any = inputs[0] if inputs and callable(inputs[0]) else inputs or torch.randn(64, WIDTH)
        suite = TestSuite(model, inputs=given, **options)
        check(suite.test(getattr(model, "inner", model)).profile(1, 2))
        return outcome([verdict for case in suite.run() for verdict in case.verdicts])

    return Defect(name, kind, written, judged)


def ids(batch_size: int, seq_len: int) -> torch.Tensor:
    return torch.arange(batch_size * seq_len).view(batch_size, seq_len) % VOCABULARY


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
    *(
        in_model(
            LanguageModel,
            name,
            kind,
            ".tolerance(1e-3).prefill(6).decode()",
            lambda case: case.tolerance(1e-3).prefill(6).decode(),
            ids,
        )
        for name, kind in (
            ("a decode that ignores its cache", Kind.TOLERANCE),
            ("a decode whose positions start again", Kind.TOLERANCE),
            ("a model that returns no cache", Kind.RUN),
        )
    ),
    *(
        in_model(SetsUp, name, Kind.FINITE, "(nothing)", lambda case: case)
        for name in ("an overflow with an attribute of the parent", "an overflow under autocast of the parent")
    ),
    in_model(
        Copies,
        "a copy that slips in",
        Kind.LIMIT,
        ".expect(bytes_moved=...)",
        lambda case: case.expect(bytes_moved=4 * (2 * 64 * WIDTH + WIDTH * WIDTH + WIDTH)),
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
    in_model(
        PassesMemory,
        "a buffer that is written before it is read",
        Kind.TOLERANCE,
        ".compare_with(reference)",
        lambda case: case.compare_with(lambda x, memory: x + torch.ones_like(memory)),
    ),
    in_model(
        Compiled, "a compiled kernel that is 2 % off", Kind.TOLERANCE, ".tolerance(1e-3)", lambda c: c.tolerance(1e-3)
    ),
    in_model(
        AlikeKeys,
        "a doubled gradient among larger ones",
        Kind.GRADIENTS,
        ".compare_with(reference).backward()",
        lambda case: case.compare_with(AlikeKeys()).backward(),
    ),
]
