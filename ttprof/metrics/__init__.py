"""The table of metrics: importing this package fills the registry, one function per metric, in this order."""

# isort: off
from ttprof.metrics import latency, kernels, memory, flops, numerics, reference, trace

# isort: on
from ttprof.metrics.metric import REGISTRY, Metric, find, measure_all

__all__ = [
    "REGISTRY",
    "Metric",
    "find",
    "flops",
    "kernels",
    "latency",
    "measure_all",
    "memory",
    "numerics",
    "reference",
    "trace",
]
