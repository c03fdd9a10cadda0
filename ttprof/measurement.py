"""The metrics of one trial as results keep them, and their later timings. Must not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ttprof.machine import MachineUse, Timed


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one trial.

    ```python
    for m in result["attention"].trials[-1].measurements:
        print(f"{m.label}: {m.value:.3g} {m.unit} ({m.statistic} of {len(m.samples)} samples)")
    ```
    """

    name: str
    """Public name, for example ``"latency_ms"``."""
    label: str
    """Heading for tables."""
    unit: str
    """Unit of ``value``, for example ``"ms"`` or ``"MB"``; empty for counts and ratios."""
    better: Literal["lower", "higher"]
    """Which direction is an improvement."""
    statistic: str
    """The statistic of the samples that ``value`` is, for example ``"median"``."""
    value: float
    """The measured value, in ``unit``."""
    samples: list[float] = []
    """One sample per iteration, in base units: ns, bytes or counts. Empty if ``samples_of`` is set."""
    samples_of: str = ""
    """Name of the metric that stores the samples, if this one is another statistic of them."""
    timed: Timed = "never"
    """Whether the samples are the wall times or CPU times of the timed iterations, or pairs with the reference's."""


def with_samples(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements of one side of a trial with ``samples_of`` resolved to the samples themselves."""
    samples = {m.name: m.samples for m in measurements}
    return [msgspec.structs.replace(m, samples=samples.get(m.samples_of, m.samples)) for m in measurements]


class LooksMade(msgspec.Struct, frozen=True, kw_only=True):
    """The later timings of a run, and how long they took in all."""

    cases: int
    """Cases that were timed again because a time would fail."""
    seconds: float
    """Wall time of all of it, in seconds."""
    budget_s: float
    """Seconds that it was allowed to take (``--confirm``)."""


class LaterTiming(msgspec.Struct, frozen=True, kw_only=True):
    """A later timing of a trial, made because a time would fail: the metrics of its iterations, on both sides."""

    machine: MachineUse
    measurements: list[Measurement]
    reference: list[Measurement] = []
