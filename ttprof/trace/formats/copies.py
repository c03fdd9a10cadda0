"""The bytes that the copies of a Kineto trace write, by the shapes and types that torch.profiler recorded of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ttprof.trace.events import UNKNOWN, Int

COPY = "aten::copy_"

ITEM_BYTES = {
    **dict.fromkeys(("bool", "unsigned char", "signed char", "c10::quint8", "c10::qint8"), 1),
    **dict.fromkeys(("c10::Float8_e5m2", "c10::Float8_e4m3fn", "c10::Float8_e5m2fnuz", "c10::Float8_e4m3fnuz"), 1),
    **dict.fromkeys(("short", "short int", "unsigned short", "short unsigned int", "c10::Half", "c10::BFloat16"), 2),
    **dict.fromkeys(("int", "unsigned int", "float", "c10::qint32", "c10::complex<c10::Half>"), 4),
    **dict.fromkeys(("long", "long int", "unsigned long", "long unsigned int", "long long", "__int64"), 8),
    **dict.fromkeys(("double", "c10::complex<float>"), 8),
    "c10::complex<double>": 16,
}
"""Bytes of an element by its C++ type, as torch.profiler writes it; compilers spell integers differently."""

MAX_BYTES = 2**62
"""No tensor is larger: a shape that says so is not read."""

_arguments = msgspec.json.Decoder(list[Any]).decode


def copied_bytes(rows: Sequence[Any]) -> Int:
    """The bytes that each row writes if it is an ``aten::copy_`` with a known target, else -1."""
    written = np.full(len(rows), UNKNOWN, dtype=np.int64)
    for i, row in enumerate(rows):
        if row.name == COPY and row.args is not None:
            written[i] = _target_bytes(row.args.dims, row.args.types)
    return written


def _target_bytes(dims: msgspec.Raw, types: msgspec.Raw) -> int:
    """The bytes of the first argument, which is the target; -1 if its shape or type is missing or impossible."""
    try:
        shape, kind = _arguments(dims)[0], _arguments(types)[0]
    except (msgspec.MsgspecError, IndexError, RecursionError):
        return UNKNOWN
    size = ITEM_BYTES.get(kind) if isinstance(kind, str) else None
    if size is None or not isinstance(shape, list) or not all(type(n) is int and 0 <= n < MAX_BYTES for n in shape):
        return UNKNOWN
    nbytes = math.prod(shape) * size
    return nbytes if nbytes < MAX_BYTES else UNKNOWN
