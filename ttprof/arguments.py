"""Checks the arguments of suites and builder methods and converts them; invalid ones raise a SpecError."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttprof import metrics
from ttprof.bounds import Bound, number
from ttprof.errors import SpecError, UnknownNameError, user_code
from ttprof.plan.state import device_of, uncompiled
from ttprof.run.devices import unusable, usable
from ttprof.spec import CaseSpec, KernelBudget, Limit, Sweep, integer
from ttprof.system.device_types import DEVICE_TYPES, PACKAGED_TYPES
from ttprof.thresholds import Thresholds
from ttprof.units import share


def floating_dtype(value: object) -> torch.dtype:
    """Return *value* if it is a floating-point dtype."""
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise SpecError(f"dtype must be a floating-point torch.dtype such as torch.bfloat16, got {value!r}")
    return value


def metric_limits(limits: Mapping[str, float | Bound], on: tuple[str, ...]) -> list[Limit]:
    """Convert the keywords of ``expect`` to limits; aliases become the names of their metrics."""
    if not limits:
        raise SpecError("expect() needs at least one limit, for example expect(latency_ms=5.0)")
    converted = [Limit(metrics.find(name).name, _bound(name, value), on) for name, value in limits.items()]
    repeated = [name for name in limits if sum(limit.metric == metrics.find(name).name for limit in converted) > 1]
    if repeated:
        raise SpecError(f"{' and '.join(repeated)} are names of the same metric; limit only one of them")
    return converted


def _bound(name: str, value: object) -> float | Bound:
    highest = metrics.find(name).highest
    if highest is not None and isinstance(value, (int, float)) and value > highest:
        raise SpecError(f"{name} is at most {highest:g}, so nothing reaches {value:g}; use a fraction such as 0.6")
    if not isinstance(value, Bound):
        return number(name, value)
    if value.exact and metrics.find(name).sampled:
        raise SpecError(f"{name} varies from run to run; use at_most, at_least or within, not exactly({value.low:g})")
    return value


def merged_limits(old: Sequence[Limit], new: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return all limits; a new one replaces an old one that bounds the same metric on the same side and devices."""
    return tuple({(limit.on, *_bounded_sides(limit)): limit for limit in (*old, *new)}.values())


