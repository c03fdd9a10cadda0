"""GitHub Actions: results enter; annotations at the lines of the tests, and the summary of the step, leave.

Commands are lines on standard output (docs: "Workflow commands for GitHub Actions"); the summary is Markdown that is
appended to the file that ``GITHUB_STEP_SUMMARY`` names. Outside of GitHub Actions nothing leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ttprof.errors import ResultFileError
from ttprof.report import sentences
from ttprof.report.markdown import markdown, plain
from ttprof.result import CaseResult, Status, SuiteResult

LARGEST_SUMMARY = 1024 * 1024
"""Bytes that GitHub takes of the summary of one step; it refuses a larger file as a whole."""


def tell(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> list[str]:
    """Append the summary of all results, and return the annotations of all, as lines to print.

    Raises ResultFileError when the summary can't be written.
    """
    summarise(results, environ)
    return annotate(results, environ)


def summarise(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> None:
    """Append the summary where the environment asks for one. Raises ResultFileError when it can't be written."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if environ.get("GITHUB_ACTIONS") == "true" and target and results:
        _append(Path(target), results)


def annotate(results: Sequence[SuiteResult], environ: Mapping[str, str]) -> list[str]:
    """The lines to print that annotate what failed or was not decided; none outside of GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    workspace = Path(environ.get("GITHUB_WORKSPACE") or ".").resolve()
    return [line for result in results for line in commands(result, workspace)]


def commands(result: SuiteResult, workspace: Path) -> Iterator[str]:
    """An error for each case that fails the run and a warning for each other INCONCLUSIVE one, at its line."""
    for case in result:
        if case.status in result.failing:
            yield _annotation("error", case, workspace)
        elif case.status is Status.INCONCLUSIVE:
            yield _annotation("warning", case, workspace)


def summary(results: Sequence[SuiteResult], room: int = LARGEST_SUMMARY) -> str:
    """The tables of all results in Markdown; only their totals where *room* bytes do not hold the tables."""
    for render in (_tables, _totals):
        text = render(results)
        if len(text.encode(errors="replace")) <= room:
            return text
    return ""


def _tables(results: Sequence[SuiteResult]) -> str:
    return "".join(f"{markdown(result)}\n\n" for result in results)


def _totals(results: Sequence[SuiteResult]) -> str:
    lines = [f"- **{plain(result.name)}** · {sentences.totals(result)}\n" for result in results]
    return "".join([*lines, "\nThe tables are too large for a summary: see the log, or the files of the run.\n\n"])


def _append(target: Path, results: Sequence[SuiteResult]) -> None:
    try:
        used = target.stat().st_size if target.exists() else 0
        with target.open("a", encoding="utf-8", errors="replace") as file:
            file.write(summary(results, LARGEST_SUMMARY - used))
    except OSError as error:
        raise ResultFileError(f"GITHUB_STEP_SUMMARY={target}: {error.strerror or error}") from error


def _annotation(level: str, case: CaseResult, workspace: Path) -> str:
    told = [f"{status}: {sentence}" for status, sentence in sentences.problems(case)] or [str(case.status)]
    place = _place(case, workspace)
    title = f"title={_property(f'ttprof {case.status} {case.module_name}')}"
    text = "\n".join(told if place else [*told, f"at {case.source}"])
    return f"::{level} {place}{title}::{_data(text)}"


def _place(case: CaseResult, workspace: Path) -> str:
    """``file=F,line=N,`` with a path from the workspace on; empty where the test lies elsewhere."""
    found = sentences.location(case)
    if found is None:
        return ""
    file = Path(found[0]).resolve()
    if not file.is_relative_to(workspace):
        return ""
    return f"file={_property(file.relative_to(workspace).as_posix())},line={found[1]},"


def _data(text: str) -> str:
    """*text* as the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """*text* as the value of a property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
