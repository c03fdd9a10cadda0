"""The text that all reports share: table cells, reasons for verdicts, notes and totals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from ttprof.codes import Code, NoteCode, VerdictCode
from ttprof.judge import causes
from ttprof.result import ALWAYS_SHOWN, CaseResult, Measurement, SuiteResult, TrialResult
from ttprof.units import significant
from ttprof.verdict import Status, Verdict

MAX_NAME_LENGTH = 54
"""Maximum number of characters of an op or kernel name."""

MIN_DOMINANT_SHARE = 0.05
"""The share of the recorded time from which an op or kernel is named as dominant."""

BUSY_LOAD_PER_CPU = 0.75
"""The load average per CPU above which host times may be too high."""

NOTEWORTHY = frozenset({VerdictCode.WITHIN_RAISED_TOLERANCE, VerdictCode.CONSTANT_OUTPUT, VerdictCode.FOLLOWS_LAW})
"""Codes of passing verdicts whose reasons are shown as notes."""


DIFFER_IN_NUMBERS = frozenset(
    {NoteCode.WAITED, NoteCode.PEAKS_DISAGREE, VerdictCode.WITHIN_RAISED_TOLERANCE, VerdictCode.CONSTANT_OUTPUT}
)
"""Codes of notes that differ from case to case in their numbers only."""

MAX_NAMES_IN_NOTE = 3
"""Maximum number of cases that a note names."""


def columns(result: SuiteResult) -> list[str]:
    """The measured metrics to show: the default ones, and those with a limit."""
    measured = {m.name for case in result for trial in case.trials for m in trial.measurements}
    limited = [v.metric for case in result for v in case.verdicts if v.metric and v.metric in measured]
    return [name for name in dict.fromkeys((*ALWAYS_SHOWN, *limited)) if name in measured]


def heading(result: SuiteResult, name: str) -> str:
    """The label and unit of a metric, as stored in the result."""
    label, unit = _label_and_unit(result, name)
    return f"{label} ({unit})" if unit else label


def cell(case: CaseResult, trial: TrialResult, name: str) -> str:
    """A value with its limits, for example ``3.2 (≤ 5)``; a dash if it was not measured."""
    return _value(trial, name) + _bounds(case, trial, name)


def labelled_cell(result: SuiteResult, case: CaseResult, trial: TrialResult, name: str) -> str:
    """A value with its label, unit and limits, for example ``latency 3.2 ms (≤ 5)``.

    A dash if it was not measured but has a limit, else empty.
    """
    if _measurement(trial, name) is None and not _bounds(case, trial, name):
        return ""
    label, unit = _label_and_unit(result, name)
    unit = unit if _measurement(trial, name) and not label.startswith(unit) else ""
    return f"{label} {f'{_value(trial, name)} {unit}'.rstrip()}{_bounds(case, trial, name)}"


def problems(case: CaseResult) -> Iterator[tuple[Status, str]]:
    """The reason for each verdict other than PASS, with the dominant ops or kernels if a time FAILs.

    The regressions of a trial are one sentence. An interrupted case also yields the limits that it met, since its
    status says nothing about them.
    """
    for status, reason, metric in _sentences(case):
        if status is not Status.PASS or (case.interrupted and metric is not None):
            yield status, reason


def all_reasons(case: CaseResult) -> Iterator[tuple[Status, str]]:
    """The reason for every verdict, including PASS; the regressions of a trial are one sentence."""
    for status, reason, _ in _sentences(case):
        yield status, reason


def _sentences(case: CaseResult) -> Iterator[tuple[Status, str, str | None]]:
    """The status, reason and metric of each verdict; the regressions of a trial are one."""
    for verdict in causes.joined(case):
        yield verdict.status, verdict.reason + _dominated(case, verdict), verdict.metric


def headline(case: CaseResult) -> str:
    """The first reason for the status of a case, and how many more there are."""
    first = next((reason for status, reason in problems(case) if status is case.status), str(case.status))
    further = sum(status in case.as_bad for status, _ in problems(case)) - 1
    return f"{first} (and {further} more)" if further > 0 else first


def looks(result: SuiteResult) -> str:
    """How much was timed again, and how long that took; empty if nothing was."""
    made = result.looks
    if made is None:
        return ""
    cases = _plural(made.cases, "case")
    return f"timed {cases} again before failing: {made.seconds:.0f} s of at most {made.budget_s:.0f} s (--confirm)"


def failure_lines(result: SuiteResult) -> Iterator[str]:
    """A line for each case that fails the run, with its headline."""
    for case in result.failures:
        yield f"{case.status} {result.name}: {case_name(case)}: {headline(case)}"


def code(case: CaseResult) -> VerdictCode:
    """The code of the verdict that ``headline`` shows."""
    return next((v.code for v in case.verdicts if v.status is case.status), VerdictCode.UNSTATED)


def location(case: CaseResult) -> tuple[str, int] | None:
    """The file and line of the test, or None if the result has none."""
    file, _, line = case.source.rpartition(":")
    return (file, int(line)) if file and line.isdecimal() else None


def case_name(case: CaseResult) -> str:
    """The display name of a case; a bare number, which names a child of a Sequential, is followed by the type."""
    is_number = case.module_name.replace(".", "").isdecimal() and case.module_type
    return f"{case.module_name} ({case.module_type})" if is_number else case.module_name


def trial_name(case: CaseResult, trial: TrialResult) -> str:
    """The name of a case, with the sizes of one of its trials if it was swept."""
    return f"{case.module_name} {trial.point}".rstrip()


class CaseNote(NamedTuple):
    """A note on a case, with its code."""

    code: Code
    text: str


def notes(case: CaseResult) -> Iterator[CaseNote]:
    """Notes on a case, even a passing one: shortened inputs, a raised tolerance, a fitted law.

    In a sweep, a note that applies to some trials only starts with their points.
    """
    points: dict[CaseNote, list[str]] = {}
    for trial in case.trials:
        for noted in dict.fromkeys(CaseNote(note.code, note.text) for note in trial.notes):
            points.setdefault(noted, []).append(str(trial.point))
    for noted, places in points.items():
        place = " and ".join(filter(None, places)) if len(places) < len(case.trials) else ""
        yield noted._replace(text=f"at {place}: {noted.text}") if place else noted
    for verdict in case.verdicts:
        if verdict.status is Status.PASS and verdict.code in NOTEWORTHY:
            yield CaseNote(verdict.code, verdict.reason)


def notes_beside(case: CaseResult, shown: Collection[str]) -> list[CaseNote]:
    """The notes on a case whose texts are not *shown* anyway."""
    return [note for note in notes(case) if note.text not in shown]


def note_lines(noted: Iterable[tuple[CaseResult, Iterable[CaseNote]]]) -> Iterator[str]:
    """The notes on many cases, each once, after the names of its cases: ``attention, ffn (2 cases): called twice``.

    Of notes that differ in their numbers only, the first stands for all.
    """
    alike: dict[tuple[Code, str], list[tuple[str, str]]] = {}
    for case, its_notes in noted:
        for code, text in its_notes:
            key = (code, "" if code in DIFFER_IN_NUMBERS else text)
            alike.setdefault(key, []).append((case_name(case), text))
    for group in alike.values():
        names, text = list(dict.fromkeys(name for name, _ in group)), group[0][1]
        more = len({text for _, text in group}) - 1
        if len(names) == 1:
            yield f"{names[0]}: {text}" + (f" (and {more} more like it)" if more else "")
            continue
        listed = ", ".join(names[:MAX_NAMES_IN_NOTE]) + (", …" if len(names) > MAX_NAMES_IN_NOTE else "")
        yield f"{listed} ({len(names)} cases)" + (f", for example the first: {text}" if more else f": {text}")


def totals(result: SuiteResult) -> str:
    """The number of cases by status, for example ``5 cases: 4 PASS, 1 FAIL``."""
    counts = [f"{n} {status}" for status in Status if (n := result.count(status))]
    if result.shard and not result.cases:
        return f"{_counted_cases(result)}: nothing to run"
    text = f"{_counted_cases(result)}: {', '.join(counts)}"
    if result.interrupted:
        timed = sum(case.interrupted and bool(case.trials) for case in result)
        return f"{text} (interrupted{f', {timed} of them had been timed' if timed else ''})"
    return f"{text} (nothing was measured)" if result.count(Status.SKIP) == len(result) else text


def named_totals(result: SuiteResult) -> str:
    """The totals, prefixed with the name of the suite."""
    return f"{result.name}: {totals(result)}"


def grand_totals(results: Sequence[SuiteResult]) -> str:
    """The number of cases in several runs by status, for example ``2 suites, 3 cases: 2 PASS, 1 FAIL``."""
    cases = [case for result in results for case in result]
    counts = ", ".join(f"{n} {status}" for status in Status if (n := sum(case.status is status for case in cases)))
    return f"{_plural(len(results), 'suite')}, {_plural(len(cases), 'case')}: {counts}"


def recording(result: SuiteResult) -> str | None:
    """The location of Nsight's report on the suite; None without one."""
    return None if result.backend == "torch" else f"report of {result.backend}: {result.run_dir}/{result.backend}"


