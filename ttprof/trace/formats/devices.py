"""Refuses a trace with more devices and streams than any machine has: each is analysed on its own."""

from __future__ import annotations

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import MOST_DEVICES
from ttprof.trace.events import Trace


def checked(trace: Trace) -> Trace:
    """Return the trace.

    Raises:
        TraceError: more than ``MOST_DEVICES`` devices are described, did work on a stream, or allocated memory.
    """
    work, memory = trace.device_work, trace.memory
    counts = {
        "devices": len(trace.devices),
        "streams of devices": _pairs(work.device, work.stream),
        "devices with memory": _pairs(memory.device_type, memory.device_index),
    }
    for what, count in counts.items():
        if count > MOST_DEVICES:
            text = (
                f"{count} {what}, more than the {MOST_DEVICES} of any recording: the file is damaged, or made by hand"
            )
            raise TraceError(text, TraceErrorCode.TOO_LARGE, trace.path)
    return trace


def _pairs(first: np.ndarray, second: np.ndarray) -> int:
    """The number of distinct pairs of two columns."""
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    return len(a) and 1 + int(np.count_nonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])))
