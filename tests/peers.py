"""Files of other projects that some tests compare with, as ``make peers`` fetches them; none of them is installed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / ".cache" / "peers"


def peer_file(package: str, name: str) -> bytes:
    """A file of a package by the end of its path; skips the test where the package was not fetched."""
    archive = PEERS / package
    if not archive.is_file():
        pytest.skip(f"{package} is not here: make peers fetches it")
    with tarfile.open(archive) as packed:
        (found,) = (member for member in packed if member.name.endswith(f"/{name}"))
        return packed.extractfile(found).read()
