"""Counts the floating-point operations of one call, by the formulas of torch.utils.flop_counter and some of our own.

torch's own FlopCounterMode is avoided because its first use imports the compiler (torch._dynamo), which takes most of a
second, and because it counts an operator without a formula as zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttprof.plan import tree
from ttprof.plan.process_state import as_written


@dataclass(frozen=True)
class FlopCount:
    """The operations of one call, and the operators that it ran for which nobody knows how many they are."""

    total: int
    unknown: tuple[str, ...] = ()


COMPLEX_FACTOR = 4
"""A complex multiplication and addition is four real ones."""

WITHOUT_PRODUCTS = frozenset(
    {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional", "debugprims", "inductor"}
)
"""Namespaces whose operators without a formula move or combine numbers one by one: by convention they count as zero."""

UNKNOWN_PRODUCTS = (
    "_sparse_semi_structured",
    "_cslt_sparse_mm",
    "_weight_int4pack_mm",
    "_mixed_dtypes_linear",
    "_trilinear",
    "_cdist_forward",
    "_fft_",
    "linalg_",
    "triangular_solve",
    "_linalg",
    "lu_",
    "ormqr",
    "geqrf",
    "_linalg_",
    "cholesky",
    "_cudnn_rnn",
    "miopen_rnn",
    "_nested_",
    "_sampled_addmm",
    "sparse_sampled_addmm",
)
"""Beginnings of the names of operators of torch that multiply, and for which there is no formula."""


def _forward_of_convolution(x: Sequence[int], weight: Sequence[int], out: Sequence[int], transposed: bool) -> int:
    """The operations of a convolution: 2 per element of the filter and position; the filter's shape has the groups."""
    positions = x[2:] if transposed else out[2:]
    return 2 * x[0] * math.prod(positions) * math.prod(weight)


def _convolution_backward(
    grad: Any,
    x: Any,
    weight: Any,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    *rest: Any,
    **_: Any,
) -> int:
    """Each of the two gradients takes as many operations as the forward; torch's formula leaves out the groups."""
    output_mask = rest[2]
    forward = _forward_of_convolution(x.shape, weight.shape, grad.shape, transposed)
    return forward * int(output_mask[0]) + forward * int(output_mask[1])


def _mm(a: Any, b: Any, **_: Any) -> int | None:
    """2 mkn, or for a sparse matrix two operations per stored element and column."""
    if a.layout is not torch.strided and b.layout is torch.strided:
        return 2 * int(a._nnz()) * int(b.shape[1])
    if a.layout is torch.strided and b.layout is torch.strided:
        return 2 * int(a.numel()) * int(b.shape[1])
    return None


def _addmm(_: Any, a: Any, b: Any, **options: Any) -> int | None:
    return _mm(a, b, **options)


def _matrix_vector(a: Any, _: Any, **__: Any) -> int:
    return 2 * int(a.numel() if a.layout is torch.strided else a._nnz())


def _grouped_mm(a: Any, b: Any, *_: Any, out_val: Any, **__: Any) -> int:
    """Each row meets the matrix of its group; where the inner dimension is grouped, each of its parts counts once."""
    if a.dim() == 2 and b.dim() == 2:
        return 2 * int(a.numel()) * int(b.shape[1])
    return 2 * int(out_val.numel()) * int(a.shape[-1])


def _rnn_layer(x: Any, w_input: Any, w_hidden: Any, *_: Any, **__: Any) -> int:
    """The gates of oneDNN's recurrent layer: each step multiplies the input and the state by a matrix."""
    steps: int = math.prod(x.shape[:-1])
    return 2 * steps * int(w_input.numel() + w_hidden.numel())


def _linear_by_output(x: Any, *_: Any, out_val: Any, **__: Any) -> int:
    """A linear layer with packed weights: its widths are those of the input and the output."""
    return 2 * int(x.numel()) * int(out_val.shape[-1])


def _addbmm(_: Any, a: Any, b: Any, **__: Any) -> int:
    return 2 * int(a.numel()) * int(b.shape[-1])


def _conv_tbc(_: Any, weight: Any, *__: Any, out_val: Any, **___: Any) -> int:
    return 2 * int(out_val.numel()) * int(weight.shape[0] * weight.shape[1])


