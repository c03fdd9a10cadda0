"""Whole files: replaced at once or not at all, and only regular files are read."""

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from ttprof.system import files

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs and no file modes")


def test_replace_writes_utf8_and_creates_folders(tmp_path: Path) -> None:
    written = files.replace(tmp_path / "new" / "a.json", "µ ≤ 5")
    assert written.read_bytes() == "µ ≤ 5".encode()
    assert [path.name for path in written.parent.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "baseline.json"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(target, "new" * 1000)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["baseline.json"]


@posix
def test_replace_keeps_the_mode_of_a_file_and_follows_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    files.replace(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@posix
def test_a_new_file_gets_the_mode_that_open_would_give_it(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    files.replace(tmp_path / "replaced", "")
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "replaced").stat().st_mode


@posix
@pytest.mark.parametrize(("kind", "word"), [("fifo", "a FIFO"), ("device", "a device"), ("folder", "a folder")])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, word: str) -> None:
    path = {"fifo": tmp_path / "fifo", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(OSError, match=word):
        files.open_regular(path)


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with files.open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"
