"""Files of other projects that some tests compare with; ``make peers`` downloads them without installing anything."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / ".cache" / "peers"


def peer_file(package: str, name: str) -> bytes:
    """Read the file of a package whose path ends in *name*; skips the test if the package was not downloaded."""
    archive = PEERS / package
    if not archive.is_file():
        pytest.skip(f"{package} is missing: make peers downloads it")
    with tarfile.open(archive) as packed:
        (member,) = (member for member in packed if member.name.endswith(f"/{name}"))
        return packed.extractfile(member).read()
