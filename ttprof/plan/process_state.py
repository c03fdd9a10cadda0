"""Context managers that restore the settings of the process that a test, or the code under test, changes."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch on the CPU and on *device*, of NumPy and of ``random``; restore them on exit.

    Unlike torch.manual_seed it leaves the generators of other devices alone.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if device.type not in ("cpu", "meta"):
            stack.enter_context(_device_seeded(seed, device))
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def _device_seeded(seed: int, device: torch.device) -> Iterator[None]:
    accelerator: Any = torch.get_device_module(device.type)
    if not hasattr(accelerator, "get_rng_state"):  # what could not be restored is not seeded
        yield
        return
    before = accelerator.get_rng_state(device)
    try:
        with accelerator.device(device) if hasattr(accelerator, "device") else nullcontext():
            accelerator.manual_seed(seed)
        yield
    finally:
        accelerator.set_rng_state(before, device)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the state of Python's ``random`` on exit."""
    before = random.getstate()
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use *count* intra-op threads; restore the number on exit."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run the original code of compiled modules and functions."""
    compiled = "torch._dynamo" in sys.modules
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


@contextmanager
def as_written() -> Iterator[None]:
    """Run modules eagerly and unfused, so that hooks see every call.

    nn.TransformerEncoderLayer leaves its fused path, which returns zeros for padding, and calls its submodules.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with eagerly():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


_Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


@contextmanager
def process_settings(device: torch.device) -> Iterator[None]:
    """Restore torch's global settings on exit: grad mode, autocast, default dtype and device, threads, backends."""
    settings = [*_SETTINGS, *_autocast_of("cpu"), *(_autocast_of(device.type) if device.type != "cpu" else ())]
    saved = [(read, write, read()) for read, write in settings]
    try:
        yield
    finally:
        for read, write, value in saved:
            if read() != value:  # to write some of them is not free of side effects, even if nothing changes
                write(value)


def _default_device() -> torch.device | None:
    """The device that torch.set_default_device has set; None without one.

    To set the CPU instead of None would leave a torch-function mode behind, which turns fast paths off.
    """
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return context.device if context is not None else None


def _attribute(owner: Any, name: str) -> _Setting:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _autocast_of(kind: str) -> tuple[_Setting, ...]:
    return (
        (lambda: torch.is_autocast_enabled(kind), lambda value: torch.set_autocast_enabled(kind, value)),
        (lambda: torch.get_autocast_dtype(kind), lambda value: torch.set_autocast_dtype(kind, value)),
    )


_SETTINGS: tuple[_Setting, ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (lambda: torch.backends.mkldnn.enabled, lambda value: torch.backends.mkldnn.set_flags(value)),  # type: ignore[no-untyped-call]
    _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    (np.geterr, lambda value: np.seterr(**value)),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    _attribute(torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
)
