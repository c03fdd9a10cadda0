"""The peaks of devices, as their makers state them: dense products without sparsity, and the bandwidth of the memory.

``ttprof doctor --peaks`` compares a row with a short measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StatedPeaks:
    """Peak rates in TFLOP/s by dtype (``tf32`` for float32 products in TensorFloat-32), and bandwidth in GB/s."""

    tflops: Mapping[str, float]
    bandwidth_gb_s: float


def _nvidia(
    fp64: float, fp32: float, tf32: float | None, half: float, int8: float | None, fp8: float | None, gb_s: float
) -> StatedPeaks:
    """A row with the columns of NVIDIA's data sheets; the rate of float64 is that of the tensor cores, if they have it.

    Data sheets of GPUs from Ada and Hopper on state rates with sparsity: the rows have half of them.
    """
    rates = {"float64": fp64, "float32": fp32, "tf32": tf32, "float16": half, "int8": int8, "float8": fp8}
    if tf32 is not None:  # since Ampere; before it bfloat16 is emulated
        rates["bfloat16"] = half
    return StatedPeaks({dtype: rate for dtype, rate in rates.items() if rate is not None}, gb_s)


def _amd(fp64: float, fp32: float, half: float, int8: float, fp8: float | None, gb_s: float) -> StatedPeaks:
    """A row with the matrix rates of AMD's data sheets."""
    rates = {"float64": fp64, "float32": fp32, "float16": half, "bfloat16": half, "int8": int8}
    return StatedPeaks({**rates, **({"float8": fp8} if fp8 is not None else {})}, gb_s)


_V100 = _nvidia(7.8, 15.7, None, 125, None, None, 900)
_A100 = (19.5, 19.5, 156, 312, 624, None)
_H100_SXM = (67, 67, 494.7, 989.4, 1979, 1979)
_H100_NVL = (60, 60, 417.5, 835.5, 1671, 1671)

PEAKS: dict[str, StatedPeaks] = {
    "Tesla V100-SXM2-16GB": _V100,
    "Tesla V100-SXM2-32GB": _V100,
    "Tesla V100-PCIE-16GB": _nvidia(7, 14, None, 112, None, None, 900),
    "Tesla V100-PCIE-32GB": _nvidia(7, 14, None, 112, None, None, 900),
    "Tesla T4": _nvidia(0.25, 8.1, None, 65, 130, None, 320),
    "NVIDIA A10": _nvidia(0.98, 31.2, 62.5, 125, 250, None, 600),
    "NVIDIA A30": _nvidia(10.3, 10.3, 82, 165, 330, None, 933),
    "NVIDIA A40": _nvidia(0.58, 37.4, 74.8, 149.7, 299.3, None, 696),
    "NVIDIA A100-SXM4-40GB": _nvidia(*_A100, 1555),
    "NVIDIA A100-PCIE-40GB": _nvidia(*_A100, 1555),
    "NVIDIA A100-SXM4-80GB": _nvidia(*_A100, 2039),
    "NVIDIA A100 80GB PCIe": _nvidia(*_A100, 1935),
    "NVIDIA RTX A6000": _nvidia(0.6, 38.7, 77.4, 154.8, 309.7, None, 768),
    "NVIDIA L4": _nvidia(0.47, 30.3, 60, 121, 242, 242, 300),
    "NVIDIA L40": _nvidia(1.4, 90.5, 90.5, 181, 362, 362, 864),
    "NVIDIA L40S": _nvidia(1.4, 91.6, 183, 362, 733, 733, 864),
    "NVIDIA H100 80GB HBM3": _nvidia(*_H100_SXM, 3350),
    "NVIDIA H100 PCIe": _nvidia(51, 51, 378, 756, 1513, 1513, 2000),
    "NVIDIA H100 NVL": _nvidia(*_H100_NVL, 3900),
    "NVIDIA H200": _nvidia(*_H100_SXM, 4800),
    "NVIDIA H200 NVL": _nvidia(*_H100_NVL, 4800),
    "NVIDIA GH200 480GB": _nvidia(*_H100_SXM, 4000),
    "NVIDIA GeForce RTX 3090": _nvidia(0.56, 35.6, 35.6, 71, 284, None, 936),
    "NVIDIA GeForce RTX 4090": _nvidia(1.3, 82.6, 82.6, 165.2, 660.6, 330.3, 1008),
    "AMD Instinct MI210": _amd(45.3, 45.3, 181, 181, None, 1638),
    "AMD Instinct MI300X": _amd(163.4, 163.4, 1307.4, 2614.9, 2614.9, 5300),
    "AMD Instinct MI325X": _amd(163.4, 163.4, 1307.4, 2614.9, 2614.9, 6000),
}
"""Peaks by the exact name that torch reports. A part of a GPU (MIG) has another name, so it is measured."""
