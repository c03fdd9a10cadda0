// A metric of a case over the runs of its suite, the earliest first.
import { axis, plain, plot } from "../charts.js";
import { badge, choice, el, empty, section } from "../dom.js";
import { when, withUnit } from "../format.js";
import { name } from "../names.js";
import { current, go } from "../state.js";
import { table } from "../table.js";
import { colour } from "../theme.js";

const NEAR = 2; // a limit further away than that would squash the values; the table has it

export async function draw(root, context) {
  const found = await context.store(`history/${context.row.id}/${context.case.index}`);
  if (!found.series.length) {
    root.append(empty("Nothing was measured of this case in any run."));
    return;
  }
  const metrics = [...new Set(found.series.map((series) => series.metric))];
  const metric = metrics.includes(current().metric) ? current().metric : metrics.includes("latency_ms") ? "latency_ms" : metrics[0];
  const series = found.series.filter((each) => each.metric === metric);
  const chart = el("div", { class: "chart tall" });
  const runs = new Set(series.flatMap((each) => each.points.map((point) => point.run))).size;
  root.append(
    el("div", { class: "tools" }, choice("Metric", metrics.map((each) => [each, each]), metric, (chosen) => go({ metric: chosen })),
      el("span", { class: "dim", text: runs === 1 ? "only one run has it so far" : `${runs} runs` })),
    section(`${metric} of the suite's runs`, chart),
    section("Runs", runTable(series)));
  chart.dataset.points = series.reduce((n, each) => n + each.points.length, 0);
  await plot(chart, () => picture(series));
}

function picture(series) {
  const traces = series.flatMap((each, i) => {
    const shade = series.length === 1 ? colour("data") : colour(`series-${(i % 6) + 1}`);
    const x = each.points.map((point) => when(point.started));
    const bars = each.points.map((point) => [point.low === null ? 0 : Math.max(0, point.value - point.low), point.high === null ? 0 : Math.max(0, point.high - point.value)]);
    const label = plain(each.point || each.metric);
    const line = {
      type: "scatter", mode: "lines+markers", name: label, x, y: each.points.map((point) => point.value), line: { color: shade, width: 1.5 }, marker: { size: 7, color: shade },
      error_y: { type: "data", symmetric: false, array: bars.map((bar) => bar[1]), arrayminus: bars.map((bar) => bar[0]), color: shade, thickness: 1, width: 3, visible: bars.some(([a, b]) => a || b) },
      text: each.points.map((point) => plain(`${point.folder} · ${point.status}`)), hovertemplate: `%{text}<br>%{y} ${plain(each.unit)}<extra></extra>`,
    };
    return [line];
  });
  traces.push(...limits(series));
  const { unit, label } = series[0];
  return [traces, { xaxis: axis("run", { type: "category" }), yaxis: axis(plain(unit ? `${label} (${unit})` : label), { rangemode: "tozero" }), showlegend: traces.length > 1 }];
}

// The limits of all sizes where they lie near the values; one line where they are the same
function limits(series) {
  const top = Math.max(...series.flatMap((each) => each.points.map((point) => point.value)));
  const known = new Map();
  for (const each of series) {
    const values = each.points.map((point) => point.limit);
    if (values.some((value) => value !== null && value <= NEAR * top)) known.set(String(values), { each, values });
  }
  return [...known.values()].map(({ each, values }) => ({
    type: "scatter", mode: "lines", name: known.size === 1 ? "limit" : `limit ${plain(each.point)}`, x: each.points.map((point) => when(point.started)), y: values,
    line: { color: colour("fail"), width: 1, dash: "dash", shape: "hv" }, hoverinfo: "y+name",
  }));
}

function runTable(series) {
  const rows = series.flatMap((each) => each.points.map((point) => ({ ...point, size: each.point, unit: each.unit })));
  const of = (title, field) => ({ title, numeric: true, value: (row) => row[field], show: (row) => withUnit(row[field], row.unit) });
  return table([
    { title: "status", value: (row) => row.status, show: (row) => badge(row.status) },
    { title: "started", value: (row) => row.started, show: (row) => when(row.started) },
    { title: "run", value: (row) => row.folder, show: (row) => name(row.folder, 60) },
    { title: "size", value: (row) => row.size },
    of("value", "value"), of("p10", "low"), of("p90", "high"), of("limit", "limit"),
  ], rows, { sort: 1, descending: true, open: (row) => go({ run: row.run, case: null, pane: "suite" }), name: "runs" });
}
