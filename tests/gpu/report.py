"""Writes the report of the GPU kit as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpu.comparing import Comparison, Number, Outcome

MAX_DETAIL_LINES = 25
"""Lines of a traceback that the report keeps."""


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence on all outcomes."""
    results = [comparison.outcome for outcome in outcomes for comparison in outcome.comparisons]
    counts = {name: results.count(name) for name in ("OK", "OFF", "OPEN")}
    raised = sum(outcome.state == "raised" for outcome in outcomes)
    absent = sum(outcome.state == "not run" for outcome in outcomes)
    return (
        f"{counts['OK']} of {len(results)} comparisons agree, {counts['OFF']} are off, {counts['OPEN']} are undecided; "
        f"{raised} of {len(outcomes)} checks raised, {absent} were not run"
    )


def markdown(environment: Mapping[str, str], outcomes: Sequence[Outcome], traces: Sequence[str]) -> str:
    """The report: what is off first, then every comparison, what was not run, the traces and the environment."""
    lines = ["# GPU report", "", f"**{summary(outcomes)}.**", ""]
    off = [(o.check, c) for o in outcomes for c in o.comparisons if c.outcome == "OFF"]
    if off:
        lines += ["## Off", "", *_table(off), ""]
    for outcome in (o for o in outcomes if o.state == "raised"):
        detail = outcome.details.rstrip().splitlines()[-MAX_DETAIL_LINES:]
        lines += [f"## {outcome.check} raised", "", outcome.reason, "", "```text", *detail, "```", ""]
    absent = [f"- {o.check}: not run: {o.reason}" for o in outcomes if o.state == "not run"]
    if absent:
        lines += ["## Not run", "", *absent, ""]
    lines += ["## All comparisons", "", *_table([(o.check, c) for o in outcomes for c in o.comparisons]), ""]
    lines += ["## Times", "", *(f"- {o.check}: {o.seconds:.1f} s" for o in outcomes if o.state != "not run"), ""]
    lines += ["## Reference traces", "", *(f"- {line}" for line in traces or ["none"]), ""]
    lines += ["## Environment", "", *(f"- {name}: {value}" for name, value in environment.items()), ""]
    return "\n".join(lines)


def _table(rows: Sequence[tuple[str, Comparison]]) -> list[str]:
    titles = ("", "check", "what", "ttprof", "independent", "ratio", "allowed", "against")
    head = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return head + [f"| {' | '.join(_cell(text) for text in _cells(check, c))} |" for check, c in rows]


def _cells(check: str, c: Comparison) -> list[str]:
    ratio = "" if c.ratio is None else f"{c.ratio:.4g}"
    return [c.outcome, check, c.what, _shown(c.ours), _shown(c.theirs), ratio, _allowed(c), c.against]


def _allowed(c: Comparison) -> str:
    if isinstance(c.theirs, str):
        return "equal"
    parts = [f"± {c.allowed * 100:g} %"] if c.allowed else []
    parts += [f"± {c.slack:g}"] if c.slack else []
    return " or ".join(parts) or "exact"


def _shown(value: Number) -> str:
    return "not measured" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
