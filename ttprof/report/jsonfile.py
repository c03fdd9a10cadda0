"""Writes the results of several suites as one JSON list.

``ttprof.result_file.load_all`` reads it back, and so do ``ttprof report``, ``ttprof compare`` and ``--baseline``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ttprof.report.outputs import write_text
from ttprof.result import SuiteResult


def write(results: Sequence[SuiteResult], path: Path) -> None:
    """Write *results* as a list, even if there is only one. Raises ResultFileError if that fails."""
    write_text(path, msgspec.json.format(msgspec.json.encode(list(results)), indent=1).decode() + "\n")
