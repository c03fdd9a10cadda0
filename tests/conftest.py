"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "traces"


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of recorded GPU traces that lies beside some checkouts."""
    if not SHARED_TRACES.is_dir():
        pytest.skip("the recorded GPU traces (../shared/traces) are not on this machine")
    return SHARED_TRACES


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, so that default paths such as ./traces leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