def interruption(result: SuiteResult) -> str:
    """The number of finished cases of an interrupted run; the caller appends the path of the result."""
    cut_off = sum(case.interrupted for case in result)
    return f"interrupted: {len(result) - cut_off} of {len(result)} cases finished; results so far are in"


def machine(result: SuiteResult) -> str:
    """The machine and software of a run, in one line."""
    env = result.environment
    load = "" if env.load_average is None else f", load {significant(round(env.load_average, 1))}"
    if env.load_average is not None and env.load_average > BUSY_LOAD_PER_CPU * env.cpu_count:
        load += " (busy: host times may be too high)"
    torch, threads = f"torch {env.versions.get('torch', '?')}", f"{_plural(env.threads, 'thread')}{load}"
    return " · ".join(filter(None, (env.device, env.device_name, torch, threads, env.experimental)))


def _counted_cases(result: SuiteResult) -> str:
    if not result.shard:
        return _plural(len(result), "case")
    return f"shard {result.shard}, {len(result)} of {_plural(len(result.suite_cases), 'case')}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _label_and_unit(result: SuiteResult, name: str) -> tuple[str, str]:
    for case in result:
        for trial in case.trials:
            if (m := _measurement(trial, name)) is not None:
                return m.label, m.unit
    return name, ""


def _value(trial: TrialResult, name: str) -> str:
    measurement = _measurement(trial, name)
    return significant(measurement.value) if measurement else "-"


def _bounds(case: CaseResult, trial: TrialResult, name: str) -> str:
    bounds = dict.fromkeys(v.bound_text for v in case.verdicts_at(trial.point) if v.metric == name and v.bound_text)
    return f" ({', '.join(bounds)})" if bounds else ""


def _measurement(trial: TrialResult, name: str) -> Measurement | None:
    return next((m for m in trial.measurements if m.name == name), None)


def _dominated(case: CaseResult, verdict: Verdict) -> str:
    """The ops or kernels with the largest share of the recorded time, for a FAIL of a time."""
    if verdict.status is not Status.FAIL or not (verdict.metric or "").endswith("_ms") or verdict.measured is None:
        return ""
    trial = next((t for t in reversed(case.trials) if verdict in case.verdicts_at(t.point)), None)
    if trial is None or not trial.top_ops:
        return ""
    dominant = [
        f"{_shortened(name)} {share * 100:.0f} %" for name, share in trial.top_ops if share >= MIN_DOMINANT_SHARE
    ]
    return "; dominated by " + ", ".join(dominant) if dominant else ""


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"
