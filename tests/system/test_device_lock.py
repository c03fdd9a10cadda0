"""Only one suite at a time measures on a device, and a suite never fails or hangs for want of a lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock, Timeout

from ttprof.system import device_lock, lock_holder
from ttprof.system.device_lock import exclusive, lock_path

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs and no signals")


@pytest.fixture(autouse=True)
def private_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(device_lock.tempfile, "gettempdir", lambda: str(tmp_path))


def holder_path() -> Path:
    return Path(f"{lock_path('cpu')}.holder")


def note(pid: int, command: str = "ttprof run gate.py", since: float = 0.0) -> None:
    """Say who holds the lock of the CPU, as that process would."""
    holder_path().write_bytes(msgspec.json.encode({"pid": pid, "command": command, "since": since}))


@pytest.fixture
def held_elsewhere():
    """The lock of the CPU is held by something that left no note."""
    lock = FileLock(lock_path("cpu"))
    with lock:
        yield lock


def waiting_messages() -> list[str]:
    messages: list[str] = []
    with pytest.raises(Timeout), exclusive("cpu", messages.append, timeout=0):
        pytest.fail("two suites hold the lock")
    return messages


def test_a_second_suite_reports_that_it_waits_until_the_first_has_finished(held_elsewhere):
    assert waiting_messages() == ["waiting for cpu: another suite runs on it"]
    with exclusive("cuda:0", pytest.fail, environ={}):
        pass
    held_elsewhere.release()
    with exclusive("cpu", pytest.fail, timeout=0):
        pass


def test_the_message_names_the_holder(held_elsewhere):
    midday = time.mktime((2020, 2, 3, 12, 3, 0, 0, 0, -1))
    note(os.getpid(), since=midday)
    (message,) = waiting_messages()
    who = f"pid {os.getpid()}, ttprof run gate.py, since 2020-02-03 12:03"
    assert message == f"waiting for cpu: another suite runs on it ({who})"


def test_a_holder_of_today_has_a_time_without_a_date(held_elsewhere):
    now = time.time()
    note(os.getpid(), since=now)
    assert waiting_messages()[0].endswith(f"since {time.strftime('%H:%M', time.localtime(now))})")


def test_this_process_is_noted_while_it_holds_the_lock_and_not_longer():
    with exclusive("cpu", pytest.fail):
        holder = lock_holder.read(holder_path())
        assert holder is not None and holder.pid == os.getpid() and holder.command
    assert not holder_path().exists()


def test_the_message_comes_again_while_the_wait_goes_on(held_elsewhere, monkeypatch):
    monkeypatch.setattr(device_lock, "REMINDER_S", 0.0)
    messages: list[str] = []

    def on_wait(message: str) -> None:
        messages.append(message)
        if len(messages) == 3:
            held_elsewhere.release()

    with exclusive("cpu", on_wait):
        pass
    assert messages == [
        "waiting for cpu: another suite runs on it",
        "still waiting for cpu: another suite runs on it",
        "still waiting for cpu: another suite runs on it",
    ]


@posix
@pytest.mark.parametrize("text", [b"", b"{", b'{"pid": "x"}', b'{"pid": 1, "command": "x", "since": 1e300}'])
def test_a_damaged_note_is_no_holder(held_elsewhere, text):
    holder_path().write_bytes(text)
    assert waiting_messages() == ["waiting for cpu: another suite runs on it"]


@posix
def test_a_note_that_is_a_fifo_or_a_link_is_not_read_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    holder_path().symlink_to(victim)
    with exclusive("cpu", pytest.fail):
        assert not holder_path().is_symlink()
    os.mkfifo(holder_path())
    assert lock_holder.read(holder_path()) is None
    assert victim.read_text() == "untouched"


def test_a_note_can_not_forge_a_line_or_an_escape(held_elsewhere):
    note(os.getpid(), "x\n::error::forged\x1b[2J")
    assert "\n" not in waiting_messages()[0] and "\x1b" not in waiting_messages()[0]


HOLD = """
import sys, tempfile
from ttprof.system import device_lock
tempfile.tempdir = sys.argv[1]
with device_lock.exclusive("cpu", print):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@posix
def test_the_lock_of_a_killed_process_is_free_although_its_files_remain(tmp_path):
    process = holding_process(tmp_path)
    assert f"(pid {process.pid}, -c" in waiting_messages()[0]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock_path("cpu").exists() and holder_path().exists()
    with exclusive("cpu", pytest.fail, timeout=0):
        assert lock_holder.read(holder_path()).pid == os.getpid()


