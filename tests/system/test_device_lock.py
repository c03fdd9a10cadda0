"""Only one suite at a time measures on a device."""

from __future__ import annotations

import pytest
from filelock import Timeout

from ttprof.system import device_lock
from ttprof.system.device_lock import exclusive, lock_path


@pytest.fixture(autouse=True)
def private_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(device_lock.tempfile, "gettempdir", lambda: str(tmp_path))


def test_a_second_suite_reports_that_it_waits_until_the_first_has_finished():
    messages = []
    with exclusive("cpu", messages.append):
        assert messages == []
        with pytest.raises(Timeout), exclusive("cpu", messages.append, timeout=0):
            pytest.fail("two suites hold the lock")
        with exclusive("cuda:0", messages.append, environ={}):
            pass
    assert messages == ["waiting for cpu: another suite runs on it"]
    with exclusive("cpu", messages.append, timeout=0):
        assert len(messages) == 1


def test_the_lock_is_released_when_the_suite_raises():
    with pytest.raises(KeyboardInterrupt), exclusive("cpu", print):
        raise KeyboardInterrupt
    with exclusive("cpu", lambda message: pytest.fail(message), timeout=0):
        pass


def test_a_gpu_has_one_lock_under_every_index_that_a_process_sees():
    path = lock_path("cuda:1", {"CUDA_VISIBLE_DEVICES": "5,7"})
    assert path == lock_path("cuda", {"CUDA_VISIBLE_DEVICES": "7"}) == lock_path("cuda:7", {})
    assert path == lock_path("cuda:0", {"HIP_VISIBLE_DEVICES": "7"})
    assert path != lock_path("cuda:1", {}) and lock_path("cuda", {}) == lock_path("cuda:0", {})
    assert "/" not in lock_path("cuda", {"CUDA_VISIBLE_DEVICES": "GPU-1/2"}).name
