"""The JSON of several runs: results enter, one file with a list of them leaves.

``ttprof.result.load_all`` reads it back; ``ttprof report``, ``ttprof compare`` and ``--baseline`` take it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ttprof.report.outputs import write_text
from ttprof.result import SuiteResult


def write(results: Sequence[SuiteResult], path: Path) -> None:
    """Write all results as a list, however many there are. Raises ResultFileError when that fails."""
    write_text(path, msgspec.json.format(msgspec.json.encode(list(results)), indent=1).decode() + "\n")
