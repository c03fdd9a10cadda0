// A metric of a case over the runs of its suite, oldest first.
import { axis, plain, plot } from "../charts.js";
import { badge, choice, el, empty, section } from "../dom.js";
import { when, withUnit } from "../format.js";
import { name } from "../names.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

const MAX_LIMIT_RATIO = 2; // a limit further above the values would squash them; the table still lists it

export async function draw(root, context) {
  const history = await context.store(`history/${context.row.id}/${context.case.index}`);
  if (!history.series.length) {
    root.append(empty("This case was not measured in any run."));
    return;
  }
  const metrics = [...new Set(history.series.map((series) => series.metric))];
  const metric = metrics.includes(current().metric) ? current().metric : metrics.includes("latency_ms") ? "latency_ms" : metrics[0];
  const series = history.series.filter((candidate) => candidate.metric === metric);
  const chart = el("div", { class: "chart tall" });
  const runs = new Set(series.flatMap((size) => size.points.map((point) => point.run))).size;
  root.append(
    el("div", { class: "tools" }, choice("Metric", metrics.map((option) => [option, option]), metric, (option) => go({ metric: option })),
      el("span", { class: "dim", text: runs === 1 ? "only one run so far" : `${runs} runs` })),
    section(`${metric} over the runs of the suite`, chart),
    section("Runs", runTable(series)));
  chart.dataset.points = series.reduce((n, size) => n + size.points.length, 0);
  await plot(chart, () => picture(series));
}

function picture(series) {
  const traces = series.map((size, i) => {
    const shade = series.length === 1 ? colour("data") : colour(`series-${(i % 6) + 1}`);
    const x = size.points.map((point) => when(point.started));
    const bars = size.points.map((point) => [point.low === null ? 0 : Math.max(0, point.value - point.low), point.high === null ? 0 : Math.max(0, point.high - point.value)]);
    const label = plain(size.point || size.metric);
    return {
      type: "scatter", mode: "lines+markers", name: label, x, y: size.points.map((point) => point.value), line: { color: shade, width: 1.5 }, marker: { size: 7, color: shade },
      error_y: { type: "data", symmetric: false, array: bars.map((bar) => bar[1]), arrayminus: bars.map((bar) => bar[0]), color: shade, thickness: 1, width: 3, visible: bars.some(([a, b]) => a || b) },
      text: size.points.map((point) => plain(`${point.folder} · ${point.status}`)), hovertemplate: `%{text}<br>%{y} ${plain(size.unit)}<extra></extra>`,
    };
  });
  traces.push(...limits(series));
  const { unit, label } = series[0];
  return [traces, { xaxis: axis("run", { type: "category" }), yaxis: axis(plain(unit ? `${label} (${unit})` : label), { rangemode: "tozero" }), showlegend: traces.length > 1 }];
}

// The limits of all sizes, if they are close enough to the values; equal limits share one line
function limits(series) {
  const top = Math.max(...series.flatMap((size) => size.points.map((point) => point.value)));
  const lines = new Map();
  for (const size of series) {
    const values = size.points.map((point) => point.limit);
    if (values.some((value) => value !== null && value <= MAX_LIMIT_RATIO * top)) lines.set(String(values), { size, values });
  }
  return [...lines.values()].map(({ size, values }) => ({
    type: "scatter", mode: "lines", name: lines.size === 1 ? "limit" : `limit ${plain(size.point)}`, x: size.points.map((point) => when(point.started)), y: values,
    line: { color: colour("fail"), width: 1, dash: "dash", shape: "hv" }, hoverinfo: "y+name",
  }));
}

function runTable(series) {
  const rows = series.flatMap(({ points, point: size, unit }) => points.map((point) => ({ ...point, size, unit })));
  const number = (title, field) => ({ title, numeric: true, value: (row) => row[field], show: (row) => withUnit(row[field], row.unit) });
  return table([
    { title: "status", value: (row) => row.status, show: (row) => badge(row.status) },
    { title: "started", value: (row) => row.started, show: (row) => when(row.started) },
    { title: "run", value: (row) => row.folder, show: (row) => name(row.folder, 60) },
    { title: "size", value: (row) => row.size },
    number("value", "value"), number("p10", "low"), number("p90", "high"), number("limit", "limit"),
  ], rows, { sort: 1, descending: true, open: (row) => go({ run: row.run, case: null, pane: "suite" }), name: "runs" });
}