def _formulas() -> dict[Any, Callable[..., Any]]:
    """The formulas by operator: torch's, and those that torch 2.13 lacks or has wrong."""
    # A lazy import, because it takes 50 ms.
    from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

    def cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        return sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]

    def cpu_attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        shapes = (grad.shape, query.shape, key.shape, value.shape)
        return sdpa_backward_flop_count(*shapes)  # type: ignore[no-untyped-call]

    aten = torch.ops.aten
    return {
        aten.mm: _mm,
        aten._sparse_mm: _mm,
        aten.addmm: _addmm,
        aten._sparse_addmm: _addmm,
        **{op: formula for op, formula in flop_registry.items() if op not in (aten.mm, aten.addmm)},
        aten.convolution_backward: _convolution_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: cpu_attention_backward,
        aten._scaled_dot_product_fused_attention_overrideable: cpu_attention,
        aten.addbmm: _addbmm,
        aten.conv_tbc: _conv_tbc,
        aten.mv: _matrix_vector,
        aten.addmv: lambda _, a, x, **__: _matrix_vector(a, x),
        aten.dot: _matrix_vector,
        aten.vdot: _matrix_vector,
        aten._int_mm: _mm,
        aten._weight_int8pack_mm: _linear_by_output,
        aten._grouped_mm: _grouped_mm,
        aten._scaled_grouped_mm: _grouped_mm,
        aten.mkldnn_rnn_layer: _rnn_layer,
        aten.mkldnn_rnn_layer_backward: lambda *args, **_: 2 * _rnn_layer(*args),
    }


_QUANTIZED_LINEAR = ("quantized::linear",)
"""Beginnings of the names of quantised linear layers, whose packed weights have no shape."""


class _FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of every operator that has a formula; composite operators are decomposed first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.unknown: dict[str, None] = {}
        self._formulas = _formulas()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip dynamo torch would have to import it, and nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _asks_for_layout(func):
            return NotImplemented  # nested tensors answer these themselves; to decompose them ends the process
        formula = self._formulas.get(getattr(func, "_overloadpacket", None))
        wrapper = next((kind for kind in types if kind.__torch_dispatch__ is not _no_dispatch()), None)
        if wrapper is not None:
            with self:  # so that the operators on the tensors inside are counted
                result = wrapper.__torch_dispatch__(func, types, args, kwargs)
            if result is not NotImplemented:
                return result
        if wrapper is None and any(t.is_nested for t in tree.tensors((args, kwargs))):
            if formula is not None or func._can_decompose():
                self.unknown[_name(func)] = None  # a nested tensor has no sizes to count with or to decompose by
            return func(*args, **kwargs)
        if formula is None and isinstance(func, torch._ops.OpOverload) and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self._add(func, formula, args, kwargs, result)
        return result

    def _add(self, func: Any, formula: Callable[..., Any] | None, args: Any, kwargs: Any, result: Any) -> None:
        name = _name(func)
        if name.startswith(_QUANTIZED_LINEAR):
            formula = _linear_by_output
        if formula is None:
            namespace, _, short = name.partition("::")
            if namespace not in WITHOUT_PRODUCTS or short.startswith(UNKNOWN_PRODUCTS):
                self.unknown[name] = None
            return
        try:
            count = formula(*args, **kwargs, out_val=result)
        except Exception:  # a formula of torch or of the user that does not cover these arguments, such as nested ones
            count = None
        if count is None:
            self.unknown[name] = None
        else:
            self.total += int(count) * (COMPLEX_FACTOR if _is_complex(result) else 1)


def _is_complex(result: Any) -> bool:
    return isinstance(result, torch.Tensor) and result.is_complex()


def _name(func: Any) -> str:
    """The name of an operator without its overload, for example ``aten::mm``."""
    return str(getattr(func, "_schema", func)).partition("(")[0].partition(".")[0]


@functools.cache
def _layout_queries() -> frozenset[Any]:
    """The operators by which torch asks a tensor for its sizes and strides."""
    aten = torch.ops.aten
    packets = (
        *(aten.size, aten.sym_size, aten.stride, aten.sym_stride, aten.storage_offset, aten.sym_storage_offset),
        *(aten.numel, aten.sym_numel, aten.dim, aten.is_contiguous, aten.sym_is_contiguous),
        *(aten.is_strides_like_format, aten.is_non_overlapping_and_dense, torch.ops.prim.layout),
    )
    return frozenset(packets)


def _asks_for_layout(func: Any) -> bool:
    return getattr(func, "_overloadpacket", None) in _layout_queries()


def _no_dispatch() -> Any:
    """The ``__torch_dispatch__`` of tensors that have none of their own."""
    return torch.Tensor.__torch_dispatch__


def count_flops(call: Callable[[], Any]) -> FlopCount:
    """Count the floating-point operations of one *call*, and name the operators that can't be counted."""
    counter = _FlopCounter()
    with as_written(), counter:
        call()
    return FlopCount(counter.total, tuple(counter.unknown))
