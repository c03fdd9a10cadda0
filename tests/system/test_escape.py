"""Control characters in text and in structs."""

from __future__ import annotations

import msgspec

from ttprof.codes import Note, NoteCode
from ttprof.system.escape import visible_struct


class Leaf(msgspec.Struct, frozen=True):
    name: str
    count: int | None = None


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    leaf: Leaf
    code: NoteCode
    leaves: list[Leaf]
    pair: tuple[str, list[str]]
    table: dict[str, Leaf]
    note: Note


def test_every_string_of_a_struct_becomes_visible_and_everything_else_stays():
    note = Note(NoteCode.WAITED, "b\n")
    tree = Tree(
        leaf=Leaf("a\x1b", 1),
        code=NoteCode.WAITED,
        leaves=[Leaf("plain"), Leaf("\u202e")],
        pair=("\r", ["\x9b"]),
        table={"k\n": Leaf("v\n")},
        note=note,
    )
    assert visible_struct(tree) == Tree(
        leaf=Leaf(r"a\x1b", 1),
        code=NoteCode.WAITED,
        leaves=[Leaf("plain"), Leaf(r"\u202e")],
        pair=(r"\r", [r"\x9b"]),
        table={r"k\n": Leaf(r"v\n")},
        note=note,
    )
    assert visible_struct(tree).code is NoteCode.WAITED
    assert tree.leaf.name == "a\x1b", "the original is unchanged"
