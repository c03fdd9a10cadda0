"""Time by module path, then op, then kernel, forward apart from backward: the leaves of a treemap.

A trace with its attribution enters; one row for each (phase, module, op, kernel) that took time leaves. All times are
ns: of kernels, or in a trace without kernels the self time of ops.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from ttprof.trace.analyses.modules import work_of
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import picked
from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.groups import sums

Phase = Literal["forward", "backward"]


class Leaf(msgspec.Struct, frozen=True):
    """Work of one kind: what no module called has the path null, what no op launched the op null.

    ``kernel`` is null in a trace without kernels.
    """

    phase: Phase
    path: str | None
    op: str | None
    kernel: str | None
    count: int
    time_ns: int


def leaves(owners: Attribution) -> list[Leaf]:
    """The leaves, those that took longest first."""
    trace, work = owners.trace, work_of(owners)
    kernel = trace.kernels.name if len(trace.kernels) else np.full(len(work.op), UNKNOWN, dtype=np.int64)
    keys = np.stack(
        (
            (picked(owners.backward_op, work.op) != UNKNOWN).astype(np.int64),
            work.module,
            picked(trace.ops.name, work.op),
            kernel,
        )
    )
    if not keys.shape[1]:
        return []
    found, group = np.unique(keys, axis=1, return_inverse=True)
    group = group.reshape(-1)
    time_ns, counts = sums(group, work.time_ns, found.shape[1]), np.bincount(group, minlength=found.shape[1])
    rows = [
        Leaf(
            "backward" if found[0, i] else "forward",
            _named(owners.modules.paths, found[1, i]),
            _named(trace.names, found[2, i]),
            _named(trace.names, found[3, i]),
            int(counts[i]),
            int(time_ns[i]),
        )
        for i in np.flatnonzero(time_ns).tolist()
    ]
    return sorted(rows, key=lambda row: (-row.time_ns, row.phase, str(row.path), str(row.op), str(row.kernel)))


def _named(names: tuple[str, ...], index: Int) -> str | None:
    return None if index == UNKNOWN else names[int(index)]
