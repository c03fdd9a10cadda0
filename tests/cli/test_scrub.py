"""``ttprof scrub``: it never overwrites a file, says what it removed, and never shows what it removed."""

from __future__ import annotations

import json

import kineto_files as k
import nsys_files as n
import pytest
from click.testing import CliRunner

from ttprof.cli.scrub import command
from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError

SECRET = "hf_plantedplantedplanted"


@pytest.fixture
def trace(tmp_path):
    events = [*k.two_iterations(), k.span("user_annotation", f"load {SECRET} for project x", 500, 1, key=SECRET)]
    return k.write(tmp_path / "in.json.gz", events, traceName=SECRET)


def run(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def test_it_says_what_was_removed_in_counts_only(trace, tmp_path):
    shown = run(trace, tmp_path / "out.json.gz")
    assert shown.exit_code == 0 and SECRET not in shown.output
    rows = dict(line.rsplit(maxsplit=1) for line in shown.output.splitlines() if line and line[-1].isdigit())
    assert rows["argument of an event"] == "1" and rows["entry of the metadata"] == "1"
    assert rows["token in kept names"] == "1"
    assert "look through the copy before you attach it" in shown.output.replace("\n", " ")


def test_hidden_texts_and_json(trace, tmp_path):
    shown = run(trace, tmp_path / "out.json", "--hide", "project x", "--json")
    outcome = json.loads(shown.output)
    assert {"what": "hidden text in kept names", "count": 1} in outcome["removed"]
    assert outcome["format"] == "kineto" and outcome["rows"] == 23
    text = (tmp_path / "out.json").read_text()
    assert '"load <token 1> for <hidden text 1>"' in text and "project" not in text


@pytest.mark.parametrize("kind", ["file", "itself", "link", "dangling link", "folder"])
def test_nothing_is_overwritten(trace, tmp_path, kind):
    target = tmp_path / "out.json.gz"
    if kind == "file":
        target.write_text("precious")
    elif kind == "itself":
        target = trace
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(trace if kind == "link" else tmp_path / "nowhere")
    before = trace.read_bytes()
    with pytest.raises(TraceError, match="exists already") as caught:
        run(trace, target)
    assert caught.value.code is TraceErrorCode.UNWRITABLE
    assert trace.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()
    assert kind != "file" or target.read_text() == "precious"


@pytest.mark.parametrize(
    ("source", "target", "code", "said"),
    [
        ("in.json.gz", "out.sqlite", TraceErrorCode.UNWRITABLE, "must end in .json or .json.gz"),
        ("in.sqlite", "out.json", TraceErrorCode.UNWRITABLE, "must end in .sqlite"),
        ("in.nsys-rep", "out.nsys-rep", TraceErrorCode.UNSUPPORTED, "nsys export --type sqlite"),
        ("missing.json", "out.json", TraceErrorCode.NOT_FOUND, "missing.json"),
        ("in.json.gz", "nowhere/out.json", TraceErrorCode.UNWRITABLE, "can't be written"),
    ],
)
def test_an_error_says_what_to_do_and_leaves_nothing_behind(trace, tmp_path, source, target, code, said):
    n.write(tmp_path / "in.sqlite")
    (tmp_path / "in.nsys-rep").write_bytes(b"report")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TraceError) as caught:
        run(tmp_path / source, tmp_path / target)
    assert caught.value.code is code and said in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
