"""Time by phase, module path, op and kernel: the leaves of a treemap.

All times are ns: of kernels or, in a trace without kernels, the self time of ops.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from ttprof.trace.analyses.modules import work_of
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.groups import sums

Phase = Literal["forward", "backward"]


class TimeLeaf(msgspec.Struct, frozen=True):
    """All work of one kernel, by the op that launched it and the module that called the op.

    ``path`` is null outside any module, ``op`` outside any op, and ``kernel`` in a trace without kernels.
    """

    phase: Phase
    path: str | None
    op: str | None
    kernel: str | None
    count: int
    time_ns: int


def leaves(attribution: Attribution) -> list[TimeLeaf]:
    """The leaves that took time, the longest first."""
    trace, work = attribution.trace, work_of(attribution)
    kernel = trace.kernels.name if len(trace.kernels) else np.full(len(work.op), UNKNOWN, dtype=np.int64)
    keys = np.stack(
        (
            (take(attribution.backward_op, work.op) != UNKNOWN).astype(np.int64),
            work.module,
            take(trace.ops.name, work.op),
            kernel,
        )
    )
    if not keys.shape[1]:
        return []
    leaf, group = np.unique(keys, axis=1, return_inverse=True)
    group = group.reshape(-1)
    time_ns, counts = sums(group, work.time_ns, leaf.shape[1]), np.bincount(group, minlength=leaf.shape[1])
    rows = [
        TimeLeaf(
            "backward" if leaf[0, i] else "forward",
            _name(attribution.modules.paths, leaf[1, i]),
            _name(trace.names, leaf[2, i]),
            _name(trace.names, leaf[3, i]),
            int(counts[i]),
            int(time_ns[i]),
        )
        for i in np.flatnonzero(time_ns).tolist()
    ]
    return sorted(rows, key=lambda row: (-row.time_ns, row.phase, str(row.path), str(row.op), str(row.kernel)))


def _name(names: tuple[str, ...], index: Int) -> str | None:
    return None if index == UNKNOWN else names[int(index)]
