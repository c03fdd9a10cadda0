"""Tells the ranks apart in one Kineto file that a serving engine merged of several: their ids repeat.

SGLang's profile merger writes the rank before every process id (``[TP00] 100``), of host and device alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.formats.growing import ArrayTable

_TAG = re.compile(r"\s*\[([^\]]+)\]\s*\S")
_ID_BITS = 44
"""Bits of an id of one rank; the number of the rank is put above them."""

_IDS = ("correlation", "external", "sequence", "id")
_DEVICES = ("device", "device_index")


def separate(tables: dict[str, ArrayTable], threads: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """Make the ids and devices of each rank its own; returns the names of the ranks, none unless there are several."""
    tags = [_tag(pid) for pid, _ in threads]
    ranks = tuple(sorted({tag for tag in tags if tag is not None}))
    if len(ranks) < 2:
        return ()
    number = np.array([UNKNOWN if tag is None else ranks.index(tag) for tag in tags], dtype=np.int64)
    for table in tables.values():
        if "thread" not in table:
            continue
        rank = number[table["thread"]]
        for column in _IDS:
            if column in table:
                ids = table[column]
                own = (ids != UNKNOWN) & (rank != UNKNOWN) & (np.abs(ids) < 1 << _ID_BITS)
                table[column] = np.where(own, ids + (rank << _ID_BITS), ids)
    _separate_devices(tables, number)
    return ranks


def _tag(pid: Any) -> str | None:
    match = _TAG.match(pid) if isinstance(pid, str) else None
    return None if match is None else match[1]


def _separate_devices(tables: dict[str, ArrayTable], number: Int) -> None:
    """Renumber the devices if two ranks have the same one: each process numbers those that it sees from 0."""
    of_rank: dict[int, set[int]] = {}
    for table in tables.values():
        for device, rank in _pairs(table, number):
            of_rank.setdefault(device, set()).add(rank)
    if all(len(ranks) < 2 for ranks in of_rank.values()):
        return
    numbers = {pair: i for i, pair in enumerate(sorted((r, d) for d, ranks in of_rank.items() for r in ranks))}
    for table in tables.values():
        for column in _DEVICES:
            if column in table and "thread" in table:
                rank, device = number[table["thread"]].tolist(), table[column].tolist()
                own = [numbers.get(pair, pair[1]) for pair in zip(rank, device, strict=True)]
                table[column] = np.array(own, dtype=np.int64)


def _pairs(table: ArrayTable, number: Int) -> list[tuple[int, int]]:
    """The distinct pairs of a device and a rank in a table."""
    pairs = []
    for column in _DEVICES:
        if column in table and "thread" in table and len(table[column]):
            both = np.unique(np.stack((table[column], number[table["thread"]])), axis=1)
            pairs += [(device, rank) for device, rank in both.T.tolist() if device != UNKNOWN and rank != UNKNOWN]
    return pairs
