"""Reports results to GitHub Actions: annotations on the lines of the tests, and the step summary.

Annotations are lines on standard output (docs: "Workflow commands for GitHub Actions"); the summary is Markdown,
appended to the file that ``GITHUB_STEP_SUMMARY`` names. Outside GitHub Actions this module writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ttprof.errors import ResultFileError
from ttprof.report import sentences
from ttprof.report.markdown import markdown, plain
from ttprof.result import CaseResult, SuiteResult
from ttprof.system.homes import without_homes
from ttprof.verdict import Status

MAX_SUMMARY_BYTES = 1024 * 1024
"""GitHub's limit on a step summary, in bytes; a larger file is rejected entirely."""


def report(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> list[str]:
    """Append the summary of all results and return their annotations, as lines to print.

    Raises:
        ResultFileError: The summary can't be written.
    """
    summarise(results, environ)
    return annotate(results, environ)


def summarise(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> None:
    """Append the summary if the environment names a file for it. Raises ResultFileError if it can't be written."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if environ.get("GITHUB_ACTIONS") == "true" and target and results:
        _append(Path(target), results)


def annotate(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> list[str]:
    """The lines that annotate failed and inconclusive cases; none outside GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    workspace = Path(environ.get("GITHUB_WORKSPACE") or ".").resolve()
    return [line for result in results for line in commands(result, workspace)]


def commands(result: SuiteResult, workspace: Path) -> Iterator[str]:
    """An error for each case that fails the run, and a warning for each other INCONCLUSIVE case."""
    for case in result:
        if case.status in result.failing:
            yield _annotation("error", case, workspace)
        elif case.status is Status.INCONCLUSIVE:
            yield _annotation("warning", case, workspace)


def summary(results: Sequence[SuiteResult], max_bytes: int = MAX_SUMMARY_BYTES) -> str:
    """The tables of all results in Markdown; only their totals if the tables exceed *max_bytes*."""
    for render in (_tables, _totals):
        text = render(results)
        if len(text.encode(errors="replace")) <= max_bytes:
            return text
    return ""


def _tables(results: Sequence[SuiteResult]) -> str:
    return "".join(f"{markdown(result)}\n\n" for result in results)


def _totals(results: Sequence[SuiteResult]) -> str:
    lines = [f"- **{plain(result.name)}** · {sentences.totals(result)}\n" for result in results]
    return "".join([*lines, "\nThe tables are too large for a step summary: see the log or the files of the run.\n\n"])


def _append(target: Path, results: Sequence[SuiteResult]) -> None:
    try:
        used = target.stat().st_size if target.exists() else 0
        with target.open("a", encoding="utf-8", errors="replace") as file:
            file.write(summary(results, MAX_SUMMARY_BYTES - used))
    except OSError as error:
        raise ResultFileError(f"GITHUB_STEP_SUMMARY={target}: {error.strerror or error}") from error


def _annotation(level: str, case: CaseResult, workspace: Path) -> str:
    reasons = [f"{status}: {reason}" for status, reason in sentences.problems(case)] or [str(case.status)]
    place = _place(case, workspace)
    title = f"title={_property(f'ttprof {case.status} {case.module_name}')}"
    text = without_homes("\n".join(reasons if place else [*reasons, f"at {case.source}"]))
    return f"::{level} {place}{title}::{_data(text)}"


def _place(case: CaseResult, workspace: Path) -> str:
    """``file=F,line=N,`` with a path relative to the workspace; empty if the test is outside it."""
    location = sentences.location(case)
    if location is None:
        return ""
    path, line = location
    file = Path(path).resolve()
    if not file.is_relative_to(workspace):
        return ""
    return f"file={_property(file.relative_to(workspace).as_posix())},line={line},"


def _data(text: str) -> str:
    """*text*, escaped as the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """*text*, escaped as a property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
