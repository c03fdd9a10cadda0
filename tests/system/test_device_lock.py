"""Nothing else is measured on a device while a suite runs on it."""

from __future__ import annotations

import pytest
from filelock import Timeout

from ttprof.system import device_lock


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(device_lock.tempfile, "gettempdir", lambda: str(tmp_path))


def test_a_second_one_is_told_and_waits_until_the_first_is_through():
    told = []
    with device_lock.alone("cpu", told.append):
        assert told == []
        with pytest.raises(Timeout), device_lock.alone("cpu", told.append, timeout=0):
            pytest.fail("two at once")
        with device_lock.alone("cuda:0", told.append, environ={}):
            pass
    assert told == ["waiting for cpu: another suite runs on it"]
    with device_lock.alone("cpu", told.append, timeout=0):
        assert len(told) == 1


def test_it_is_given_back_when_the_suite_raises():
    with pytest.raises(KeyboardInterrupt), device_lock.alone("cpu", print):
        raise KeyboardInterrupt
    with device_lock.alone("cpu", lambda sentence: pytest.fail(sentence), timeout=0):
        pass


def test_a_card_is_the_same_however_a_process_counts_it():
    seen = device_lock.path("cuda:1", {"CUDA_VISIBLE_DEVICES": "5,7"})
    assert seen == device_lock.path("cuda", {"CUDA_VISIBLE_DEVICES": "7"}) == device_lock.path("cuda:7", {})
    assert seen == device_lock.path("cuda:0", {"HIP_VISIBLE_DEVICES": "7"})
    assert seen != device_lock.path("cuda:1", {}) and device_lock.path("cuda", {}) == device_lock.path("cuda:0", {})
    assert "/" not in device_lock.path("cuda", {"CUDA_VISIBLE_DEVICES": "GPU-1/2"}).name
