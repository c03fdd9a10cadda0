"""Shows a result in a notebook: an HTML table, plotly figures of a scaling and a timeline, and a data frame.

``SuiteResult`` imports this module only when one of its notebook methods is called.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.measurement import with_samples
from ttprof.report import sentences
from ttprof.report.figures import import_optional, literal
from ttprof.result import CaseResult, SuiteResult
from ttprof.system.homes import struct_without_homes

if TYPE_CHECKING:
    from ttprof.dashboard.traces import TimelineDocument

MAX_EVENTS = 5000
"""A timeline shows this many events, the longest ones."""


def table(result: SuiteResult) -> str:
    """The table of cases and a line for each verdict other than PASS, as HTML with all names escaped.

    ``~`` stands for home folders, because notebooks are shared with their outputs.
    """
    result = struct_without_homes(result)
    names = sentences.columns(result)
    headings = ["case", "status", *(sentences.heading(result, name) for name in names), "inputs"]
    rows = [_row("th", headings)]
    for case in result:
        for trial in case.trials:
            cells = [sentences.cell(case, trial, name) for name in names]
            rows.append(_row("td", [sentences.trial_name(case, trial), str(case.status), *cells, trial.inputs]))
        if not case.trials:
            rows.append(_row("td", [case.module_name, str(case.status), *["-"] * (len(names) + 1)]))
    problems = [
        f"<li><b>{status}</b> {html.escape(f'{case.module_name}: {message}')}</li>"
        for case in result
        for status, message in sentences.problems(case)
    ]
    totals = html.escape(f"{result.name} · {sentences.totals(result)} · {sentences.machine(result)}")
    return f"<p>{totals}</p><table>{''.join(rows)}</table><ul>{''.join(problems)}</ul>"


def plot_scaling(case: CaseResult) -> Any:
    """The measured points of a scaling and the fitted laws, as a plotly figure with logarithmic axes.

    Raises ResultFileError if the case has no scaling, TtprofError if plotly is not installed.
    """
    from ttprof.dashboard import scaling

    document = scaling.scaling(case)
    figure = import_optional("plotly", ".graph_objects").Figure()
    for curve in document.curves:
        line = {"width": 2} if curve.chosen else {"width": 1, "dash": "dot", "color": "#9aa4ae"}
        figure.add_scatter(x=curve.sizes, y=curve.values, name=literal(curve.name), mode="lines", line=line)
    sizes, values = [point.size for point in document.points], [point.value for point in document.points]
    figure.add_scatter(x=sizes, y=values, name="minimum of the rounds", mode="markers", marker={"size": 8})
    if document.crossover is not None:
        figure.add_vline(document.crossover, line_dash="dash", annotation_text="crossover")
    title = literal(f"{case.module_name}: {document.axis}^{document.exponent:.2f}")
    figure.update_layout(title=title, template="plotly_white")
    figure.update_xaxes(
        type="log", title=literal(document.axis), tickvals=sizes, ticktext=[str(size) for size in sizes]
    )
    figure.update_yaxes(
        type="log", title=literal(f"{document.metric} ({document.unit})" if document.unit else document.metric)
    )
    return figure


def plot_timeline(result: SuiteResult, case: CaseResult) -> Any:
    """The median iteration of the largest trial of a case, as a plotly figure with a row per depth of each lane.

    Only the longest ``MAX_EVENTS`` events are drawn; the title counts the rest.

    Raises TraceError if the trace is missing or was never recorded, TtprofError if plotly is not installed.
    """
    timeline = _timeline(result, case)
    columns, kinds = timeline.columns, np.array(timeline.columns["kind"])
    rows = [f"{timeline.lanes[lane].name} · {row}" for lane, row in zip(columns["lane"], columns["row"], strict=True)]
    figure = import_optional("plotly", ".graph_objects").Figure()
    for kind in sorted(set(kinds.tolist())):
        selected = np.flatnonzero(kinds == kind).tolist()
        figure.add_bar(
            orientation="h",
            name=timeline.kinds[kind],
            y=[literal(rows[i]) for i in selected],
            base=[columns["start"][i] / 1e3 for i in selected],
            x=[columns["dur"][i] / 1e3 for i in selected],
            hovertext=[literal(timeline.names[columns["name"][i]]) for i in selected],
            hovertemplate="%{hovertext}<br>%{x:.2f} µs<extra></extra>",
        )
    left_out = f", without the {timeline.left_out} shortest events" if timeline.left_out else ""
    order = [literal(row) for row in dict.fromkeys(rows)]
    title = literal(f"{case.module_name}, {timeline.name}{left_out}")
    figure.update_layout(title=title, barmode="overlay", template="plotly_white", height=160 + 22 * len(order))
    figure.update_xaxes(title="µs since the start of the iteration")
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1])
    return figure


def to_dataframe(result: SuiteResult) -> Any:
    """A row for each measurement of each trial. Raises TtprofError if pandas is not installed."""
    rows = [
        {
            "case": case.module_name,
            "type": case.module_type,
            "status": str(case.status),
            **trial.point,
            "metric": m.name,
            "value": m.value,
            "unit": m.unit,
            "statistic": m.statistic,
            "samples": len(m.samples),
            "inputs": trial.inputs,
        }
        for case in result
        for trial in case.trials
        for m in with_samples(trial.measurements)
    ]
    return import_optional("pandas").DataFrame(rows)


def _timeline(result: SuiteResult, case: CaseResult) -> TimelineDocument:
    from ttprof.dashboard import traces
    from ttprof.dashboard.runs import Run
    from ttprof.trace.attribution import Attribution
    from ttprof.trace.formats import kineto

    if not case.trials:
        raise TraceError(f"{case.module_name}: no trace of this case was recorded", TraceErrorCode.NOT_RECORDED)
    run = Run.of(result.only([case]), result.name)
    attribution = Attribution(kineto.read(run.trace_file(run.read.cases[0].trials[-1])))
    return struct_without_homes(traces.lanes(attribution, traces.typical(attribution), MAX_EVENTS))


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
