"""Control characters in text and in structs."""

from __future__ import annotations

import msgspec
import pytest

from ttprof.codes import Note, NoteCode
from ttprof.report import console
from ttprof.system.escape import visible, visible_struct


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("  ::set-output name=x::y", r"  \x3a:set-output name=x::y"),
        ("at::native::add ::x", "at::native::add ::x"),
        ("x ##[error]y", r"x #\x23[error]y"),
        ("##vso[task.setvariable]z", r"#\x23vso[task.setvariable]z"),
        ("## forward ##", "## forward ##"),
    ],
)
def test_commands_of_ci_systems_are_escaped_where_they_would_work(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_wrapped_line_is_no_workflow_command_in_github_actions(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    words = "a long reason that ::error::is-wrapped"
    console.console({"GITHUB_ACTIONS": "true", "COLUMNS": "20"}).print(words)
    inert = capsys.readouterr().out
    console.console({"COLUMNS": "20"}).print(words)
    assert any(line.startswith("::error::") for line in capsys.readouterr().out.splitlines())
    assert any(line.startswith(": :error::") for line in inert.splitlines())
    assert not any(line.strip().startswith("::") for line in inert.splitlines())
