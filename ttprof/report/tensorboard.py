"""TensorBoard's own panes: a scalar for each metric of each case, and a text summary.

A result enters; one event file in the run's folder leaves. The traces beside it were written by the collector and
are shown by torch-tb-profiler.
"""

from __future__ import annotations

import time
from pathlib import Path

from ttprof.report import sentences
from ttprof.result import SuiteResult


def write(result: SuiteResult, folder: str | Path) -> None:
    """Write scalars tagged ``METRIC/CASE`` (the step is the swept size, 0 without a sweep) and the summary."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    now = time.time()
    for case in result:
        for trial in case.trials:
            step = next(iter(trial.point.values()), 0)
            for m in trial.measurements:
                summary = scalar_pb(f"{m.name}/{case.module_name}", m.value)
                writer.add_event(Event(wall_time=now, step=step, summary=summary))
    writer.add_event(Event(wall_time=now, step=0, summary=text_pb("summary", markdown(result))))
    writer.close()


def markdown(result: SuiteResult) -> str:
    """The table of cases and the sentences of its failures, in Markdown."""
    names = sentences.columns(result)
    lines = [f"**{result.name}** · {sentences.totals(result)} · {sentences.machine(result)}", ""]
    lines.append("| case | status | " + "".join(f"{sentences.heading(result, n)} | " for n in names) + "inputs |")
    lines.append("|---|---|" + "---|" * len(names) + "---|")
    for case in result:
        for trial in case.trials:
            point = " ".join(f"{axis}={value}" for axis, value in trial.point.items())
            cells = "".join(f"{_plain(sentences.cell(case, trial, n))} | " for n in names)
            name = _plain(f"{case.module_name} {point}".strip())
            lines.append(f"| {name} | {case.status} | {cells}{_plain(trial.inputs)} |")
        if not case.trials:
            lines.append(f"| {_plain(case.module_name)} | {case.status} | " + "- | " * len(names) + "- |")
    lines.append("")
    for case in result:
        lines += [f"- **{status}** {_plain(f'{case.module_name}: {s}')}" for status, s in sentences.problems(case)]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown and HTML take literally."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "|*_`[]" else c for c in escaped).replace("\n", " ")
