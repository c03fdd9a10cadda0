"""Tables that grow block by block.

Joining many small arrays at the end would need twice the memory, so each column is a single array that is resized in
place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ArrayTable = dict[str, NDArray[Any]]

FIRST_ROWS = 1 << 10


class GrowingTable:
    """Columns of equal length, which the first part determines."""

    def __init__(self) -> None:
        self._length = 0
        self._columns: ArrayTable = {}

    def add(self, part: ArrayTable) -> None:
        """Append the rows of *part*."""
        views = self.extend(len(next(iter(part.values()))), {name: values.dtype for name, values in part.items()})
        for name, values in part.items():
            views[name][:] = values

    def extend(self, count: int, dtypes: dict[str, np.dtype[Any]]) -> ArrayTable:
        """Append *count* rows for the caller to fill; the views returned are valid until the next call."""
        if not self._columns:
            self._columns = {name: np.empty(FIRST_ROWS, dtype) for name, dtype in dtypes.items()}
        start, self._length = self._length, self._length + count
        for column in self._columns.values():
            if len(column) < self._length:
                column.resize(max(self._length, 2 * len(column)), refcheck=False)
        return {name: column[start : self._length] for name, column in self._columns.items()}

    def finish(self) -> ArrayTable:
        """Trim the columns to their rows and return them. Nothing can be added afterwards."""
        for column in self._columns.values():
            column.resize(self._length, refcheck=False)
        return self._columns
