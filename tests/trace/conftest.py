"""Fixtures that read handwritten events."""

from __future__ import annotations

import kineto_files
import pytest

from ttprof.trace.attribution import Attribution
from ttprof.trace.formats import kineto


@pytest.fixture
def read(tmp_path):
    """Reads events, and fields of the file such as ``deviceProperties``, as a trace."""
    return lambda events, **top: kineto.read(kineto_files.write(tmp_path / "t.json", events, **top))


@pytest.fixture
def attribute(read):
    """Reads events, and attributes their work to ops and modules."""
    return lambda events, **top: Attribution(read(events, **top))
