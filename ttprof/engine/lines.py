"""Events as lines of JSON, and back. Must not import torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args, get_origin

import msgspec
import numpy as np

from ttprof.engine.events import JOURNAL_VERSION, AnyEvent
from ttprof.errors import ResultFileError, TtprofError
from ttprof.result_file import check_version
from ttprof.spec import ScalingLaw, scaling_law
from ttprof.trial_key import Point, as_point


def encode(event: AnyEvent) -> bytes:
    """An event as a line of JSON. Values that JSON lacks (NaN, the infinities) become strings."""
    plain = msgspec.to_builtins(event, enc_hook=_plain)
    return msgspec.json.encode(_finite(plain)) + b"\n"


def decode(line: bytes) -> AnyEvent:
    """The event of a line.

    Raises:
        ResultFileError: it is not one, or a newer ttprof wrote it.
    """
    try:
        plain = _of_64_bits(msgspec.json.decode(line))
        if isinstance(plain, dict) and plain.get("event") == "opened":
            check_version(int(plain.get("version", 0)), JOURNAL_VERSION)
        return cast(AnyEvent, msgspec.convert(plain, AnyEvent, dec_hook=_restored, strict=False))
    except ResultFileError:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ResultFileError(str(error)) from error
    except TtprofError as error:
        raise ResultFileError(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, ScalingLaw):
        return value.name
    if isinstance(value, Path):
        return value.as_posix()
    raise NotImplementedError(f"a journal can't hold {type(value)}")


def _finite(value: Any) -> Any:
    """*value* with the floats that JSON lacks as strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _of_64_bits(value: Any) -> Any:
    """*value* if all its integers fit into 64 bits, as everything that is measured does; else ValueError."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer has more than 64 bits")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _of_64_bits(item)
    return value


def _restored(kind: Any, value: Any) -> Any:
    if kind is ScalingLaw:
        return scaling_law(value)
    if kind is Point:
        return as_point(kind, value)
    if isinstance(kind, type) and issubclass(kind, Path):
        return _inside(str(value))
    if kind is np.ndarray:
        return _array(value)
    if get_origin(kind) is np.ndarray:
        with np.errstate(invalid="raise"):  # a NaN is no integer
            return _array(value).astype(get_args(get_args(kind)[1])[0])
    raise NotImplementedError(f"a journal holds no {kind}")


def _array(values: Iterable[Any]) -> np.ndarray:
    array = np.array([float(value) if isinstance(value, str) else value for value in values])
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ValueError("samples are one number each")
    return array


def _inside(path: str) -> Path:
    """A path below the folder of the run; ValueError if it leads out of it."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or set("\\:\0") & set(path):
        raise ValueError(f"{path!r} leads out of the folder of the run")
    return Path(path)
