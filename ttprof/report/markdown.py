"""Renders a result as Markdown, for TensorBoard's text pane and GitHub's step summary."""

from __future__ import annotations

from ttprof.report import sentences
from ttprof.result import SuiteResult
from ttprof.system.homes import struct_without_homes


def markdown(result: SuiteResult) -> str:
    """The table of cases, and the reason for each verdict other than PASS; ``~`` stands for home folders."""
    result = struct_without_homes(result)
    names = sentences.columns(result)
    lines = [f"**{plain(result.name)}** · {sentences.totals(result)} · {sentences.machine(result)}", ""]
    lines.append("| case | status | " + "".join(f"{sentences.heading(result, n)} | " for n in names) + "inputs |")
    lines.append("|---|---|" + "---|" * len(names) + "---|")
    for case in result:
        for trial in case.trials:
            cells = "".join(f"{plain(sentences.cell(case, trial, n))} | " for n in names)
            lines.append(
                f"| {plain(sentences.trial_name(case, trial))} | {case.status} | {cells}{plain(trial.inputs)} |"
            )
        if not case.trials:
            lines.append(f"| {plain(case.module_name)} | {case.status} | " + "- | " * len(names) + "- |")
    lines.append("")
    for case in result:
        lines += [f"- **{status}** {plain(f'{case.module_name}: {s}')}" for status, s in sentences.problems(case)]
    return "\n".join(lines)


def plain(text: str) -> str:
    """*text*, escaped for Markdown and HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join("".join(f"\\{c}" if c in "\\|*_`[]~" else c for c in escaped).splitlines())
