"""Context managers that restore the settings of the process that a test, or the code under test, changes."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from ttprof.plan.interpreter import preserved_streams
from ttprof.plan.settings import ProcessSettings


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


@contextmanager
def process_settings(device: torch.device) -> Iterator[None]:
    """Restore the settings of the process on exit: torch's, such as the default dtype, and Python's."""
    settings = ProcessSettings(device)
    try:
        with preserved_streams():
            yield
    finally:
        settings.restore()
