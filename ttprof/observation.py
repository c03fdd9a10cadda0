"""All that was observed of one trial, in base units, before any metric is computed from it.

Samples of pass 1, the trace of pass 2 and the numeric errors enter; metrics read them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ttprof.codes import Note
from ttprof.result import Element
from ttprof.trace.events import Int, Trace
from ttprof.trace.iterations import Iterations

DEVICE_TYPE_NAMES = {0: "CPU", 1: "CUDA", 6: "HIP"}
"""The device types of Kineto's memory events."""

MEMORY_DEVICE_TYPES = {"cpu": (0,), "cuda": (1, 6)}
"""The device types that make up a torch device; torch calls HIP cuda."""


@dataclass(frozen=True)
class Timing:
    """The un-instrumented iterations of pass 1: one sample per iteration, in ns, and how they came about.

    ``steady``: the warm-up ended because its halves agreed. ``interleaved``: with how many workloads, itself among
    them. ``stopped``: why there are no more samples.
    """

    latency_ns: Int
    host_ns: Int
    cpu_ns: Int
    warmup: int
    threads: int
    steady: bool = True
    interleaved: int = 1
    stopped: str = ""


@dataclass(frozen=True)
class NumericError:
    """The distance of an output from its reference: ``rel`` = ‖a-b‖/‖b‖, ``max`` = max|a-b|/max|b|.

    ``pcc`` is None where it is undefined (a constant output). ``ulp`` = max|a-b| in units of the last place of the
    reference in the output's dtype. ``worst`` is None where no floating-point value was compared. ``reference_rel`` and
    ``reference_max`` are the reference's own errors in the module's dtype, 0 where the reference is the module itself.
    """

    rel: float
    max: float
    pcc: float | None
    worst: Element | None
    reference: str
    ulp: float = 0.0
    reference_rel: float = 0.0
    reference_max: float = 0.0


@dataclass(frozen=True)
class Observation:
    """One trial, as seen. A part is None when it was not measured, and so is every metric that needs it.

    ``allocations``: what recorded it records the events of torch's allocator; else only its peaks are known (CUDA).
    ``notes`` are those of the recording.
    """

    device: str
    timing: Timing | None = None
    trace: Trace | None = None
    recorded: int = 0
    allocations: bool = True
    notes: tuple[Note, ...] = ()
    peak_allocated: Int | None = None
    peak_reserved: Int | None = None
    peak_added: Int | None = None
    flops: int | None = None
    activations: int | None = None
    numerics: NumericError | None = None
    reference: Observation | None = None

    @cached_property
    def iterations(self) -> Iterations | None:
        """The recorded iterations, or None when the trace does not hold exactly as many as were recorded."""
        if self.trace is None:
            return None
        found = Iterations.of(self.trace)
        return found if len(found) == self.recorded > 0 else None
