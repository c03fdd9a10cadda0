"""The registry of metrics, one function each; importing this package fills it in the order of the imports."""

# isort: off
from ttprof.metrics import latency, kernels, memory, work, exact, numerics, reference, trace

# isort: on
from ttprof.metrics.metric import REGISTRY, Metric, find, measure_all

__all__ = [
    "REGISTRY",
    "Metric",
    "exact",
    "find",
    "kernels",
    "latency",
    "measure_all",
    "memory",
    "numerics",
    "reference",
    "trace",
    "work",
]
