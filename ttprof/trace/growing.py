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
        count = len(next(iter(part.values())))
        if not self._columns:
            self._columns = {name: np.empty(FIRST_ROWS, column.dtype) for name, column in part.items()}
        end = self._length + count
        for name, values in part.items():
            column = self._columns[name]
            if len(column) < end:
                column.resize(max(end, 2 * len(column)), refcheck=False)
            column[self._length : end] = values
        self._length = end

    def done(self) -> Table:
        """The columns, as long as they are filled. Nothing can be added afterwards."""
        for column in self._columns.values():
            column.resize(self._length, refcheck=False)
        return self._columns
