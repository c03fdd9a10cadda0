"""The settings that a process has one of: torch's and Python's, with the means to read and to restore them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from ttprof.plan.interpreter import PYTHON


class ProcessSetting(NamedTuple):
    """A setting: its name in messages, how to read it, and how to restore what was read.

    An unnamed one is restored without a word: libraries change it when they are first used.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


class ProcessSettings:
    """The settings of the process as they are now, with those of *device*."""

    def __init__(self, device: torch.device) -> None:
        settings = [*_TORCH, *_autocast_of("cpu"), *(_autocast_of(device.type) if device.type != "cpu" else ())]
        settings += [ProcessSetting(*setting) for setting in PYTHON]
        self._saved = [(setting, setting.read()) for setting in settings]

    def changed(self) -> list[str]:
        """The names of the settings that are different now."""
        return [setting.name for setting, value in self._saved if setting.name and setting.read() != value]

    def restore(self) -> None:
        """Restore the settings that are different now."""
        for setting, value in self._saved:
            if setting.read() != value:  # to write some of them is not free of side effects, even if nothing changes
                setting.write(value)


def _default_device() -> torch.device | None:
    """The device that torch.set_default_device has set; None without one.

    To set the CPU instead of None would leave a torch-function mode behind, which turns fast paths off.
    """
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return context.device if context is not None else None


def _attribute(name: str, owner: Any, attribute: str) -> ProcessSetting:
    return ProcessSetting(name, lambda: getattr(owner, attribute), lambda value: setattr(owner, attribute, value))


def _autocast_of(kind: str) -> tuple[ProcessSetting, ...]:
    name = f"autocast on {kind}"
    return (
        ProcessSetting(
            name, lambda: torch.is_autocast_enabled(kind), lambda value: torch.set_autocast_enabled(kind, value)
        ),
        ProcessSetting(
            name, lambda: torch.get_autocast_dtype(kind), lambda value: torch.set_autocast_dtype(kind, value)
        ),
    )


def _set_mkldnn(enabled: bool) -> None:
    torch.backends.mkldnn.set_flags(enabled)  # type: ignore[no-untyped-call]


_TORCH: tuple[ProcessSetting, ...] = (
    ProcessSetting("the grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    ProcessSetting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ProcessSetting("the default device", _default_device, torch.set_default_device),
    ProcessSetting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    ProcessSetting(
        "the use of deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    ProcessSetting(
        "the float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    ProcessSetting(
        "the anomaly mode",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    ProcessSetting("the cache of autocast", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    ProcessSetting("", torch.is_warn_always_enabled, torch.set_warn_always),
    ProcessSetting("oneDNN", lambda: torch.backends.mkldnn.enabled, _set_mkldnn),
    _attribute("the filling of uninitialised memory", torch.utils.deterministic, "fill_uninitialized_memory"),
    ProcessSetting("NumPy's handling of errors", np.geterr, lambda value: np.seterr(**value)),
    ProcessSetting(
        "the fast path of attention",
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
    *(
        _attribute(f"cudnn.{name}", torch.backends.cudnn, name)
        for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
    ),
    _attribute("cuda.matmul.allow_tf32", torch.backends.cuda.matmul, "allow_tf32"),
    ProcessSetting(
        "the backends of attention", torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp
    ),
    ProcessSetting(
        "the backends of attention",
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    ProcessSetting(
        "the backends of attention", torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp
    ),
)
