"""The raw data of one trial, in base units: samples of pass 1, the trace of pass 2, and numeric errors.

Every metric is computed from an ``Observation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttprof.codes import Note
from ttprof.least_time import LeastTime
from ttprof.machine import ClockRange, GpuUse
from ttprof.operators import OperatorUse
from ttprof.result import Element
from ttprof.trace.events import Float, Int, Spans, Trace
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting


@dataclass(frozen=True)
class Interference:
    """What took the CPU from the threads of the process while it was timed: one number per iteration, and for all.

    ``process_ns`` is the CPU time of all its threads, ``waited_ns`` how long they were ready and waited for a CPU, None
    if the system does not say; ``switches`` are involuntary context switches, ``faults`` page faults. ``others`` are
    the CPUs that other processes kept busy on average, ``stolen`` those that the hypervisor gave to other machines, of
    ``cpus`` that the process may use. The counts of an iteration are those of so many iterations ``together``, and of
    what lies between them; None if each has its own.
    """

    process_ns: Int
    switches: Int
    faults: Int
    waited_ns: Int | None = None
    others: float | None = None
    stolen: float | None = None
    cpus: int = 1
    together: Int | None = None

    def where(self, kept: NDArray[np.bool_]) -> Interference:
        """That of some of the iterations."""
        return replace(
            self,
            process_ns=self.process_ns[kept],
            switches=self.switches[kept],
            faults=self.faults[kept],
            waited_ns=None if self.waited_ns is None else self.waited_ns[kept],
            together=None if self.together is None else self.together[kept],
        )


@dataclass(frozen=True)
class Timing:
    """The unprofiled iterations of pass 1: one sample per iteration, in ns, and how they were taken.

    ``steady``: the warm-up ended because its two halves agreed. ``interleaved``: the number of workloads whose
    iterations were interleaved, this one included. ``stopped``: why sampling ended. ``cpu_clocks`` and ``gpu`` are what
    was read of the machine between iterations, ``yardstick`` the median times of a fixed workload there, in ns.
    """

    latency_ns: Int
    host_ns: Int
    cpu_ns: Int
    warmup: int
    threads: int
    steady: bool = True
    interleaved: int = 1
    stopped: str = ""
    interference: Interference | None = None
    cpu_clocks: ClockRange | None = None
    gpu: GpuUse | None = None
    yardstick: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = [self.host_ns, self.cpu_ns]
        if (seen := self.interference) is not None:
            if seen.cpus < 1:
                raise ValueError("a process has at least one CPU")
            if seen.together is not None and (seen.together < 1).any():
                raise ValueError("the counts of an iteration are those of at least one")
            arrays += [seen.process_ns, seen.switches, seen.faults]
            arrays += [array for array in (seen.waited_ns, seen.together) if array is not None]
        if any(len(array) != len(self.latency_ns) for array in arrays):
            raise ValueError("a timing has one number of each kind for each iteration")

    def where(self, kept: NDArray[np.bool_]) -> Timing:
        """The timing of some of the iterations."""
        return replace(
            self,
            latency_ns=self.latency_ns[kept],
            host_ns=self.host_ns[kept],
            cpu_ns=self.cpu_ns[kept],
            interference=self.interference and self.interference.where(kept),
        )

    @property
    def calls(self) -> int:
        """The calls that were made, those of the warm-up included."""
        return self.warmup + len(self.latency_ns)


@dataclass(frozen=True)
class NumericError:
    """The distance of an output from its reference: ``rel`` = ‖a-b‖/‖b‖, ``max`` = max|a-b|/max|b|.

    ``pcc`` (Pearson correlation) is None if undefined, as for a constant output. ``ulp`` = max|a-b| in units in the
    last place of the reference, in the output's dtype. ``worst`` is None if no floating-point value was compared.
    ``reference_rel`` and ``reference_max`` are the reference's own errors in the module's dtype, 0 if the reference is
    the module.
    ``rel_beside_zero`` is the largest relative error without the positions at which the reference is 0. ``rows``
    has the relative error of each row, for each tensor; a vector or a scalar is one row. ``exact_difference`` is a
    clause on integers or bools that differ; all errors are then infinite. ``differing`` is the number of values
    that differ, and of all values, if all of them are integers or bools. ``same_bits``: the output is bitwise equal
    to the reference's in the module's dtype, and not constant.
    """

    rel: float
    max: float
    pcc: float | None
    worst: Element | None
    reference: str
    ulp: float = 0.0
    reference_rel: float = 0.0
    reference_max: float = 0.0
    rows: tuple[Float, ...] = field(default=(), compare=False)
    rel_beside_zero: float = 0.0
    exact_difference: str = ""
    differing: tuple[int, int] | None = None
    same_bits: bool = False


@dataclass(frozen=True)
class Recording:
    """The file that a collector wrote and its number of iterations.

    The peaks are those of torch's caching allocator in each iteration, in bytes; ``peak_added`` is the peak minus the
    bytes allocated at the start of the iteration. They are None where the allocator reports no peaks, as on a CPU.
    ``export_s`` is the time spent writing the file, in seconds.
    """

    path: Path
    recorded: int
    export_s: float = 0.0
    peak_allocated: Int | None = None
    peak_reserved: Int | None = None
    peak_added: Int | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Observation:
    """The raw data of one trial. A field is None if it was not measured, and so is every metric that needs it.

    ``slowdown``: how many times slower the machine was than at other times of the run. ``process`` tells the processes
    of a run apart. ``looks`` are later timings of the same trial, made because a time would fail.
    ``recorded``: the number of recorded iterations. ``allocations``: whether the backend records events of torch's
    allocator; without them only its peaks are known, if it reports them. ``notes`` are the notes of the recording.
    Peaks and ``activations`` are in bytes. ``uncounted_ops`` are operators whose FLOPs, ``unsized_ops`` those whose
    bytes nobody knows. ``operators`` are those of one iteration as written, before any compilation, without times.
    ``dtypes_without_peak`` are multiplied, and their peak rate on the device is not known. ``instructions`` has one
    sample per iteration. ``recompilations`` are those during all timed iterations of the case, None unless the module
    has compiled parts.
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
    uncounted_ops: tuple[str, ...] = ()
    bytes_moved: int | None = None
    unsized_ops: tuple[str, ...] = ()
    operators: tuple[OperatorUse, ...] = ()
    least_time: LeastTime | None = None
    dtypes_without_peak: tuple[str, ...] = ()
    model_changes: tuple[str, ...] = ()
    activations: int | None = None
    instructions: Int | None = None
    recompilations: int | None = None
    numerics: NumericError | None = None
    reference: Observation | None = None
    slowdown: float = 1.0
    process: int = 0
    looks: tuple[Observation, ...] = ()

    @cached_property
    def iterations(self) -> Iterations | None:
        """The recorded iterations; None without a trace, or if their number in the trace differs from ``recorded``."""
        if self.trace is None:
            return None
        iterations = Iterations.of(self.trace)
        return iterations if len(iterations) == self.recorded > 0 else None

    @cached_property
    def op_nesting(self) -> Nesting:
        """The nesting of the ops of the trace, without a trace that of no op."""
        return Nesting(self.trace.ops if self.trace is not None else Spans.of({}))