def limits_on(device: str, limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the limits that hold on a type of device; a later one replaces an earlier one on the same side."""
    return tuple({_bounded_sides(limit): limit for limit in limits if device in (limit.on or (device,))}.values())


def _bounded_sides(limit: Limit) -> tuple[str, bool, bool]:
    """The metric of a limit, and whether it is bounded below and above."""
    if isinstance(limit.bound, Bound):
        return limit.metric, limit.bound.low > -math.inf, limit.bound.high < math.inf
    lower_is_better = metrics.find(limit.metric).better == "lower"
    return limit.metric, not lower_is_better, lower_is_better


def kernel_budget(
    pattern: object, time_ms: float | Bound | None, count: float | Bound | None, on: tuple[str, ...]
) -> KernelBudget:
    """Convert the arguments of ``expect_kernel``; plain numbers are upper bounds."""
    if not isinstance(pattern, str) or not pattern.strip():
        raise SpecError(f"expect_kernel needs a glob such as '*gemm*', got {pattern!r}")
    if time_ms is None and count is None:
        raise SpecError("expect_kernel() needs a budget: time_ms=..., count=..., or both")
    if isinstance(time_ms, Bound) and time_ms.exact:
        raise SpecError(f"time_ms varies from run to run; use at_most or within, not exactly({time_ms.low:g})")
    return KernelBudget(pattern, _upper_bound("time_ms", time_ms), _upper_bound("count", count), on)


def thresholds(times: float | str | None, of_metrics: Mapping[str, float | str]) -> Thresholds:
    """Convert the arguments of ``regression``."""
    if times is None and not of_metrics:
        raise SpecError('regression() needs a threshold, for example regression("10%") or regression(latency_ms="20%")')
    for name in of_metrics:
        if not metrics.find(name).regresses:
            raise SpecError(f"regression({name}=...): baselines don't compare {name}, which is judged in each run")
    converted = {metrics.find(name).name: _share(name, value) for name, value in of_metrics.items()}
    return Thresholds(times=None if times is None else _share("threshold", times), metrics=converted)


def merged_thresholds(old: Thresholds, new: Thresholds) -> Thresholds:
    """Return all thresholds; a new one replaces an old one for the same metrics."""
    return Thresholds(times=old.times if new.times is None else new.times, metrics={**old.metrics, **new.metrics})


def _share(name: str, value: object) -> float:
    try:
        fraction = share(value) if isinstance(value, str) else number(name, value)
    except ValueError as error:
        raise SpecError(f"regression({name}=...): {error}") from error
    if not 0 < fraction < math.inf:
        raise SpecError(f"regression({name}=...) must be a fraction above 0, such as 0.1 for 10 %, got {value!r}")
    return fraction


def _upper_bound(name: str, value: object) -> Bound | None:
    return value if value is None or isinstance(value, Bound) else Bound(high=number(name, value))


def dimensions(shape: object) -> tuple[int | str, ...]:
    """Return the shape of ``input_shape`` as a tuple of sizes and names of axes."""
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence) or not shape:
        raise SpecError(f"input_shape must be a tuple of integers such as (2, 512, 768), got {shape!r}")
    return tuple(n if isinstance(n, str) and n.isidentifier() else integer("input_shape", n, 1) for n in shape)


def sweep(axis: str, values: object) -> Sweep:
    """Return the sweep of *axis* over *values*."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise SpecError(f"a sweep over {axis} needs a list of integers, got {values!r}")
    return Sweep(axis, tuple(values))


def one_or_more(axis: str, value: object) -> Sweep:
    """Return the sweep of *axis* over one size or several."""
    return Sweep(axis, (value,)) if isinstance(value, int) else sweep(axis, value)


def reference_name(reference: object) -> str:
    """Return the name of a reference module or function for messages."""
    if isinstance(reference, nn.Module):
        return type(reference).__name__
    if callable(reference) and not isinstance(reference, type):
        return str(getattr(reference, "__name__", type(reference).__name__))
    raise SpecError(f"compare_with needs a module, a dotted name or a function, got {reference!r}")


def with_weights_of(case: CaseSpec, reference: Any) -> Any:
    """Return a copy of *reference* with the weights of the module under test; unchanged if the module is missing."""
    if case.module is None:
        return reference
    if not isinstance(reference, nn.Module) or not isinstance(case.module, nn.Module):
        raise SpecError(f"share_weights=True needs a reference that is a module, got {reference!r}")
    with user_code(f"copying {type(reference).__name__}"):
        copied = copy.deepcopy(uncompiled(reference))
    try:
        copied.load_state_dict(uncompiled(case.module).state_dict())
    except RuntimeError as error:
        raise SpecError(f"{case.name}: its weights do not fit the reference: {' '.join(str(error).split())}") from error
    return copied


def device_types(types: object) -> tuple[str, ...]:
    """Return one or several types of device as a tuple of distinct names.

    Those of ``DEVICE_TYPES`` and ``PACKAGED_TYPES`` are known on every machine, so that a script may name the devices
    of another one; that of this machine's ``torch.accelerator`` is known too.
    """
    several = (types,) if isinstance(types, str) else types
    if not isinstance(several, Sequence) or not all(isinstance(name, str) for name in several):
        raise SpecError(f"on needs a type of device such as 'cuda', or several, got {types!r}")
    known = {*DEVICE_TYPES, *PACKAGED_TYPES, *(device.type for device in usable())}
    for name in several:
        kind, colon, _ = name.partition(":")
        if colon and kind in known:
            raise SpecError(f"on needs a type of device without an index: on({kind!r}), not {name!r}")
        if name in ("rocm", "hip"):
            raise SpecError(f"on({name!r}): to torch a ROCm device is 'cuda'; write on('cuda')")
        if name not in known:
            raise UnknownNameError("type of device", name, known)
    return tuple(dict.fromkeys(several))


def run_device(device: torch.device | str | None, model: nn.Module) -> torch.device:
    """Return the device to run on: the given one, or else the model's, or else the CPU."""
    try:
        chosen = torch.device(device) if device is not None else device_of(model) or torch.device("cpu")
    except (RuntimeError, TypeError) as error:
        raise SpecError(f"device={device!r}: {error}") from error
    if (reason := unusable(chosen)) is not None:
        raise SpecError(f"device={str(device or chosen)!r}: {reason}")
    return chosen


def file_path(name: str, value: object) -> Path:
    """Return the argument *name* as a path."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise SpecError(f"{name} must be a file path, got {value!r}")
    return Path(value)
