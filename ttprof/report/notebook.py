"""Shows a result in a notebook: its table, a scaling and a timeline as plotly figures, measurements as a data frame.

``SuiteResult`` imports this file when a notebook asks it to show itself.
"""

from __future__ import annotations

import html
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError, TtprofError
from ttprof.report import sentences
from ttprof.result import CaseResult, SuiteResult, with_samples

if TYPE_CHECKING:
    from ttprof.dashboard.traces import TimelineDocument

LONGEST_EVENTS = 5000
"""Events that a figure of a timeline holds: the longest ones."""


def table(result: SuiteResult) -> str:
    """The table of cases and a sentence for everything that is not a PASS, as HTML in which every name is escaped."""
    names = sentences.columns(result)
    headings = ["case", "status", *(sentences.heading(result, name) for name in names), "inputs"]
    rows = [_row("th", headings)]
    for case in result:
        for trial in case.trials:
            cells = [sentences.cell(case, trial, name) for name in names]
            rows.append(_row("td", [sentences.trial_name(case, trial), str(case.status), *cells, trial.inputs]))
        if not case.trials:
            rows.append(_row("td", [case.module_name, str(case.status), *["-"] * (len(names) + 1)]))
    told = [
        f"<li><b>{status}</b> {html.escape(f'{case.module_name}: {sentence}')}</li>"
        for case in result
        for status, sentence in sentences.problems(case)
    ]
    totals = html.escape(f"{result.name} · {sentences.totals(result)} · {sentences.machine(result)}")
    return f"<p>{totals}</p><table>{''.join(rows)}</table><ul>{''.join(told)}</ul>"


def plot_scaling(case: CaseResult) -> Any:
    """The points of a scaling and the fitted laws, as a plotly figure with logarithmic axes.

    Raises ResultFileError where the case has no scaling.
    """
    from ttprof.dashboard import scaling

    found = scaling.scaling(case)
    figure = _plotly().Figure()
    for curve in found.curves:
        line = {"width": 2} if curve.chosen else {"width": 1, "dash": "dot", "color": "#9aa4ae"}
        figure.add_scatter(x=curve.sizes, y=curve.values, name=_plain(curve.name), mode="lines", line=line)
    sizes, values = [point.size for point in found.points], [point.value for point in found.points]
    figure.add_scatter(x=sizes, y=values, name="minimum of the rounds", mode="markers", marker={"size": 8})
    if found.crossover is not None:
        figure.add_vline(found.crossover, line_dash="dash", annotation_text="crossover")
    title = _plain(f"{case.module_name}: {found.axis}^{found.exponent:.2f}")
    figure.update_layout(title=title, template="plotly_white")
    figure.update_xaxes(type="log", title=_plain(found.axis), tickvals=sizes, ticktext=[str(size) for size in sizes])
    figure.update_yaxes(type="log", title=_plain(f"{found.metric} ({found.unit})" if found.unit else found.metric))
    return figure


def plot_timeline(result: SuiteResult, case: CaseResult) -> Any:
    """The typical iteration of the largest trial of a case, as a plotly figure with a row for each depth of each lane.

    Of more than 5000 events the longest are drawn, and the title says how many are not. Raises TraceError where the
    trace is gone, or none was recorded.
    """
    found = _timeline(result, case)
    columns, kinds = found.columns, np.array(found.columns["kind"])
    rows = [f"{found.lanes[lane].name} · {row}" for lane, row in zip(columns["lane"], columns["row"], strict=True)]
    figure = _plotly().Figure()
    for kind in sorted(set(kinds.tolist())):
        which = np.flatnonzero(kinds == kind).tolist()
        figure.add_bar(
            orientation="h",
            name=found.kinds[kind],
            y=[_plain(rows[i]) for i in which],
            base=[columns["start"][i] / 1e3 for i in which],
            x=[columns["dur"][i] / 1e3 for i in which],
            hovertext=[_plain(found.names[columns["name"][i]]) for i in which],
            hovertemplate="%{hovertext}<br>%{x:.2f} µs<extra></extra>",
        )
    left_out = f", without the {found.left_out} shortest events" if found.left_out else ""
    order = [_plain(row) for row in dict.fromkeys(rows)]
    title = _plain(f"{case.module_name}, {found.name}{left_out}")
    figure.update_layout(title=title, barmode="overlay", template="plotly_white", height=160 + 22 * len(order))
    figure.update_xaxes(title="µs since the start of the iteration")
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1])
    return figure


def to_dataframe(result: SuiteResult) -> Any:
    """One row for each measurement of each trial. Raises TtprofError where pandas is not installed."""
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
    return _needed("pandas").DataFrame(rows)


def _timeline(result: SuiteResult, case: CaseResult) -> TimelineDocument:
    from ttprof.dashboard import traces
    from ttprof.dashboard.runs import Run
    from ttprof.trace.attribution import Attribution
    from ttprof.trace.formats import kineto

    if not case.trials:
        raise TraceError(f"{case.module_name}: no trace of this case was recorded", TraceErrorCode.NOT_RECORDED)
    run = Run.of(result.only([case]), result.name)
    owners = Attribution(kineto.read(run.trace_file(run.read.cases[0].trials[-1])))
    return traces.lanes(owners, traces.typical(owners), LONGEST_EVENTS)


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _plain(text: str) -> str:
    """Text that plotly, which reads a little HTML, takes literally."""
    return html.escape(text, quote=False)


def _plotly() -> Any:
    return _needed("plotly", ".graph_objects")


def _needed(package: str, module: str = "") -> Any:
    try:
        return importlib.import_module(package + module)
    except ModuleNotFoundError as error:
        raise TtprofError(f"{package} is not installed: pip install {package}") from error
