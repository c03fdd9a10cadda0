"""Decides what limits a kernel's speed, from its utilisation of the device, and explains why.

The thresholds are those of Nsight Compute's rule ``SOLBottleneck`` (``sections/SpeedOfLight.py``): below 60 % of both
the compute and the memory peak, a kernel is latency-bound; within 10 points of each other, the two are balanced;
otherwise the higher one is the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from ttprof.nsight.compute_metrics import FloatWork, Traffic, ratio
from ttprof.units import significant

BUSY = 60.0
"""The % of its peak from which a throughput limits a kernel (``latency_bound_threshold``)."""

BALANCED = 10.0
"""The difference in percentage points from which only compute or only memory is the limit (``balanced_threshold``)."""

SAME = 1.0
"""Maximum distance, in percentage points, between the memory throughput and the unit that determines it."""

SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Use(msgspec.Struct, frozen=True):
    """The utilisation of the device in % of each unit's peak; None if not measured.

    ``memory`` is the busiest part of the memory system: L1, L2, DRAM and the paths between them. ``waves`` is how many
    times the grid fills the device.
    """

    sm: float | None
    memory: float | None
    dram: float | None
    l2: float | None
    l1: float | None
    occupancy: float | None
    waves: float | None


class Roof(msgspec.Struct, frozen=True):
    """The position of a kernel in the roofline of its most frequent ``kind`` of work.

    ``intensity`` is FLOP per byte of DRAM traffic, ``ridge`` the intensity at which the two roofs of the device meet,
    and ``side`` the roof above the kernel, memory or compute. Rates in FLOP/s and bytes/s.
    """

    kind: str
    intensity: float
    flops_per_s: float
    peak_flops_per_s: float
    peak_bytes_per_s: float
    ridge: float
    side: str


class Ceiling(msgspec.Struct, frozen=True):
    """The two roofs of a device for one kind of work: the highest peaks at the clocks of its kernels."""

    device: str | None
    kind: str
    peak_flops_per_s: float
    peak_bytes_per_s: float


class Bottleneck(msgspec.Struct, frozen=True):
    """``bound`` is memory, compute, balanced or latency, or None if not measured; ``sentence`` says why.

    ``unit`` is the limit of a memory-bound kernel: DRAM, L2, L1, or memory if it is none of these three.
    """

    bound: str | None
    unit: str | None
    sentence: str


def roof(works: list[FloatWork], traffic: Traffic) -> Roof | None:
    """The position of a kernel in the roofline of its most frequent kind of work; None if a number is missing or 0.

    Roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009. Attainable FLOP/s = min(peak, intensity x bytes/s).
    """
    most = works[0] if works else None
    if most is None or not most.flops_per_s or not most.peak_flops_per_s:
        return None
    intensity = ratio(most.flops_per_s, traffic.bytes_per_s)
    ridge = ratio(most.peak_flops_per_s, traffic.peak_bytes_per_s)
    if intensity is None or ridge is None or traffic.peak_bytes_per_s is None:
        return None
    return Roof(
        kind=most.kind,
        intensity=intensity,
        flops_per_s=most.flops_per_s,
        peak_flops_per_s=most.peak_flops_per_s,
        peak_bytes_per_s=traffic.peak_bytes_per_s,
        ridge=ridge,
        side="memory" if intensity < ridge else "compute",
    )


def ceilings(places: Iterable[tuple[str | None, Roof | None]]) -> list[Ceiling]:
    """The roofs of each device and kind of work, from pairs of device and roof of its kernels.

    NVIDIA's peaks depend on the clocks, which differ between kernels; the highest counts.
    """
    highest: dict[tuple[str | None, str], Ceiling] = {}
    for device, place in places:
        if place is not None:
            last = highest.get((device, place.kind), Ceiling(device, place.kind, 0.0, 0.0))
            flops = max(last.peak_flops_per_s, place.peak_flops_per_s)
            peak_bytes = max(last.peak_bytes_per_s, place.peak_bytes_per_s)
            highest[device, place.kind] = Ceiling(device, place.kind, flops, peak_bytes)
    return list(highest.values())


def judge(use: Use, traffic: Traffic, roof: Roof | None, uncounted: list[str]) -> Bottleneck:
    """The bottleneck of a kernel; ``bound`` is None if the SM or the memory throughput was not measured."""
    memory = use.memory if use.memory is not None else use.dram
    if use.sm is None or memory is None:
        values = {"the SM throughput": use.sm, "the memory throughput": memory}
        missing = " and ".join(name for name, value in values.items() if value is None)
        return Bottleneck(None, None, f"no verdict: the report lacks {missing}; record it with --section SpeedOfLight")
    bound, unit = _bound(use.sm, memory), None
    if bound == "latency":
        sentence = _latency(use, memory)
    elif bound == "balanced":
        sentence = (
            f"bound by compute and memory alike: SM at {_percent(use.sm)} of its peak, memory at {_percent(memory)}"
        )
    elif bound == "compute":
        sentence = f"compute-bound: SM at {_percent(use.sm)} of its peak, {_memory(use, memory, traffic)}"
    else:
        unit = _unit(use, memory)
        sentence = f"memory-bound: {_limit(unit, use, memory, traffic)}"
        sentence += f"; SM at {_percent(use.sm)}"
    return Bottleneck(bound, unit, sentence + _under_roof(roof, uncounted))


def _bound(sm: float, memory: float) -> str:
    if sm < BUSY and memory < BUSY:
        return "latency"
    if abs(sm - memory) < BALANCED:
        return "balanced"
    return "compute" if sm > memory else "memory"


def _latency(use: Use, memory: float) -> str:
    busiest = f"memory ({_percent(memory)})" if use.memory is not None else f"DRAM ({_percent(memory)})"
    if use.occupancy is None:
        occupancy = "occupancy not measured (--section Occupancy)"
    else:
        occupancy = f"occupancy {_percent(use.occupancy)}"
    small = use.waves is not None and use.waves < 1
    grid = f"; the grid fills the device {significant(use.waves or 0.0)} times, too small" if small else ""
    return f"latency-bound: neither SM ({_percent(use.sm or 0.0)}) nor {busiest} is busy; {occupancy}{grid}"


def _unit(use: Use, memory: float) -> str:
    """The unit that is as busy as the memory system overall, whose utilisation is that of its busiest part.

    L1 comes last: its % is of the cycles in which it was active, and can be higher than in the memory throughput.
    """
    parts = {"DRAM": use.dram, "L2": use.l2, "L1": use.l1}
    return next((name for name, value in parts.items() if value is not None and value >= memory - SAME), "memory")


def _limit(unit: str, use: Use, memory: float, traffic: Traffic) -> str:
    if unit == "DRAM":
        return _dram(use.dram if use.dram is not None else memory, traffic, " of its peak")
    value = {"L2": use.l2, "L1": use.l1}.get(unit, memory)
    busy = f"{unit} at {_percent(value if value is not None else memory)} of its peak"
    return busy if use.dram is None else f"{busy}, {_dram(use.dram, traffic, '')}"


def _memory(use: Use, memory: float, traffic: Traffic) -> str:
    return f"memory at {_percent(memory)}" if use.dram is None else _dram(use.dram, traffic, "")


def _dram(percent: float, traffic: Traffic, of: str) -> str:
    """The utilisation of DRAM and the bytes that it moved, which can be fewer, because overhead keeps it busy too."""
    moved, peak = traffic.bytes_per_s, traffic.peak_bytes_per_s
    busy = f"DRAM at {_percent(percent)}{of}"
    if moved is None or not peak:
        return busy
    return f"{busy} (it moved {_of(moved, peak)}B/s, {_percent(100 * moved / peak)})"


def _under_roof(roof: Roof | None, uncounted: list[str]) -> str:
    if uncounted:
        units = " and ".join("tensor cores" if kind == "tensor" else f"{kind} units" for kind in uncounted)
        return f"; the {units} ran, but the report does not count their FLOPs, so its place in the roofline is unknown"
    if roof is None:
        return ""
    at = f"at {significant(roof.intensity)} FLOP/byte the roof of {roof.kind} is {roof.side}"
    return f"; {at} ({_of(roof.flops_per_s, roof.peak_flops_per_s)}FLOP/s of {roof.kind})"


def _percent(value: float) -> str:
    """A rounded percentage; it has one decimal if rounding would lift it to the threshold."""
    under = value < BUSY <= round(value)
    return f"{math.floor(value * 10) / 10 if under else round(value)} %"


def _of(part: float, whole: float) -> str:
    """Two rates with the SI prefix of the larger one: ``2.4 of 3.35 T``."""
    scale, prefix = next(((scale, prefix) for scale, prefix in SI if max(part, whole) >= scale), (1.0, ""))
    parts = (f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in (part / scale, whole / scale))
    return f"{' of '.join(parts)} {prefix}"
