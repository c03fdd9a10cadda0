"""Counts the floating-point operations of operators, by the formulas of torch.utils.flop_counter and some of our own.

torch's own FlopCounterMode is avoided because its first use imports the compiler (torch._dynamo), which takes most of a
second, and because it counts an operator without a formula as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ttprof.plan import tree


@dataclass(frozen=True)
class FlopCount:
    """The operations of one call, and the operators that it ran for which nobody knows how many they are.

    ``by_dtype`` splits the total by the name of the dtype that is multiplied, for example ``bfloat16``.
    """

    total: int
    unknown: tuple[str, ...] = ()
    by_dtype: Mapping[str, int] = field(default_factory=dict, compare=False)


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
    "_cdist_",
    "_pdist_",
    "_euclidean_dist",
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


class FlopTally:
    """Adds up the operations of operators, by the dtype that they multiply in."""

    def __init__(self) -> None:
        self._by_dtype: dict[str, int] = {}
        self._unknown: dict[str, None] = {}
        self._formulas = _formulas()

    @property
    def count(self) -> FlopCount:
        """The sum so far."""
        return FlopCount(sum(self._by_dtype.values()), tuple(self._unknown), dict(self._by_dtype))

    def formula(self, func: Any) -> Callable[..., Any] | None:
        """The formula for the operations of *func*, or None."""
        return self._formulas.get(getattr(func, "_overloadpacket", None))

    def miss(self, name: str) -> None:
        """Note an operator that can't be counted."""
        self._unknown[name] = None

    def add(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add the operator *name* with its arguments and its result."""
        formula = _linear_by_output if name.startswith(_QUANTIZED_LINEAR) else self.formula(func)
        if formula is None:
            namespace, _, short = name.partition("::")
            if namespace not in WITHOUT_PRODUCTS or short.startswith(UNKNOWN_PRODUCTS):
                self.miss(name)
            return
        try:
            count = formula(*args, **kwargs, out_val=result)
        except Exception:  # a formula of torch or of the user that does not cover these arguments, such as nested ones
            count = None
        if count is None:
            self.miss(name)
        elif count:
            dtype = _dtype(name, args)
            factor = COMPLEX_FACTOR if _is_complex(result) else 1
            self._by_dtype[dtype] = self._by_dtype.get(dtype, 0) + int(count) * factor


def _dtype(name: str, args: Any) -> str:
    """The name of the dtype in which an operator multiplies: that of its first tensor with a dimension.

    On a GPU products of float32 may be computed in TensorFloat-32 (``tf32``), and so may complex ones.
    """
    tensor = next((t for t in tree.tensors(args) if t.dim()), None)
    if tensor is None:
        return str(torch.get_default_dtype()).removeprefix("torch.")
    dtype = str(tensor.dtype).removeprefix("torch.")
    dtype = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    if dtype == "float32" and tensor.device.type == "cuda" and _uses_tf32("conv" in name):
        return "tf32"
    if dtype.startswith("float8"):
        return "float8"
    return "int8" if dtype in ("int8", "uint8", "qint8", "quint8") else dtype


def _uses_tf32(convolution: bool) -> bool:
    if convolution:
        return bool(torch.backends.cudnn.allow_tf32)
    return torch.get_float32_matmul_precision() != "highest"


def _is_complex(result: Any) -> bool:
    return isinstance(result, torch.Tensor) and result.is_complex()
