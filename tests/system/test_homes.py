"""Home folders in texts become ``~``; everything else stays."""

from __future__ import annotations

import msgspec
import pytest

from ttprof.system.homes import struct_without_homes, without_homes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/proj/gate.py:12", "~/proj/gate.py:12"),
        ("raised (at /home/alice/m.py:3)", "raised (at ~/m.py:3)"),
        ("/mnt/home/alice/x and /Users/Bob/y", "~/x and ~/y"),
        ("/root/gate.py:1", "~/gate.py:1"),
        (r"C:\Users\alice\gate.py", r"~\gate.py"),
        ("C:/Users/Al Smith/gate.py", "~/gate.py"),
        ("file '/home/alice'", "file '~'"),
        ("/opt/proj/gate.py:1", "/opt/proj/gate.py:1"),
        ("/rootless/x", "/rootless/x"),
        ("model.home/alice", "model.home/alice"),
        ("a ratio of 3/home", "a ratio of 3/home"),
    ],
)
def test_home_folders_are_shortened(text, shown):
    assert without_homes(text) == shown


class Leaf(msgspec.Struct, frozen=True):
    texts: list[str]
    numbers: list[float]


def test_every_text_of_a_struct_is_shortened():
    assert struct_without_homes(Leaf(["/home/alice/x", "y"], [1.0])) == Leaf(["~/x", "y"], [1.0])
