"""Code decides on values: every sentence of a result may be reworded without changing what a report shows of it.

A result whose sentences are replaced by tokens is rendered by every report, and so is the original; once the sentences
of the original's output are replaced by the same tokens, both are equal.
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
from ttprof.judge import baselines, verify
from ttprof.report import console, github, junit, sentences
from ttprof.report.markdown import markdown
from ttprof.result import CaseResult, SuiteResult
from ttprof.result_file import decode

Words = dict[str, str]


def reworded(result: SuiteResult) -> tuple[SuiteResult, Words]:
    """The result with a token for each sentence, and the token of each sentence."""
    words: Words = {}

    def token(sentence: str) -> str:
        return words.setdefault(sentence, f"TOKEN{len(words):03}")

    def case(old: CaseResult) -> CaseResult:
        verdicts = [replace(v, reason=token(v.reason), expectation=token(v.expectation)) for v in old.verdicts]
        notes = [[replace(note, text=token(note.text)) for note in trial.notes] for trial in old.trials]
        trials = [replace(trial, notes=own) for trial, own in zip(old.trials, notes, strict=True)]
        return replace(old, verdicts=verdicts, trials=trials)

    return replace(result, cases=[case(old) for old in result]), words


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
def test_rewording_every_sentence_changes_nothing_else(name):
    render = RENDERERS[name]
    result, words = reworded(EVERYTHING)
    shown = render(EVERYTHING)
    for sentence in sorted(words, key=len, reverse=True):
        for spelling in sorted(spellings(sentence), key=len, reverse=True):
            shown = shown.replace(spelling, words[sentence])
    assert "TOKEN" in shown
    assert render(result) == shown


def spellings(sentence: str) -> set[str]:
    """A sentence as the formats escape it."""
    escaped = sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    marked = "".join(f"\\{c}" if c in "\\|*_`[]~" else c for c in escaped)
    return {sentence, escaped, marked, sentence.replace("%", "%25"), escaped.replace('"', "&quot;")}


def test_judging_a_reworded_result_again_ends_alike():
    result, _ = reworded(EVERYTHING)
    changes = [verify.check(r).judged for r in (EVERYTHING, result)]
    assert changes[0] == changes[1]
    statuses = [
        [baselines.judge_case(baseline_of(EVERYTHING), r.environment, case).status for case in r]
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
def test_codes_are_stable_words(codes):
    for code in codes:
        assert code.value == code.name.lower().replace("_", "-") and str(code) == code.value


SENTENCES = {"reason", "expectation", "text"}
LOOKING = {"startswith", "endswith", "partition", "rpartition", "find", "index", "removeprefix"}


def test_no_code_looks_into_a_sentence():
    """No ``in``, comparison or string method on the reason or expectation of a verdict, or on ``str(error)``."""
    package = Path(ttprof.__file__).parent
    hits = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if any(is_sentence(part) for part in looked_into(node)):
                hits.append(f"{path.relative_to(package)}:{node.lineno}")
    assert hits == []


def looked_into(node: ast.AST) -> list[ast.expr]:
    """The expressions whose characters a node looks at."""
    if isinstance(node, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn, ast.Eq, ast.NotEq)) for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKING:
        return [node.func.value]
    return []


def is_sentence(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in {"reason", "expectation"}
    is_str = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str"
    return is_str and bool(node.args) and isinstance(node.args[0], ast.Name) and node.args[0].id in {"error", "problem"}
