"""Tables that grow block by block: parts enter, one array per column leaves.

Many small arrays that are joined at the end would be in memory twice; here each column is one array from the start,
which the system lengthens in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = dict[str, NDArray[Any]]

FIRST_ROWS = 1 << 10


class GrowingTable:
    """Columns of the same length; the first part decides which there are."""

    def __init__(self) -> None:
        self._length = 0
        self._columns: Table = {}

    def add(self, part: Table) -> None:
        """Append the rows of *part*."""
        room = self.room(len(next(iter(part.values()))), {name: values.dtype for name, values in part.items()})
        for name, values in part.items():
            room[name][:] = values

    def room(self, count: int, kinds: dict[str, np.dtype[Any]]) -> Table:
        """Append *count* rows that the caller fills: views that hold until the next call."""
        if not self._columns:
            self._columns = {name: np.empty(FIRST_ROWS, kind) for name, kind in kinds.items()}
        start, self._length = self._length, self._length + count
        for column in self._columns.values():
            if len(column) < self._length:
                column.resize(max(self._length, 2 * len(column)), refcheck=False)
        return {name: column[start : self._length] for name, column in self._columns.items()}

    def done(self) -> Table:
        """The columns, as long as they are filled. Nothing can be added afterwards."""
        for column in self._columns.values():
            column.resize(self._length, refcheck=False)
        return self._columns
