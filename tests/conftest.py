"""Fixtures that every test folder uses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it: tests are small, and idle threads spin

import hypothesis
import pytest
import torch
from fakes import quiet_machine
from tiny_models import Block

from ttprof import TestSuite
from ttprof.engine import looking

pytest_plugins = ["pytester"]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("COLUMNS", None)  # set by shells and pytest-xdist; it would truncate the output
hypothesis.settings.register_profile("ttprof", deadline=None, derandomize=True)  # independent of time and chance
hypothesis.settings.load_profile("ttprof")

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "traces"


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of recorded GPU traces next to some checkouts; skips the test if it is missing."""
    if not SHARED_TRACES.is_dir():
        pytest.skip("the recorded GPU traces (../shared/traces) are not on this machine")
    return SHARED_TRACES


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The lock of a device is in the temporary folder: in their own, tests wait for no other run on this machine."""
    tmp_path_factory.getbasetemp()  # stays in the temporary folder of the system
    with tempfile.TemporaryDirectory(prefix="ttprof-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)  # read again
        yield


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs every test in an empty folder, so that default paths such as ./traces leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run is judged as on a quiet machine, although the tests run side by side, and does not look again by default.

    A second look takes a process of its own; ``confirm_s=20`` asks for it.
    """
    monkeypatch.setattr(looking, "LEAST_S", 0.0)
    monkeypatch.setattr(looking, "SHARE", 0.0)
    with quiet_machine():
        yield


@pytest.fixture
def model() -> Block:
    """The small model of most tests, with fixed weights."""
    torch.manual_seed(0)
    return Block()


@pytest.fixture
def suite(model: Block) -> TestSuite:
    """A quiet suite of that model, with short inputs and little time per case."""
    return TestSuite(model, batch_size=2, seq_len=16, quiet=True, seconds_per_case=0.2)