@posix
def test_a_holder_that_has_ended_is_named_as_the_one_that_left_it(held_elsewhere):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    note(ended.pid)
    assert f"(a process that pid {ended.pid} left behind, ttprof run gate.py, since " in waiting_messages()[0]


def test_the_note_of_another_process_is_not_removed(held_elsewhere):
    note(os.getpid() + 1)
    lock_holder.remove(holder_path())
    assert holder_path().exists()


def test_the_lock_is_released_when_the_suite_raises():
    with pytest.raises(KeyboardInterrupt), exclusive("cpu", print):
        raise KeyboardInterrupt
    with exclusive("cpu", pytest.fail, timeout=0):
        pass


def test_a_suite_inside_a_suite_does_not_wait_for_itself():
    with exclusive("cpu", pytest.fail), exclusive("cpu", pytest.fail):
        pass


def test_a_suite_in_another_thread_waits():
    messages: list[str] = []
    with exclusive("cpu", pytest.fail):
        thread = threading.Thread(target=lambda: messages.extend(waiting_messages()))
        thread.start()
        thread.join()
    assert len(messages) == 1 and f"(pid {os.getpid()}, " in messages[0]


def _link(path: Path) -> None:
    path.with_name("victim").write_text("untouched")
    path.symlink_to(path.with_name("victim"))


IN_THE_WAY = {"link": _link, "FIFO": os.mkfifo, "folder": Path.mkdir} if hasattr(os, "mkfifo") else {}


@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_something_else_at_the_path_of_the_lock_is_left_alone(tmp_path, kind):
    IN_THE_WAY[kind](lock_path("cpu"))
    messages: list[str] = []
    with exclusive("cpu", messages.append):
        pass
    why = f"{lock_path('cpu')}: not a regular file"
    assert messages == [f"running on cpu without its lock ({why}): another suite may slow it"]
    assert kind != "link" or (tmp_path / "victim").read_text() == "untouched"


@posix
def test_another_users_file_at_the_path_of_the_lock_is_left_alone(monkeypatch):
    lock_path("cpu").touch()
    path, owner = lock_path("cpu"), os.getuid()
    monkeypatch.setattr(device_lock, "lock_path", lambda device, environ: path)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    messages: list[str] = []
    with exclusive("cpu", messages.append):
        pass
    assert messages == [f"running on cpu without its lock ({path}: another user's file): another suite may slow it"]


def test_without_a_temporary_folder_a_suite_runs_without_a_lock(monkeypatch):
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(device_lock.tempfile, "gettempdir", nowhere)
    messages: list[str] = []
    with exclusive("cpu", messages.append):
        pass
    (message,) = messages
    assert message.startswith("running on cpu without its lock (No usable temporary directory found in ['/tmp'])")


def test_a_file_system_without_locks_is_no_obstacle(monkeypatch):
    def unsupported(self: FileLock, timeout: float) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    messages: list[str] = []
    with exclusive("cpu", messages.append):
        pass
    assert "(FileSystem does not appear to support flock)" in messages[0]


def test_a_gpu_has_one_lock_under_every_index_that_a_process_sees():
    path = lock_path("cuda:1", {"CUDA_VISIBLE_DEVICES": "5,7"})
    assert path == lock_path("cuda", {"CUDA_VISIBLE_DEVICES": "7"}) == lock_path("cuda:7", {})
    assert path == lock_path("cuda:0", {"HIP_VISIBLE_DEVICES": "7"})
    assert path != lock_path("cuda:1", {}) and lock_path("cuda", {}) == lock_path("cuda:0", {})
    assert "/" not in lock_path("cuda", {"CUDA_VISIBLE_DEVICES": "GPU-1/2"}).name
