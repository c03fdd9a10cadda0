"""Code decides on codes, never on text: rewording a result changes nothing else in a report.

Every report renders a result, and the same result with tokens in place of its texts. After the texts in the first
output are replaced by their tokens, both are equal.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from results import EVERYTHING
from rich.console import Console

import ttprof
from ttprof.baseline import of as baseline_of
from ttprof.codes import Kind, NoteCode, TraceErrorCode, VerdictCode
from ttprof.dashboard import comparing, documents
from ttprof.dashboard.runs import Run
from ttprof.judge import verify
from ttprof.judge.baselines import BaselineJudge
from ttprof.report import console, github, junit, sentences
from ttprof.report.markdown import markdown
from ttprof.result import CaseResult, SuiteResult
from ttprof.result_file import decode

Tokens = dict[str, str]


def reworded(result: SuiteResult) -> tuple[SuiteResult, Tokens]:
    """Replace every text of a result by a token; also returns the token of each text."""
    tokens: Tokens = {}

    def token(text: str) -> str:
        return tokens.setdefault(text, f"TOKEN{len(tokens):03}")

    def case(old: CaseResult) -> CaseResult:
        verdicts = [replace(v, reason=token(v.reason), expectation=token(v.expectation)) for v in old.verdicts]
        notes = [[replace(note, text=token(note.text)) for note in trial.notes] for trial in old.trials]
        trials = [replace(trial, notes=new_notes) for trial, new_notes in zip(old.trials, notes, strict=True)]
        return replace(old, verdicts=verdicts, trials=trials)

    return replace(result, cases=[case(old) for old in result]), tokens


def terminal(result: SuiteResult) -> str:
    out = io.StringIO()
    styled = Console(file=out, width=400, force_terminal=True, color_system="truecolor", highlight=False)
    styled.print(console.render(result, 400, sentences.all_reasons))
    styled.print(console.render(result, 400))
    return out.getvalue()


def dashboard(result: SuiteResult) -> str:
    run = Run.of(result, "gate")
    parts = [documents.run(run), *(documents.case(i, case) for i, case in enumerate(result))]
    parts += [comparing.history([run], run, case) for case in result]
    return "\n".join(msgspec.json.encode(part).decode() for part in parts)


RENDERERS: dict[str, Callable[[SuiteResult], str]] = {
    "terminal": terminal,
    "failures": console.failure_text,
    "brief": console.brief,
    "markdown": markdown,
    "github": lambda result: "\n".join(github.commands(result, Path("/"))),
    "junit": lambda result: junit.xml([result]),
    "notebook": SuiteResult._repr_html_,
    "dashboard": dashboard,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_rewording_every_text_changes_nothing_else(name):
    render = RENDERERS[name]
    result, tokens = reworded(EVERYTHING)
    shown = render(EVERYTHING)
    for text in sorted(tokens, key=len, reverse=True):
        for spelling in sorted(spellings(text), key=len, reverse=True):
            shown = shown.replace(spelling, tokens[text])
    assert "TOKEN" in shown
    assert render(result) == shown


def spellings(text: str) -> set[str]:
    """A text as each format escapes it."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    marked = "".join(f"\\{c}" if c in "\\|*_`[]~" else c for c in escaped)
    return {text, escaped, marked, text.replace("%", "%25"), escaped.replace('"', "&quot;")}


def test_a_reworded_result_gets_the_same_verdicts():
    result, _ = reworded(EVERYTHING)
    changes = [verify.check(r).judged for r in (EVERYTHING, result)]
    assert changes[0] == changes[1]
    statuses = [
        [BaselineJudge(baseline_of(EVERYTHING), r.environment).judge(case).status for case in r]
        for r in (EVERYTHING, result)
    ]
    assert statuses[0] == statuses[1]


def test_codes_survive_json():
    assert decode(EVERYTHING.to_json()) == EVERYTHING
    raw = msgspec.json.decode(EVERYTHING.to_json())
    assert raw["cases"][0]["verdicts"][0]["code"] == "outside-limit"
    assert raw["cases"][0]["verdicts"][0]["kind"] == "limit"
    assert raw["cases"][0]["trials"][0]["notes"][0]["code"] == "seq-len-shortened"


@pytest.mark.parametrize("codes", [Kind, VerdictCode, NoteCode, TraceErrorCode])
def test_codes_are_their_names_in_kebab_case(codes):
    for code in codes:
        assert code.value == code.name.lower().replace("_", "-") and str(code) == code.value


PARSING_METHODS = {"startswith", "endswith", "partition", "rpartition", "find", "index", "removeprefix"}


def test_no_code_parses_a_text():
    """No ``in``, comparison or string method on the reason or expectation of a verdict, or on ``str(error)``."""
    package = Path(ttprof.__file__).parent
    hits = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if any(is_text(part) for part in parsed_expressions(node)):
                hits.append(f"{path.relative_to(package)}:{node.lineno}")
    assert hits == []


def parsed_expressions(node: ast.AST) -> list[ast.expr]:
    """The expressions whose text a node examines."""
    if isinstance(node, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn, ast.Eq, ast.NotEq)) for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PARSING_METHODS:
        return [node.func.value]
    return []


def is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in {"reason", "expectation"}
    is_str = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str"
    return is_str and bool(node.args) and isinstance(node.args[0], ast.Name) and node.args[0].id in {"error", "problem"}
