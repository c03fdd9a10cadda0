"""Snapshots of a model, its inputs and the process, and what differs between two of them. Uses no code of ttprof."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import random
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

OPAQUE = ("dynamo_ctx", "_compiled_call_impl", "__composable_api_state_key")
"""How the attributes begin in which torch.compile caches and FSDP keeps its buffers, and that are not opened."""

DEPTH = 6
"""Levels of plain objects that are opened below an attribute of a module."""

ATOMS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, torch.layout, Enum)
CALLABLES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, types.ModuleType)
HOOKS = tuple(name for name in vars(nn.Module()) if "hook" in name)
GLOBAL_HOOKS = tuple(name for name in vars(torch.nn.modules.module) if name.startswith("_global_") and "hook" in name)

Snapshot = dict[str, Any]
"""Comparable values by the path of what they describe."""


def take(model: nn.Module, inputs: Any = None) -> Snapshot:
    """Describe *model*, the *inputs* that its user gave, and the state of the process."""
    state: Snapshot = {}
    for path, module in model.named_modules():
        state.update(_module(path or "(model)", module))
    opened: set[int] = set()
    state.update(_entries("inputs", inputs, DEPTH, opened))
    state.update({f"process.{name}": value for name, value in _process().items()})
    return state


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Say for each path that is new, gone or different what it was and what it is."""
    missing = object()
    return [
        f"{path}: {_text(before.get(path, missing), missing)} -> {_text(after.get(path, missing), missing)}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path, missing) != after.get(path, missing)
    ]


def _text(value: Any, missing: object) -> str:
    return "nothing" if value is missing else repr(value)[:120]


def _module(path: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The mode, tensors, gradients, hooks, children and attributes of one module."""
    yield f"{path} (class)", type(module).__qualname__
    opened: set[int] = set()
    for name, value in vars(module).items():
        if name.startswith(OPAQUE):
            yield f"{path}.{name}", id(value)
        elif name in HOOKS:
            hooks = [(key, id(hook)) for key, hook in value.items()] if isinstance(value, Mapping) else value
            yield f"{path}.{name}", hooks
        elif name == "_modules":
            yield f"{path}.{name}", [(key, id(child)) for key, child in value.items()]
        elif name in ("_parameters", "_buffers"):
            yield f"{path}.{name}", [(key, id(tensor)) for key, tensor in value.items()]
            for key, tensor in value.items():
                yield f"{path}.{key}", _tensor(tensor)
                yield f"{path}.{key}.grad", _tensor(getattr(tensor, "grad", None) if _is_leaf(tensor) else None)
        else:
            yield from _entries(f"{path}.{name}", value, DEPTH, opened)


def _is_leaf(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_leaf


def _entries(path: str, value: Any, depth: int, opened: set[int]) -> Iterator[tuple[str, Any]]:
    """The value at *path* and, for containers and plain objects, everything in it."""
    if isinstance(value, torch.Tensor):
        yield path, _tensor(value)
        yield f"{path}.grad", _tensor(value.grad if value.is_leaf else None)
    elif isinstance(value, ATOMS):
        yield path, value if value == value else "nan"
    elif isinstance(value, np.ndarray):
        yield path, (value.dtype.str, value.shape, hashlib.sha1(value.tobytes()).hexdigest())
    elif isinstance(value, (nn.Module, *CALLABLES)) or depth == 0 or id(value) in opened:
        yield path, (type(value).__qualname__, None if isinstance(value, types.MethodType) else id(value))
    else:
        opened.add(id(value))
        yield path, (type(value).__qualname__, id(value))
        for name, item in _items(value):
            yield from _entries(f"{path}{name}", item, depth - 1, opened)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield "{}", ", ".join(sorted(repr(item) for item in value))
    if hasattr(value, "__dict__"):
        yield from ((f".{name}", item) for name, item in vars(value).items())


def _tensor(tensor: torch.Tensor | None) -> Any:
    """A description of a tensor that is equal only for the same bits in the same layout."""
    if tensor is None:
        return None
    facts = (type(tensor).__qualname__, tensor.dtype, tuple(tensor.shape), str(tensor.device), tensor.requires_grad)
    with torch.no_grad():
        return (*facts, *_content(tensor))


def _content(tensor: torch.Tensor) -> tuple[Any, ...]:
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        parts = (getattr(tensor, name) for name in names)
        return tuple(_tensor(part) if isinstance(part, torch.Tensor) else id(part) for part in parts)
    if tensor.is_meta or isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return ()
    if tensor.layout is torch.sparse_coo:
        return _tensor(tensor._indices()), _tensor(tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_csc):
        rows = tensor.crow_indices() if tensor.layout is torch.sparse_csr else tensor.ccol_indices()
        return _tensor(rows), _tensor(tensor.values())
    if tensor.is_quantized:
        return (tensor.qscheme(), _tensor(tensor.int_repr()))
    return tensor.stride(), tensor.storage_offset(), _digest(tensor)


def _digest(tensor: torch.Tensor) -> str:
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return hashlib.sha1(flat.view(torch.uint8).numpy().tobytes()).hexdigest() if flat.numel() else ""


def _process() -> dict[str, Any]:
    """The state of generators, torch's global settings and the interpreter."""
    numpy_state = np.random.get_state()
    return {
        "torch generator": _digest(torch.get_rng_state()),
        "numpy generator": (numpy_state[0], hashlib.sha1(numpy_state[1].tobytes()).hexdigest(), *numpy_state[2:]),
        "random generator": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": [(k, torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in ("cpu", "cuda")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic, warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": [getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")],
        "mkldnn": torch.backends.mkldnn.enabled,
        "mha fast path": torch.backends.mha.get_fastpath_enabled(),
        "attention kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
        "modes": torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack(),
        "saved-tensor hooks": torch._C._autograd._saved_tensors_hooks_is_enabled(),
        "module hooks": {name: repr(getattr(torch.nn.modules.module, name)) for name in GLOBAL_HOOKS},
        "Module.__call__": nn.Module.__call__,
        "warning filters": list(warnings.filters),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "recursion limit": sys.getrecursionlimit(),
        "trace function": sys.gettrace(),
        "profile function": sys.getprofile(),
        "log level": logging.getLogger().level,
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }
